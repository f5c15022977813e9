"""Which firing of a schedule it is, so that several schedulers call the same one the same. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from taskiq import ScheduledTask
from taskiq.cli.scheduler.run import is_cron_task_now

_MINUTE = timedelta(minutes=1)
_KEPT = 3600.0
"""Seconds. Schedulers may send a firing minutes late, their clocks may differ by as much, and one that died before it
could remove the schedule sends it again when it is started."""


@dataclass(frozen=True, slots=True)
class Firing:
    """One time that a schedule fires."""

    identity: str
    """The same for all schedulers, and for no other firing."""
    kept: float
    """Seconds for which another with the same identity isn't to be sent."""


def firing(task: ScheduledTask, now: datetime) -> Firing:
    """The firing that a scheduler is to send when it is ``now``.

    A cron schedule fires once in each minute (of UTC) that it matches, an interval once in each of the stretches that
    time since 1970 is divided in by it, a time once.
    """
    now = now.astimezone(UTC)
    if task.cron is not None:
        return Firing(f"{task.schedule_id}@{_cron_minute(task, now):%Y-%m-%dT%H:%MZ}", _KEPT)
    if task.interval is not None:
        every = task.interval
        seconds = every if isinstance(every, int) else int(every.total_seconds())
        # TaskIQ's loop fires at full seconds, give or take: a moment too early mustn't count as the stretch before.
        start = math.floor(now.timestamp() + 0.5) // seconds * seconds
        return Firing(f"{task.schedule_id}@{datetime.fromtimestamp(start, UTC):%Y-%m-%dT%H:%M:%SZ}", _KEPT + seconds)
    # With its time: an id that is given again, for another time, is another firing.
    assert task.time is not None
    when = task.time if task.time.tzinfo is not None else task.time.replace(tzinfo=UTC)
    return Firing(f"{task.schedule_id}@{when.astimezone(UTC).isoformat()}", _KEPT)


def _cron_minute(task: ScheduledTask, now: datetime) -> datetime:
    assert task.cron is not None
    minute = now.replace(second=0, microsecond=0)
    # It was found to match a moment ago, perhaps in the last minute; and a clock may have been set back since.
    for candidate in (minute, minute - _MINUTE, minute + _MINUTE):
        if is_cron_task_now(task.cron, candidate, task.cron_offset):
            return candidate
    return minute
