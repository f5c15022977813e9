"""Schedules, their sources, and the scheduler."""

import asyncio
import contextlib
import itertools
import json
import types
from datetime import UTC, datetime, timedelta
from uuid import uuid4
from zoneinfo import ZoneInfo

import anyio
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs
from taskiq import InMemoryBroker, ScheduledTask, TaskiqScheduler
from taskiq.abc.middleware import TaskiqMiddleware
from taskiq.cli.scheduler import run as taskiq_run
from taskiq.cli.scheduler.run import SchedulerLoop, is_cron_task_now, is_interval_task_now
from taskiq.exceptions import ScheduledTaskCancelledError
from tests.contrib.taskiq.timing import PATIENCE

from bandmaster.contrib.redis import RedisSettings, open_client
from bandmaster.contrib.taskiq.message_labels import ONCE, ONCE_FOR, SCHEDULE
from bandmaster.contrib.taskiq.schedules.cron import check_cron, parse_cron
from bandmaster.contrib.taskiq.schedules.declared_schedules import DeclaredSchedules, Schedule
from bandmaster.contrib.taskiq.schedules.firing import find_firing
from bandmaster.contrib.taskiq.schedules.scheduler import OnceScheduler, run_scheduler
from bandmaster.contrib.taskiq.schedules.stored_schedules import MemorySchedules, RedisSchedules
from bandmaster.kernel import PermanentError, TransientError

pytestmark = pytest.mark.anyio

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


class Unsayable:
    def __repr__(self):
        return "what JSON can't say"


UNSAYABLE = Unsayable()


@pytest.fixture(params=["redis", "memory"])
def source(request, client):
    return RedisSchedules(client, f"{uuid4().hex}:") if request.param == "redis" else MemorySchedules()


def _task(**options):
    return ScheduledTask(**{"task_name": "work", "labels": {}, "args": [], "kwargs": {}, **options})


class RecordingBroker(InMemoryBroker):
    """Keeps messages, one for each deduplication key, or raises."""

    def __init__(self, *failures):
        super().__init__()
        self.sent = []
        self.repeated = 0
        self.failures = list(failures)
        self.failing = None
        self.stuck = None

    async def kick(self, message):
        if self.stuck is not None:
            await self.stuck.wait()
        if self.failures:
            raise self.failures.pop(0)
        if self.failing is not None:
            raise self.failing
        if message.labels[ONCE] in self.onces:
            self.repeated += 1
        else:
            self.sent.append(message)

    async def startup(self):
        pytest.fail("is its owner's to start")

    async def shutdown(self):
        pytest.fail("is its owner's to shut down")

    @property
    def onces(self):
        return [message.labels[ONCE] for message in self.sent]


@pytest.fixture
def broker():
    made = RecordingBroker()
    yield made
    made.executor.shutdown()


class Clock:
    """A clock that runs while TaskIQ's loop sleeps, up to the time that the test allows."""

    def __init__(self, monkeypatch, start=NOON):
        self.now = self.until = start
        clock = self

        class Now(datetime):
            @classmethod
            def now(cls, tz=None):
                return clock.now

        async def sleep(seconds):
            end = clock.now + timedelta(seconds=max(0, seconds))
            # In real time, so that a real Redis can answer.
            await asyncio.sleep(0.002)
            while end > clock.until:
                await asyncio.sleep(0.001)
            clock.now = max(clock.now, end)

        monkeypatch.setattr(taskiq_run, "datetime", Now)
        monkeypatch.setattr(taskiq_run, "asyncio", types.SimpleNamespace(**{**vars(asyncio), "sleep": sleep}))

    def __call__(self):
        return self.now

    async def pass_to(self, moment):
        """Let the time pass until a moment, and the firings until then be sent."""
        self.until = moment
        while self.now < moment:
            await anyio.sleep(0.001)
        await anyio.sleep(0.03)


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


@contextlib.asynccontextmanager
async def _running(scheduler, interval=10):
    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as group:
            group.start_soon(run_scheduler, scheduler, interval)
            yield
            group.cancel_scope.cancel()


_NUMBER = st.integers(0, 60).map(str)
_VALUE = _NUMBER | st.sampled_from(["mon", "Sunday", "fri", "x", "7", ""])
_ITEM = st.one_of(
    st.just("*"),
    _VALUE,
    st.tuples(_VALUE, _VALUE).map("-".join),
    st.tuples(_VALUE, _VALUE, _NUMBER).map(lambda parts: f"{parts[0]}-{parts[1]}/{parts[2]}"),
    _NUMBER.map("*/{}".format),
)
_PART = st.just("*") | st.lists(_ITEM, min_size=1, max_size=3).map(",".join)
CRON = st.lists(_PART, min_size=5, max_size=5).map(" ".join) | st.text(alphabet="0123456789*/-, monsu²")
_LOW, _HIGH = (0, 0, 1, 1, 0), (59, 23, 31, 12, 6)


@st.composite
def good_crons(draw):
    """Valid cron expressions."""

    def part(low, high):
        number = st.integers(low, high)
        ordered = st.tuples(number, number).map(sorted)
        item = st.one_of(
            number.map(str),
            ordered.map(lambda ends: f"{ends[0]}-{ends[1]}"),
            st.tuples(ordered, st.integers(1, high)).map(lambda drawn: f"{drawn[0][0]}-{drawn[0][1]}/{drawn[1]}"),
            st.integers(1, high).map("*/{}".format),
        )
        return draw(st.just("*") | st.lists(item, min_size=1, max_size=3).map(",".join))

    text = " ".join(part(low, high) for low, high in zip(_LOW, _HIGH, strict=True))
    try:
        return check_cron(text)
    except ValueError as error:
        assume("never fires" not in str(error))
        raise


ZONES = st.none() | st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kathmandu", "America/St_Johns", "Pacific/Apia"])
MOMENTS = st.integers(631152000, 2524608000).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))


@given(CRON, ZONES | st.text(max_size=8), MOMENTS)
@settings(max_examples=120, deadline=None)
@example("*/0 * * * *", None, NOON)
@example("* * * * *", "Europe", NOON)
@example("* * * * *", "/etc/passwd", NOON)
def test_an_accepted_schedule_never_raises(cron, zone, moment) -> None:
    """An accepted schedule raises no error in TaskIQ's loop, which would end all schedules."""
    try:
        schedule = Schedule(cron=cron, timezone=zone)
    except ValueError:
        return
    task = schedule.make_task("work")
    assert is_cron_task_now(task.cron, moment, task.cron_offset) in {True, False}


@given(good_crons(), MOMENTS)
@settings(max_examples=120, deadline=None)
def test_taskiq_agrees_on_accepted_crons(cron, moment) -> None:
    """TaskIQ matches an accepted expression at exactly the described times."""
    minutes, hours, days, months, weekdays = parse_cron(cron)
    day, weekday = moment.day in days, moment.isoweekday() % 7 in weekdays
    parts = cron.split(" ")
    date = (day or weekday) if "*" not in parts[2] and "*" not in parts[4] else (day and weekday)
    expected = date and moment.minute in minutes and moment.hour in hours and moment.month in months
    assert expected == is_cron_task_now(cron, moment)


@pytest.mark.parametrize(
    ("cron", "normal"),
    [
        ("* * * * *", "* * * * *"),
        (" 30  4\t* * MON-Fri ", "30 4 * * mon-fri"),
        ("*/15 0-6/2,23 1,15 */3 sunday", "*/15 0-6/2,23 1,15 */3 sunday"),
        ("0 0 29 2 *", "0 0 29 2 *"),
        ("0 0 31 2 mon", "0 0 31 2 mon"),
    ],
)
def test_valid_crons(cron, normal) -> None:
    """Blanks and capitals are normalised."""
    assert normal == Schedule(cron=cron).cron


@pytest.mark.parametrize(
    ("cron", "said"),
    [
        ("", "expected 5 fields .*got 0"),
        ("* * * *", "expected 5 fields 'minute hour day-of-month month day-of-week'.* got 4"),
        ("0 0 * * * *", "got 6"),
        ("@daily", "expected 5 fields"),
        ("60 * * * *", "'60' is no minute.* from 0 to 59"),
        ("* 24 * * *", "'24' is no hour"),
        ("* * 0 * *", "'0' is no day-of-month.* from 1 to 31"),
        ("* * * jan *", "'jan' is no month"),
        ("* * * * 7", r"'7' is no day-of-week.*\(Sunday is 0\)"),
        ("* * * * fri-sun", "a range goes upwards"),
        ("* * * * mon-fri/2", "ranges with a step take numbers"),
        ("*/0 * * * *", "a step is from 1 to 59"),
        ("5/10 * * * *", "'5/10' is no minute"),
        ("*,5 * * * *", r"'\*' is no minute"),
        ("1,,2 * * * *", "'' is no minute"),
        ("*/² * * * *", "is no minute"),
        ("0 0 31 4,6 *", "never fires"),
        ("0 0 30 2 */2", "never fires"),
    ],
)
def test_invalid_crons(cron, said) -> None:
    """Expressions that TaskIQ would ignore, misread or fail on are refused."""
    with pytest.raises(ValueError, match=said):
        Schedule(cron=cron)


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
        ({"every": 5, "args": [UNSAYABLE]}, "expected what JSON can express"),
        ({"every": 5, "kwargs": {"x": float("nan")}}, "expected what JSON can express"),
    ],
    ids=str,
)
def test_invalid_schedules(options, said) -> None:
    """An invalid schedule is refused at its declaration."""
    with pytest.raises(ValueError, match=said):
        Schedule(**options)


async def test_declared_schedules() -> None:
    """Declared schedules become TaskIQ's, each for its task."""
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
    """An added schedule is read unchanged until its deletion."""
    task = _task(labels={"x": 1}, args=[1, None], kwargs={"a": {"b": "ü"}}, **when)
    with anyio.fail_after(PATIENCE):
        await source.add_schedule(task)
        assert [task] == await source.get_schedules()
        await source.delete_schedule("another")
        await source.delete_schedule(task.schedule_id)
        assert [] == await source.get_schedules()


async def test_one_hash_of_json(client) -> None:
    """Redis holds one hash with schedules as JSON."""
    await RedisSchedules(client, "own:").add_schedule(_task(schedule_id="s", interval=5))
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
    await source.add_schedule(_task(schedule_id="s", interval=5))
    await source.add_schedule(_task(schedule_id="s", interval=6))
    assert [6] == [task.interval for task in await source.get_schedules()]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"cron": "*/0 * * * *"}, "a step is from 1 to 59"),
        ({"cron": "* * * * *", "cron_offset": "Europe"}, "timezone: there is none called 'Europe'"),
        ({"cron": "* * * * *", "time": NOON}, "expected one of cron, interval and time"),
        ({"interval": 5, "args": [UNSAYABLE]}, "arguments or labels that JSON can't express"),
        ({"interval": 5, "args": [float("nan")]}, "arguments or labels that JSON can't express"),
        ({"interval": 5, "kwargs": {"x": b"\xff"}}, "arguments or labels that JSON can't express"),
    ],
    ids=str,
)
async def test_schedules_that_are_not_added(source, options, said) -> None:
    """A schedule that could never be sent, or would end TaskIQ's loop, is refused."""
    with pytest.raises(ValueError, match=f"the schedule 's' of the task 'work'.*{said}"):
        await source.add_schedule(_task(schedule_id="s", **options))
    assert [] == await source.get_schedules()


async def test_only_schedules_with_a_time_are_removed(source) -> None:
    """A schedule with a time is removed after its firing, others stay."""
    tasks = [_task(cron="* * * * *"), _task(interval=5), _task(time=NOON)]
    for task in tasks:
        await source.add_schedule(task)
    for task in await source.get_schedules():
        await source.post_send(task)
    assert {task.schedule_id for task in tasks[:2]} == {task.schedule_id for task in await source.get_schedules()}
    await source.post_send(tasks[2])


async def test_a_schedule_put_off_while_it_is_sent(source) -> None:
    """A schedule that was put to a later time while the earlier one was sent stays."""
    await source.add_schedule(_task(schedule_id="s", time=NOON))
    (sent,) = await source.get_schedules()
    later = _task(schedule_id="s", time=NOON + timedelta(hours=1))
    await source.add_schedule(later)
    await source.post_send(sent)
    assert [later] == await source.get_schedules()


async def test_entries_that_are_no_schedules(client) -> None:
    """Such entries are ignored, logged once each, and stay in Redis."""
    source, key = RedisSchedules(client, f"{uuid4().hex}:"), None
    key = source._key
    good = _task(schedule_id="good", interval=5)
    await source.add_schedule(good)
    bad = {
        "pickle": b"\x80\x04K\x01.",
        "text": "{",
        "list": "[]",
        "deep": "[" * 100_000,
        "incomplete": '{"task_name": "x"}',
        "zero": _task(schedule_id="zero", cron="*/0 * * * *").model_dump_json(),
        "zone": _task(schedule_id="zone", cron="* * * * *", cron_offset="/etc").model_dump_json(),
        "stranger": _task(schedule_id="good", interval=6).model_dump_json(),
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


class Away:
    """A client whose commands raise ``failure``, if set."""

    def __init__(self, client):
        self.client = client
        self.failure = None

    def __getattr__(self, name):
        async def call(*arguments):
            if self.failure is not None:
                raise self.failure
            return await getattr(self.client, name)(*arguments)

        return call


@pytest.mark.parametrize("failure", [TransientError("away"), PermanentError("refused")], ids=str)
async def test_schedules_stay_known_while_redis_is_away(client, failure) -> None:
    """The last known schedules stay in use without the deleted ones, and each outage is logged once."""
    away = Away(client)
    source = RedisSchedules(away, f"{uuid4().hex}:")
    kept, gone = _task(cron="* * * * *"), _task(time=NOON)
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
        await source.add_schedule(_task(interval=5))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.builds(
        _task,
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


def test_ids_of_firings() -> None:
    """The id has the minute of a cron, the period of an interval, or the time."""
    now = NOON + timedelta(seconds=47, microseconds=3)
    for task, identity, kept in [
        (_task(schedule_id="s", cron="* * * * *"), "s@2024-05-01T12:00Z", 3600),
        (_task(schedule_id="s", cron="* 14 * * *", cron_offset="Europe/Berlin"), "s@2024-05-01T12:00Z", 3600),
        (_task(schedule_id="s", interval=10), "s@2024-05-01T12:00:40Z", 3610),
        (_task(schedule_id="s", interval=timedelta(days=1)), "s@2024-05-01T00:00:00Z", 90_000),
        (_task(schedule_id="s", time=NOON), "s@2024-05-01T12:00:00+00:00", 3600),
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
    task = _task(schedule_id="s", interval=interval)
    last, named, second = None, [], 0
    for delay in delays:
        # As TaskIQ's loop: at full seconds or a little beside them, and when the interval is over by its own count.
        while not is_interval_task_now(interval, now := start + timedelta(seconds=second + delay), last):
            second += 1
        last = now
        named.append(datetime.strptime(find_firing(task, now).id, "s@%Y-%m-%dT%H:%M:%S%z"))
    assert {timedelta(seconds=interval)} == {later - earlier for earlier, later in itertools.pairwise(named)}


async def test_a_firing_is_sent(broker) -> None:
    """A message has the firing's id, the labels of task and schedule, and the schedule's task id if any."""

    @broker.task(task_name="work", timeout=5, queue_name="q", schedule=[{"cron": "* * * * *"}])
    async def work() -> None: ...

    scheduler = OnceScheduler(broker, [], now=lambda: NOON)
    task = _task(schedule_id="s", interval=10, args=[1], kwargs={"a": 2}, labels={"queue_name": "other", "x": "y"})
    with anyio.fail_after(PATIENCE):
        await scheduler.on_ready(MemorySchedules(), task)
        await scheduler.on_ready(MemorySchedules(), _task(schedule_id="t", task_id="own", time=NOON))
    first, second = broker.sent
    once = "s@2024-05-01T12:00:00Z"
    expected = {"timeout": "5", "queue_name": "other", "x": "y", SCHEDULE: "s", ONCE: once, ONCE_FOR: "3610"}
    assert (once, expected) == (first.task_id, first.labels)
    assert ("own", "t@2024-05-01T12:00:00+00:00") == (second.task_id, second.labels[ONCE])
    message = broker.formatter.loads(first.message)
    assert ([1], {"a": 2}) == (message.args, message.kwargs)
    assert {"queue_name": "other", "x": "y"} == task.labels


async def test_a_firing_is_retried(broker) -> None:
    """Transient errors of broker and middlewares are retried; a time is removed after its firing."""

    class Refusing(TaskiqMiddleware):
        def __init__(self):
            super().__init__()
            self.failures = [TransientError("middleware")]
            self.stored = []

        async def pre_send(self, message):
            self.stored.append(await source.get_schedules())
            if self.failures:
                raise self.failures.pop()
            return message

    refusing, source = Refusing(), MemorySchedules()
    broker.add_middlewares(refusing)
    broker.failures = [TransientError("away")]
    task = _task(time=NOON)
    await source.add_schedule(task)
    with anyio.fail_after(PATIENCE), capture_logs() as logs:
        await OnceScheduler(broker, [source]).on_ready(source, task)
    assert [[task]] * 3 == refusing.stored
    assert [f"{task.schedule_id}@2024-05-01T12:00:00+00:00"] == broker.onces
    assert [] == await source.get_schedules()
    assert [] == logs


@pytest.mark.parametrize("hangs", [False, True], ids=["fails", "hangs"])
async def test_a_firing_is_given_up(broker, hangs) -> None:
    """After ``patience`` the firing is given up with an error, and the schedule stays."""
    broker.failing = TransientError("away")
    broker.stuck = anyio.Event() if hangs else None
    source = MemorySchedules()
    task = _task(time=NOON)
    await source.add_schedule(task)
    given_up = []
    scheduler = OnceScheduler(broker, [source], patience=0.4)
    scheduler.on_given_up = given_up.append
    with anyio.fail_after(PATIENCE), capture_logs() as logs:
        await scheduler.on_ready(source, task)
    assert [("error", "schedule can't be sent", task.schedule_id)] == [
        (log["log_level"], log["event"], log["schedule"]) for log in logs
    ]
    assert ("no answer" if hangs else "TransientError: away") == logs[0]["error"]
    assert [task] == given_up
    assert [task] == await source.get_schedules()


@pytest.mark.parametrize(
    "failure", [PermanentError("bad"), RuntimeError("bad")], ids=lambda error: type(error).__name__
)
async def test_other_errors_are_logged(broker, failure) -> None:
    """Other errors are logged at once and not raised."""
    broker.failures = [failure]
    source = MemorySchedules()
    task = _task(time=NOON)
    await source.add_schedule(task)
    with anyio.fail_after(PATIENCE), capture_logs() as logs:
        await OnceScheduler(broker, [source]).on_ready(source, task)
    assert [f"{type(failure).__name__}: bad"] == [log["error"] for log in logs]
    assert [task] == await source.get_schedules()
    assert [] == broker.sent


async def test_a_source_that_cannot_be_notified(broker) -> None:
    """The notification is retried, and the task isn't sent again."""

    class Forgetful(MemorySchedules):
        failures = [TransientError("away")]

        async def post_send(self, task):
            if self.failures:
                raise self.failures.pop()
            await super().post_send(task)

    source = Forgetful()
    task = _task(time=NOON)
    await source.add_schedule(task)
    with anyio.fail_after(PATIENCE):
        await OnceScheduler(broker, [source]).on_ready(source, task)
    assert (1, 0) == (len(broker.sent), broker.repeated)
    assert [] == await source.get_schedules()


async def test_a_source_that_cancels(broker) -> None:
    """A source may cancel a firing."""

    class Cancelling(MemorySchedules):
        def pre_send(self, task):
            raise ScheduledTaskCancelledError

    with anyio.fail_after(PATIENCE):
        await OnceScheduler(broker, []).on_ready(Cancelling(), _task(time=NOON))
    assert [] == broker.sent


async def test_the_real_loop(client, broker) -> None:
    """By the real clock declared and added schedules are sent, and a schedule with a time is removed."""
    added = RedisSchedules(client, f"{uuid4().hex}:")
    one_off = _task(time=datetime.now(UTC) - timedelta(seconds=1))
    await added.add_schedule(one_off)
    declared = DeclaredSchedules({"tick": [Schedule(every=1)], "minute": [Schedule(cron="* * * * *")]})
    async with _running(OnceScheduler(broker, [declared, added]), interval=1):
        while [message.task_name for message in broker.sent].count("tick") < 3:
            await anyio.sleep(0.05)
    names = [message.task_name for message in broker.sent]
    assert (1, True) == (names.count("work"), 1 <= names.count("minute") <= 2)
    assert [] == await added.get_schedules()


async def test_several_schedulers_send_each_firing_once(broker, clock) -> None:
    """Three schedulers, started and stopped at different times, send each firing once."""
    declared = {
        "minute": [Schedule(cron="* * * * *")],
        "tick": [Schedule(every=10)],
        "noon": [Schedule(cron="0 12 * * *")],
    }

    def scheduler():
        return OnceScheduler(broker, [DeclaredSchedules(declared)], now=clock)

    async with _running(scheduler()):
        async with _running(scheduler()):
            await clock.pass_to(NOON + timedelta(seconds=47))
            async with _running(scheduler()):
                # Not up to a full stretch: whether its tick is still sent is up to who is quicker.
                await clock.pass_to(NOON + timedelta(seconds=126))
    names = [message.task_name for message in broker.sent]
    assert 1 == names.count("noon")
    assert 3 == names.count("minute")
    assert 13 == names.count("tick")
    assert broker.repeated > 10
    assert len(broker.onces) == len(set(broker.onces))


async def test_a_restart_within_a_minute(broker, clock) -> None:
    """A scheduler restarted within a minute neither repeats nor skips the minute."""
    declared = DeclaredSchedules({"minute": [Schedule(cron="* * * * *")]})
    for seconds in (10, 20, 90):
        async with _running(OnceScheduler(broker, [declared], now=clock)):
            await clock.pass_to(NOON + timedelta(seconds=seconds))
    assert ["12:00Z", "12:01Z"] == [once.rpartition("T")[2] for once in broker.onces]


async def test_schedules_fire_while_redis_is_away(client, broker, clock) -> None:
    """Declared and known added schedules fire while Redis is away."""
    away = Away(client)
    added = RedisSchedules(away, f"{uuid4().hex}:")
    await added.add_schedule(_task(task_name="added", cron="* * * * *"))
    declared = DeclaredSchedules({"declared": [Schedule(cron="* * * * *")]})
    with capture_logs() as logs:
        async with _running(OnceScheduler(broker, [declared, added], now=clock), interval=10):
            await clock.pass_to(NOON + timedelta(seconds=30))
            away.failure = TransientError("away")
            await clock.pass_to(NOON + timedelta(seconds=150))
    names = [message.task_name for message in broker.sent]
    assert (3, 3) == (names.count("added"), names.count("declared"))
    assert 1 == len(logs)


async def test_redis_is_away_at_the_start(client, broker, clock) -> None:
    """Declared schedules fire while Redis is away at the start, added ones afterwards."""
    away = Away(client)
    added = RedisSchedules(away, f"{uuid4().hex}:")
    await added.add_schedule(_task(task_name="added", cron="* * * * *"))
    added = RedisSchedules(away, added._key.removesuffix("schedules"))
    away.failure = TransientError("away")
    declared = DeclaredSchedules({"declared": [Schedule(cron="* * * * *")]})
    with capture_logs() as logs:
        async with _running(OnceScheduler(broker, [declared, added], now=clock)):
            await clock.pass_to(NOON + timedelta(seconds=50))
            while not broker.sent:
                await anyio.sleep(0.001)
            assert ["declared"] == [message.task_name for message in broker.sent]
            away.failure = None
            await clock.pass_to(NOON + timedelta(seconds=80))
    assert {"added", "declared"} == {message.task_name for message in broker.sent}
    assert 1 == len(logs)


async def test_a_time_is_retried_until_it_is_sent(broker, clock) -> None:
    """A schedule with a time is retried however long the broker is away, and sent once."""
    broker.failing = TransientError("away")
    source = MemorySchedules()
    await source.add_schedule(_task(time=NOON))
    clock.until = NOON + timedelta(days=1)
    with capture_logs() as logs:
        async with _running(OnceScheduler(broker, [source], patience=0.05, now=clock)):
            while len(logs) < 3:
                await anyio.sleep(0.01)
            broker.failing = None
            while not broker.sent:
                await anyio.sleep(0.01)
            await clock.pass_to(clock.now + timedelta(seconds=20))
    assert {"schedule can't be sent"} == {log["event"] for log in logs}
    assert (1, 0) == (len(broker.sent), broker.repeated)
    assert [] == await source.get_schedules()


async def test_invalid_entries_do_not_end_the_loop(client, broker, clock) -> None:
    """Entries that would end TaskIQ's loop are ignored."""
    zero = _task(schedule_id="zero", cron="*/0 * * * *")

    class Believing(MemorySchedules):
        async def get_schedules(self):
            return [zero]

    clock.until = NOON + timedelta(seconds=1)
    with anyio.fail_after(PATIENCE), pytest.raises(ZeroDivisionError):
        await SchedulerLoop(TaskiqScheduler(broker, [Believing()])).run()
    source = RedisSchedules(client, f"{uuid4().hex}:")
    await client.hset(source._key, "zero", zero.model_dump_json())
    await source.add_schedule(_task(interval=10))
    with capture_logs() as logs:
        async with _running(OnceScheduler(broker, [source], now=clock)):
            await clock.pass_to(clock.now + timedelta(seconds=25))
    assert len(broker.sent) >= 2
    assert ["zero"] == [log["schedule"] for log in logs]


async def test_the_scheduler_stops_in_order(broker, clock) -> None:
    """Running sends end, then the sources are shut down in reverse; the broker isn't."""
    steps = []

    class Told(MemorySchedules):
        def __init__(self, name):
            super().__init__()
            self.name = name

        async def startup(self):
            steps.append(f"{self.name} started")

        async def shutdown(self):
            await anyio.sleep(0)
            steps.append(f"{self.name} shut down")

        async def post_send(self, task):
            steps.append("sent")

    sources = [Told("first"), Told("second")]
    await sources[0].add_schedule(_task(interval=3600))
    broker.stuck = anyio.Event()
    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as group:
            running = asyncio.create_task(run_scheduler(OnceScheduler(broker, sources, now=clock), 10))
            await clock.pass_to(clock.now + timedelta(seconds=5))
            running.cancel()

            async def go_on():
                await anyio.sleep(0.05)
                broker.stuck.set()

            group.start_soon(go_on)
            with pytest.raises(asyncio.CancelledError):
                await running
    assert ["first started", "second started", "sent", "second shut down", "first shut down"] == steps


async def test_a_send_that_hangs_is_cancelled(broker, clock, monkeypatch) -> None:
    """A send that hangs at the stop is cancelled and logged."""
    monkeypatch.setattr("bandmaster.contrib.taskiq.schedules.scheduler._SHUTDOWN_SECONDS", 0.05)
    source = MemorySchedules()
    await source.add_schedule(_task(schedule_id="s", interval=3600))
    broker.stuck = anyio.Event()
    with capture_logs() as logs:
        async with _running(OnceScheduler(broker, [source], now=clock)):
            await clock.pass_to(clock.now + timedelta(seconds=5))
    assert [("schedule cancelled while being sent: it may not have been sent", "s")] == [
        (log["event"], log["schedule"]) for log in logs
    ]
    assert [task for task in asyncio.all_tasks() if task.get_name().startswith("schedule_")] == []


async def test_a_source_that_fails_to_start(broker) -> None:
    """The error is raised, and the started sources are shut down."""
    steps = []

    class Failing(MemorySchedules):
        async def startup(self):
            raise TransientError("away")

    class Told(MemorySchedules):
        async def shutdown(self):
            steps.append("shut down")

    with anyio.fail_after(PATIENCE), pytest.raises(TransientError, match="away"):
        await run_scheduler(OnceScheduler(broker, [Told(), Failing(), Told()]), 10)
    assert ["shut down"] == steps


@pytest.mark.parametrize("interval", [0, -1, float("nan"), float("inf")])
async def test_an_invalid_interval(broker, interval) -> None:
    """An interval that isn't above 0 is refused by name."""
    with pytest.raises(ValueError, match="update_interval: expected seconds above 0"):
        await run_scheduler(OnceScheduler(broker, []), interval)
