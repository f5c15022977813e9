"""The scheduler, of which several may run."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import anyio
import pytest
from taskiq import TaskiqScheduler
from taskiq.abc.middleware import TaskiqMiddleware
from taskiq.cli.scheduler.run import SchedulerLoop
from taskiq.exceptions import ScheduledTaskCancelledError
from tests.contrib.taskiq.schedules.helpers import (
    NOON,
    Away,
    make_task,
    run_until_end,
)
from tests.contrib.taskiq.timing import PATIENCE
from tests.logged import capture_logs

from bandmaster.contrib.taskiq.message_labels import ONCE, ONCE_FOR, SCHEDULE
from bandmaster.contrib.taskiq.schedules.declared_schedules import DeclaredSchedules, Schedule
from bandmaster.contrib.taskiq.schedules.scheduler import OnceScheduler, run_scheduler
from bandmaster.contrib.taskiq.schedules.stored_schedules import MemorySchedules, RedisSchedules
from bandmaster.kernel import PermanentError, TransientError

pytestmark = pytest.mark.anyio


async def test_a_firing_is_sent(broker) -> None:
    """A message has the firing's id, the labels of task and schedule, and the schedule's task id if any."""

    @broker.task(task_name="work", timeout=5, queue_name="q", schedule=[{"cron": "* * * * *"}])
    async def work() -> None: ...

    scheduler = OnceScheduler(broker, [], now=lambda: NOON)
    task = make_task(schedule_id="s", interval=10, args=[1], kwargs={"a": 2}, labels={"queue_name": "other", "x": "y"})
    with anyio.fail_after(PATIENCE):
        await scheduler.on_ready(MemorySchedules(), task)
        await scheduler.on_ready(MemorySchedules(), make_task(schedule_id="t", task_id="own", time=NOON))
    first, second = broker.sent
    once = "s@2024-05-01T12:00:00Z"
    expected = {"timeout": "5", "queue_name": "other", "x": "y", SCHEDULE: "s", ONCE: once, ONCE_FOR: "3610"}
    assert (once, expected) == (first.task_id, first.labels)
    assert ("own", "t@2024-05-01T12:00:00+00:00") == (second.task_id, second.labels[ONCE])
    message = broker.formatter.loads(first.message)
    assert ([1], {"a": 2}) == (message.args, message.kwargs)
    assert {"queue_name": "other", "x": "y"} == task.labels


async def test_a_firing_is_retried(broker) -> None:
    """Transient errors of broker and middlewares are retried; a schedule with a time is removed afterwards."""

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
    task = make_task(time=NOON)
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
    task = make_task(time=NOON)
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
    task = make_task(time=NOON)
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
    task = make_task(time=NOON)
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
        await OnceScheduler(broker, []).on_ready(Cancelling(), make_task(time=NOON))
    assert [] == broker.sent


async def test_the_real_loop(client, broker) -> None:
    """By the real clock declared and added schedules are sent, and a schedule with a time is removed."""
    added = RedisSchedules(client, f"{uuid4().hex}:")
    one_off = make_task(time=datetime.now(UTC) - timedelta(seconds=1))
    await added.add_schedule(one_off)
    declared = DeclaredSchedules({"tick": [Schedule(every=1)], "minute": [Schedule(cron="* * * * *")]})
    async with run_until_end(OnceScheduler(broker, [declared, added]), interval=1):
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

    async with run_until_end(scheduler()):
        async with run_until_end(scheduler()):
            await clock.pass_to(NOON + timedelta(seconds=47))
            async with run_until_end(scheduler()):
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
        async with run_until_end(OnceScheduler(broker, [declared], now=clock)):
            await clock.pass_to(NOON + timedelta(seconds=seconds))
    assert ["12:00Z", "12:01Z"] == [once.rpartition("T")[2] for once in broker.onces]


async def test_schedules_fire_while_redis_is_away(client, broker, clock) -> None:
    """Declared and known added schedules fire while Redis is away."""
    away = Away(client)
    added = RedisSchedules(away, f"{uuid4().hex}:")
    await added.add_schedule(make_task(task_name="added", cron="* * * * *"))
    declared = DeclaredSchedules({"declared": [Schedule(cron="* * * * *")]})
    with capture_logs() as logs:
        async with run_until_end(OnceScheduler(broker, [declared, added], now=clock), interval=10):
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
    await added.add_schedule(make_task(task_name="added", cron="* * * * *"))
    added = RedisSchedules(away, added._key.removesuffix("schedules"))
    away.failure = TransientError("away")
    declared = DeclaredSchedules({"declared": [Schedule(cron="* * * * *")]})
    with capture_logs() as logs:
        async with run_until_end(OnceScheduler(broker, [declared, added], now=clock)):
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
    await source.add_schedule(make_task(time=NOON))
    clock.until = NOON + timedelta(days=1)
    with capture_logs() as logs:
        async with run_until_end(OnceScheduler(broker, [source], patience=0.05, now=clock)):
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
    zero = make_task(schedule_id="zero", cron="*/0 * * * *")

    class Believing(MemorySchedules):
        async def get_schedules(self):
            return [zero]

    clock.until = NOON + timedelta(seconds=1)
    with anyio.fail_after(PATIENCE), pytest.raises(ZeroDivisionError):
        await SchedulerLoop(TaskiqScheduler(broker, [Believing()])).run()
    source = RedisSchedules(client, f"{uuid4().hex}:")
    await client.hset(source._key, "zero", zero.model_dump_json())
    await source.add_schedule(make_task(interval=10))
    with capture_logs() as logs:
        async with run_until_end(OnceScheduler(broker, [source], now=clock)):
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
    await sources[0].add_schedule(make_task(interval=3600))
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
    await source.add_schedule(make_task(schedule_id="s", interval=3600))
    broker.stuck = anyio.Event()
    with capture_logs() as logs:
        async with run_until_end(OnceScheduler(broker, [source], now=clock)):
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
