"""The id of a schedule's firing, the same in all schedulers, by which a second message is suppressed. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from taskiq import ScheduledTask
from taskiq.cli.scheduler.run import is_cron_task_now

_MINUTE = timedelta(minutes=1)
_REMEMBER_SECONDS = 3600.0
"""Schedulers may send a firing minutes late, and their clocks may differ by minutes. A scheduler that died before
the removal of the schedule sends the firing again after its restart."""


@dataclass(frozen=True, slots=True)
class Firing:
    """One firing of a schedule."""

    id: str
    """An id that all schedulers make alike, different for each firing."""
    remember_for: float
    """Seconds within which a message with the same id isn't sent again."""


def find_firing(task: ScheduledTask, now: datetime) -> Firing:
    """The firing that a scheduler sends at the time ``now``.

    A cron schedule fires once in each matching minute of UTC. An interval divides the time since 1970 into periods and
    fires once in each. A schedule with a time fires once.
    """
    now = now.astimezone(UTC)
    if task.cron is not None:
        return Firing(f"{task.schedule_id}@{_find_cron_minute(task, now):%Y-%m-%dT%H:%MZ}", _REMEMBER_SECONDS)
    if task.interval is not None:
        every = task.interval
        seconds = every if isinstance(every, int) else int(every.total_seconds())
        # TaskIQ's loop fires near full seconds. Half a second is added, since a firing a moment too early would count
        # for the period before.
        start = math.floor(now.timestamp() + 0.5) // seconds * seconds
        begin = datetime.fromtimestamp(start, UTC)
        return Firing(f"{task.schedule_id}@{begin:%Y-%m-%dT%H:%M:%SZ}", _REMEMBER_SECONDS + seconds)
    # The time is part of the id: a schedule that was put to another time fires again.
    assert task.time is not None
    when = task.time if task.time.tzinfo is not None else task.time.replace(tzinfo=UTC)
    return Firing(f"{task.schedule_id}@{when.astimezone(UTC).isoformat()}", _REMEMBER_SECONDS)


def _find_cron_minute(task: ScheduledTask, now: datetime) -> datetime:
    assert task.cron is not None
    minute = now.replace(second=0, microsecond=0)
    # TaskIQ's loop found a match a moment ago, perhaps in the last minute, and the clock may have been set back since.
    for candidate in (minute, minute - _MINUTE, minute + _MINUTE):
        if is_cron_task_now(task.cron, candidate, task.cron_offset):
            return candidate
    return minute
