"""Schedules that are added at run time, in Redis and in memory alike."""

import json
from datetime import UTC, timedelta
from uuid import uuid4

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.contrib.taskiq.schedules.helpers import INEXPRESSIBLE, NOON, Away, make_task
from tests.contrib.taskiq.timing import PATIENCE
from tests.logged import capture_logs

from bandmaster.contrib.redis import RedisSettings, open_client
from bandmaster.contrib.taskiq.schedules.stored_schedules import MemorySchedules, RedisSchedules
from bandmaster.kernel import PermanentError, TransientError

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    "when",
    [
        {"cron": "0 4 * * *", "cron_offset": "Europe/Berlin"},
        {"cron": "0 4 * * *", "cron_offset": timedelta(hours=2)},
        {"interval": 5},
        {"interval": timedelta(minutes=3)},
        {"time": NOON},
    ],
    ids=str,
)
async def test_added_schedules_are_read_until_deleted(source, when) -> None:
    """An added schedule is read unchanged until deleted."""
    task = make_task(labels={"x": 1}, args=[1, None], kwargs={"a": {"b": "ü"}}, **when)
    with anyio.fail_after(PATIENCE):
        await source.add_schedule(task)
        assert [task] == await source.get_schedules()
        await source.delete_schedule("another")
        await source.delete_schedule(task.schedule_id)
        assert [] == await source.get_schedules()


async def test_one_hash_of_json(client) -> None:
    """Redis holds one hash with schedules as JSON."""
    await RedisSchedules(client, "own:").add_schedule(make_task(schedule_id="s", interval=5))
    assert [b"own:schedules"] == await client.keys("*")
    entries = await client.hgetall("own:schedules")
    assert ("work", 5) == tuple(json.loads(entries[b"s"])[name] for name in ("task_name", "interval"))


async def test_taskiqs_ways_of_adding(source, broker) -> None:
    """Schedules added by TaskIQ's own methods can be removed by their handles."""

    @broker.task(task_name="work")
    async def work(number: int) -> None: ...

    with anyio.fail_after(PATIENCE):
        by_cron = await work.schedule_by_cron(source, "0 4 * * *", 1)
        by_time = await work.schedule_by_time(source, NOON, number=2)
        by_interval = await work.schedule_by_interval(source, 5, 3)
        ids = {made.schedule_id for made in (by_cron, by_time, by_interval)}
        assert ids == {task.schedule_id for task in await source.get_schedules()}
        await by_cron.unschedule()
        assert by_cron.schedule_id not in {task.schedule_id for task in await source.get_schedules()}


async def test_the_same_id_replaces(source) -> None:
    """A schedule replaces the one with the same id."""
    await source.add_schedule(make_task(schedule_id="s", interval=5))
    await source.add_schedule(make_task(schedule_id="s", interval=6))
    assert [6] == [task.interval for task in await source.get_schedules()]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"cron": "*/0 * * * *"}, "a step is from 1 to 59"),
        ({"cron": "* * * * *", "cron_offset": "Europe"}, "timezone: there is none called 'Europe'"),
        ({"cron": "* * * * *", "time": NOON}, "expected one of cron, interval and time"),
        ({"interval": 5, "args": [INEXPRESSIBLE]}, "arguments or labels that JSON can't express"),
        ({"interval": 5, "args": [float("nan")]}, "arguments or labels that JSON can't express"),
        ({"interval": 5, "kwargs": {"x": b"\xff"}}, "arguments or labels that JSON can't express"),
    ],
    ids=str,
)
async def test_schedules_that_are_not_added(source, options, said) -> None:
    """A schedule that could never be sent, or would end TaskIQ's loop, is refused."""
    with pytest.raises(ValueError, match=f"the schedule 's' of the task 'work'.*{said}"):
        await source.add_schedule(make_task(schedule_id="s", **options))
    assert [] == await source.get_schedules()


async def test_only_schedules_with_a_time_are_removed(source) -> None:
    """A schedule with a time is removed after the firing, others stay."""
    tasks = [make_task(cron="* * * * *"), make_task(interval=5), make_task(time=NOON)]
    for task in tasks:
        await source.add_schedule(task)
    for task in await source.get_schedules():
        await source.post_send(task)
    assert {task.schedule_id for task in tasks[:2]} == {task.schedule_id for task in await source.get_schedules()}
    await source.post_send(tasks[2])


async def test_a_schedule_put_off_while_it_is_sent(source) -> None:
    """A schedule that was put to a later time while the earlier one was sent stays."""
    await source.add_schedule(make_task(schedule_id="s", time=NOON))
    (sent,) = await source.get_schedules()
    later = make_task(schedule_id="s", time=NOON + timedelta(hours=1))
    await source.add_schedule(later)
    await source.post_send(sent)
    assert [later] == await source.get_schedules()


async def test_entries_that_are_no_schedules(client) -> None:
    """Such entries are ignored, logged once each, and stay in Redis."""
    source, key = RedisSchedules(client, f"{uuid4().hex}:"), None
    key = source._key
    good = make_task(schedule_id="good", interval=5)
    await source.add_schedule(good)
    bad = {
        "pickle": b"\x80\x04K\x01.",
        "text": "{",
        "list": "[]",
        "deep": "[" * 100_000,
        "incomplete": '{"task_name": "x"}',
        "zero": make_task(schedule_id="zero", cron="*/0 * * * *").model_dump_json(),
        "zone": make_task(schedule_id="zone", cron="* * * * *", cron_offset="/etc").model_dump_json(),
        "stranger": make_task(schedule_id="good", interval=6).model_dump_json(),
        "fast": '{"task_name": "x", "labels": {}, "args": [], "kwargs": {}, "schedule_id": "fast", "interval": 0}',
    }
    await client.hset(key, mapping=bad)
    with capture_logs() as logs:
        for _ in range(3):
            assert [good] == await source.get_schedules()
    assert sorted(bad) == sorted(log["schedule"] for log in logs)
    assert {"schedule can't be used, and is ignored"} == {log["event"] for log in logs}
    assert len(bad) + 1 == await client.hlen(key)
    await client.hset(key, "text", "}")
    with capture_logs() as logs:
        await source.get_schedules()
    assert ["text"] == [log["schedule"] for log in logs]


@pytest.mark.parametrize("failure", [TransientError("away"), PermanentError("refused")], ids=str)
async def test_schedules_stay_known_while_redis_is_away(client, failure) -> None:
    """The last known schedules stay in use without the deleted ones, and each outage is logged once."""
    away = Away(client)
    source = RedisSchedules(away, f"{uuid4().hex}:")
    kept, gone = make_task(cron="* * * * *"), make_task(time=NOON)
    for task in (kept, gone):
        await source.add_schedule(task)
    await source.get_schedules()
    await source.post_send(gone)
    with capture_logs() as logs:
        for _ in range(2):
            away.failure = failure
            for _ in range(3):
                assert [kept] == await source.get_schedules()
            away.failure = None
            assert [kept] == await source.get_schedules()
    assert 2 * ["schedules can't be read; the last known ones stay in use"] == [log["event"] for log in logs]
    away.failure = failure
    with pytest.raises(type(failure)):
        await source.add_schedule(make_task(interval=5))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.builds(
        make_task,
        schedule_id=st.text(min_size=1),
        args=st.lists(JSON, max_size=3),
        kwargs=st.dictionaries(st.text(), JSON, max_size=3),
        labels=st.dictionaries(st.text(), st.text() | st.integers() | st.booleans(), max_size=3),
        time=st.datetimes(timezones=st.just(UTC) | st.none()),
    )
)
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_redis_and_memory_agree(redis_url, task) -> None:
    """Both sources return any schedule of JSON unchanged, and none after the sending."""
    async with open_client(RedisSettings(url=redis_url), "schedules") as client:
        for source in (RedisSchedules(client, "same:"), MemorySchedules()):
            await source.add_schedule(task)
            assert [task] == await source.get_schedules()
            await source.post_send(task)
            assert [] == await source.get_schedules()
