"""The ids of firings."""

import itertools
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from taskiq.cli.scheduler.run import is_cron_task_now, is_interval_task_now
from tests.contrib.taskiq.schedules.helpers import (
    MOMENTS,
    NOON,
    ZONES,
    make_task,
)

from bandmaster.contrib.taskiq.schedules.declared_schedules import Schedule
from bandmaster.contrib.taskiq.schedules.firing import find_firing

pytestmark = pytest.mark.anyio


def test_ids_of_firings() -> None:
    """The id has the minute of a cron, the period of an interval, or the time."""
    now = NOON + timedelta(seconds=47, microseconds=3)
    for task, identity, kept in [
        (make_task(schedule_id="s", cron="* * * * *"), "s@2024-05-01T12:00Z", 3600),
        (make_task(schedule_id="s", cron="* 14 * * *", cron_offset="Europe/Berlin"), "s@2024-05-01T12:00Z", 3600),
        (make_task(schedule_id="s", interval=10), "s@2024-05-01T12:00:40Z", 3610),
        (make_task(schedule_id="s", interval=timedelta(days=1)), "s@2024-05-01T00:00:00Z", 90_000),
        (make_task(schedule_id="s", time=NOON), "s@2024-05-01T12:00:00+00:00", 3600),
    ]:
        fired = find_firing(task, now.astimezone())
        assert (identity, kept) == (fired.id, fired.remember_for)


@st.composite
def matching_crons(draw):
    """A schedule, and the beginning of a matching minute."""
    minute, zone = draw(MOMENTS).replace(second=0, microsecond=0), draw(ZONES)
    local = minute.astimezone(ZoneInfo(zone or "UTC"))
    parts = [
        draw(st.sampled_from(["*", str(value), f"{value},{other}", f"{min(value, other)}-{max(value, other)}"]))
        for value, other in zip(
            (local.minute, local.hour, local.day, local.month, local.isoweekday() % 7), (30, 3, 1, 6, 5), strict=True
        )
    ]
    return Schedule(cron=" ".join(parts), timezone=zone).make_task("work"), minute


SECONDS = st.floats(0, 59.999)


@given(matching_crons(), SECONDS, SECONDS, st.floats(-0.5, 3))
@settings(max_examples=150, deadline=None)
def test_two_schedulers_agree_on_a_cron_firing(matching, one, other, late) -> None:
    """Two schedulers make the same id in any second of the minute, also late or with a clock set back."""
    task, minute = matching
    assert is_cron_task_now(task.cron, minute, task.cron_offset)
    expected = {f"{task.schedule_id}@{minute:%Y-%m-%dT%H:%MZ}"}
    assert expected == {find_firing(task, minute + timedelta(seconds=second)).id for second in (one, other)}
    around = [minute + timedelta(minutes=step) for step in (-2, -1, 1, 2)]
    if not any(is_cron_task_now(task.cron, neighbour, task.cron_offset) for neighbour in around):
        assert expected == {find_firing(task, minute + timedelta(seconds=second + late)).id for second in (one, other)}


@given(st.integers(2, 60), st.integers(0, 3600), st.lists(st.floats(-0.02, 0.4), min_size=12, max_size=12), MOMENTS)
@settings(max_examples=100, deadline=None)
def test_schedulers_of_any_phase_fire_once_in_each_period(interval, phase, delays, start) -> None:
    """Schedulers started at different times make one id for each period."""
    start = start.replace(microsecond=0) + timedelta(seconds=phase)
    task = make_task(schedule_id="s", interval=interval)
    last, named, second = None, [], 0
    for delay in delays:
        # As TaskIQ's loop: at full seconds or a little beside them, and when the interval is over by its own count.
        while not is_interval_task_now(interval, now := start + timedelta(seconds=second + delay), last):
            second += 1
        last = now
        named.append(datetime.strptime(find_firing(task, now).id, "s@%Y-%m-%dT%H:%M:%S%z"))
    assert {timedelta(seconds=interval)} == {later - earlier for earlier, later in itertools.pairwise(named)}
