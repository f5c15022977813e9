"""Schedules that code declares."""

import pytest
from tests.contrib.taskiq.schedules.helpers import INEXPRESSIBLE

from bandmaster.contrib.taskiq.schedules.declared_schedules import DeclaredSchedules, Schedule

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "one of cron, as .*, and every.*not both or neither"),
        ({"cron": "* * * * *", "every": 5}, "not both or neither"),
        ({"every": 0}, "every: expected full seconds, 1 at least"),
        ({"every": 0.5}, "every: expected full seconds"),
        ({"every": 1.5}, "got 1.5"),
        ({"every": float("nan")}, "every: expected"),
        ({"every": float("inf")}, "every: expected"),
        ({"every": 5, "timezone": "UTC"}, "timezone: is for cron"),
        ({"cron": "* * * * *", "timezone": "Europe/Nowhere"}, "'Europe/Nowhere'; expected one such as 'Europe/Berlin'"),
        ({"cron": "* * * * *", "timezone": "Europe"}, "timezone: there is none called 'Europe'"),
        ({"cron": "* * * * *", "timezone": ""}, "timezone: there is none"),
        ({"cron": "* * * * *", "timezone": "../UTC"}, "timezone: there is none"),
        ({"every": 5, "args": [INEXPRESSIBLE]}, "expected what JSON can express"),
        ({"every": 5, "kwargs": {"x": float("nan")}}, "expected what JSON can express"),
    ],
    ids=str,
)
def test_invalid_schedules(options, said) -> None:
    """An invalid schedule is refused when declared."""
    with pytest.raises(ValueError, match=said):
        Schedule(**options)


async def test_declared_schedules() -> None:
    """Declared schedules become TaskIQ's, each for one task."""
    source = DeclaredSchedules(
        {
            "a": [Schedule(cron="0 4 * * *", timezone="Europe/Berlin", args=(1,), kwargs={"x": [2]}, labels={"p": 3})],
            "b": [Schedule(every=90.0)],
        }
    )
    first, second = await source.get_schedules()
    assert ("a", "0 4 * * *", "Europe/Berlin") == (first.task_name, first.cron, first.cron_offset)
    assert ([1], {"x": [2]}, {"p": 3}) == (first.args, first.kwargs, first.labels)
    assert ("b", 90, None) == (second.task_name, second.interval, second.cron)
    first.labels["more"] = 1
    assert "more" not in (await source.get_schedules())[0].labels


def test_ids_are_stable() -> None:
    """Ids are the same across processes and releases, and differ by task and content."""
    assert "work:2565bb6c5ce0e5d2" == Schedule(cron="0 4 * * *").make_task("work").schedule_id
    schedules = [
        Schedule(cron="0 4 * * *"),
        Schedule(cron="0 5 * * *"),
        Schedule(cron="0 4 * * *", timezone="UTC"),
        Schedule(cron="0 4 * * *", args=(1,)),
        Schedule(cron="0 4 * * *", kwargs={"a": 1, "b": 2}),
        Schedule(cron="0 4 * * *", labels={"a": 1}),
        Schedule(every=4),
    ]
    ids = [schedule.make_task(name).schedule_id for schedule in schedules for name in ("work", "rest")]
    assert len(ids) == len(set(ids))
    assert Schedule(cron=" 0 4 * * *", kwargs={"b": 2, "a": 1}).make_task("work").schedule_id in ids


def test_the_same_schedule_twice() -> None:
    """Two equal schedules of a task are refused, since they would have one id."""
    with pytest.raises(ValueError, match="the task 'work' has this schedule twice"):
        DeclaredSchedules({"work": [Schedule(every=5), Schedule(every=5.0)]})
