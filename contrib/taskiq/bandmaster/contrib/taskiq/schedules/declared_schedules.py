"""Schedules that the code declares, checked where they are written."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from taskiq import ScheduledTask, ScheduleSource

from bandmaster.contrib.taskiq.schedules.cron import checked_cron, checked_timezone


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """When a task is to be sent by itself: by ``cron``, or ``every`` so many full seconds.

    Raises:
        ValueError: it can't be, and says how it could.
    """

    cron: str | None = None
    """Minute, hour, day of the month, month and day of the week: ``30 4 * * mon-fri``."""
    every: float | None = None
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    timezone: str | None = None
    """The one that ``cron`` is meant in; UTC unless given."""
    labels: Mapping[str, str | int | float | bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.cron is None) == (self.every is None):
            raise ValueError("expected one of cron, as '30 4 * * mon-fri', and every, in seconds; not both or neither")
        if self.cron is not None:
            object.__setattr__(self, "cron", checked_cron(self.cron))
        if self.every is not None and not (math.isfinite(self.every) and self.every >= 1 and self.every % 1 == 0):
            raise ValueError(f"every: expected full seconds, 1 at least, as TaskIQ counts them; got {self.every}")
        if self.timezone is not None:
            if self.cron is None:
                raise ValueError("timezone: is for cron; every counts seconds, wherever it is")
            checked_timezone(self.timezone)
        try:
            json.dumps([list(self.args), dict(self.kwargs), dict(self.labels)], allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f"args, kwargs and labels: expected what JSON can express: {error}") from error

    def task(self, name: str) -> ScheduledTask:
        """It as TaskIQ knows it, for the task of that name; the same schedule has the same id in every process."""
        every = None if self.every is None else int(self.every)
        content = [self.cron, every, list(self.args), dict(self.kwargs), self.timezone, dict(self.labels)]
        digest = hashlib.sha256(json.dumps([name, *content], sort_keys=True).encode()).hexdigest()
        return ScheduledTask(
            schedule_id=f"{name}:{digest[:16]}",
            task_name=name,
            args=list(self.args),
            kwargs=dict(self.kwargs),
            labels=dict(self.labels),
            cron=self.cron,
            cron_offset=self.timezone,
            interval=every,
        )


class DeclaredSchedules(ScheduleSource):
    """The schedules that the code declares, for each task by its name.

    Raises:
        ValueError: a task has the same schedule twice.
    """

    def __init__(self, schedules: Mapping[str, Iterable[Schedule]]) -> None:
        self._tasks: dict[str, ScheduledTask] = {}
        for name, declared in schedules.items():
            for schedule in declared:
                task = schedule.task(name)
                if task.schedule_id in self._tasks:
                    raise ValueError(f"the task {name!r} has this schedule twice: {schedule}")
                self._tasks[task.schedule_id] = task

    async def get_schedules(self) -> list[ScheduledTask]:
        """All of them, always."""
        return [task.model_copy(deep=True) for task in self._tasks.values()]
