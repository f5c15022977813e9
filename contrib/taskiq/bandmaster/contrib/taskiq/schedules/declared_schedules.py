"""Schedules that code declares with its tasks, checked when they are declared."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from taskiq import ScheduledTask, ScheduleSource

from bandmaster.contrib.taskiq.schedules.cron import check_cron, check_timezone


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """When the scheduler sends a task: by a ``cron`` expression, or ``every`` so many full seconds.

    Raises:
        ValueError: the schedule could never fire; the text names the argument.
    """

    cron: str | None = None
    """Minute, hour, day of the month, month and day of the week: ``30 4 * * mon-fri``."""
    every: float | None = None
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    timezone: str | None = None
    """The timezone of ``cron``; UTC unless given."""
    labels: Mapping[str, str | int | float | bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.cron is None) == (self.every is None):
            raise ValueError("expected one of cron, as '30 4 * * mon-fri', and every, in seconds; not both or neither")
        if self.cron is not None:
            object.__setattr__(self, "cron", check_cron(self.cron))
        if self.every is not None and not (math.isfinite(self.every) and self.every >= 1 and self.every % 1 == 0):
            raise ValueError(f"every: expected full seconds, 1 at least, as TaskIQ counts them; got {self.every}")
        if self.timezone is not None:
            if self.cron is None:
                raise ValueError("timezone: is for cron; every counts seconds in all timezones")
            check_timezone(self.timezone)
        try:
            json.dumps([list(self.args), dict(self.kwargs), dict(self.labels)], allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f"args, kwargs and labels: expected what JSON can express: {error}") from error

    def make_task(self, name: str) -> ScheduledTask:
        """TaskIQ's form of the schedule, for a task by name. The same schedule has the same id in every process."""
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
    """A source of the declared schedules, by the task's name.

    Raises:
        ValueError: a task has the same schedule twice.
    """

    def __init__(self, schedules: Mapping[str, Iterable[Schedule]]) -> None:
        self._tasks: dict[str, ScheduledTask] = {}
        for name, declared in schedules.items():
            for schedule in declared:
                task = schedule.make_task(name)
                if task.schedule_id in self._tasks:
                    raise ValueError(f"the task {name!r} has this schedule twice: {schedule}")
                self._tasks[task.schedule_id] = task

    async def get_schedules(self) -> list[ScheduledTask]:
        """All declared schedules."""
        return [task.model_copy(deep=True) for task in self._tasks.values()]
