"""The components of the task queue, in running kernels."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Annotated

import anyio
import pytest
from taskiq import AsyncBroker, Context, InMemoryBroker, ScheduledTask, TaskiqDepends, TaskiqEvents, async_shared_broker
from tests.contrib.taskiq.timing import PATIENCE

from bandmaster.contrib.redis import RedisClosedError, RedisSettings, open_client, redis
from bandmaster.contrib.taskiq import (
    EmbeddedBroker,
    Idempotency,
    LeasedStreamBroker,
    MessageDied,
    Reason,
    TaskIQSettings,
    TaskObserver,
    TaskQueue,
    TaskQueueError,
    task,
    task_idempotency,
    task_scheduler,
    task_worker,
    taskiq,
    tasks,
)
from bandmaster.contrib.taskiq.brokers.third_party_dead_letters import ThirdPartyDeadLetters
from bandmaster.contrib.taskiq.component import count_connections
from bandmaster.contrib.taskiq.schedules.stored_schedules import MemorySchedules, RedisSchedules
from bandmaster.kernel import Kernel, KernelSettings, LifespanBand, Named, lifespan, value
from bandmaster.kernel.testing import attempt, check_contribution, run

pytestmark = pytest.mark.anyio
ALL = [taskiq, task_idempotency, task_worker, task_scheduler]


class Greeting(str):
    """A resource that a component provides."""


@lifespan(band=LifespanBand.SERVICES)
async def greeter() -> AsyncIterator[Greeting]:
    yield Greeting("hello")


@task(name="greet")
async def greet(name: str, greeting: Greeting = TaskiqDepends(), context: Context = TaskiqDepends()) -> str:
    return f"{greeting} {name}, {context.message.labels.get('bm_attempt', 'at once')}"


PARTS = [*ALL, greeter, tasks("shop", greet)]


@pytest.fixture(autouse=True)
def surroundings(monkeypatch):
    """Clear the environment, and TaskIQ's registry of shared tasks."""
    for name in ("TASKIQ_REDIS_URL", "TASKIQ_BROKER", "REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(AsyncBroker, "global_task_registry", {})
    yield
    assert None is async_shared_broker._default_broker


def _given(*contributions, **settings):
    options = {"contributions": contributions or PARTS}
    return {**options, "overrides": {TaskIQSettings: TaskIQSettings(**settings)}}


def _on(redis_url, *contributions, **settings):
    return _given(*contributions, **{"redis_url": redis_url, "lease": 2, **settings})


async def _result(sent):
    with anyio.fail_after(PATIENCE):
        return await sent.wait_result(check_interval=0.02)


@pytest.mark.requirement("TQ-1", "CF-03", "TQ-5")
async def test_without_redis_tasks_run_in_the_sending_process():
    """Without Redis a task runs in the sending process, with the components' resources."""
    async with run(contributions=PARTS) as running:
        queue = running.resources[TaskQueue]
        assert isinstance(queue.broker, EmbeddedBroker)
        assert isinstance(queue.schedules, MemorySchedules)
        result = await _result(await queue.send(greet, "ann"))
        assert "hello ann, at once" == result.return_value
        assert {"greet": greet} == dict(queue.tasks)
        assert queue.idempotency is running.resources[Idempotency]
        assert {} == dict(running.plan.budget)
        ready = await running.client.get("/readyz")
        assert (200, "pass") == (ready.status_code, ready.json()["checks"]["taskiq"]["status"])


async def test_a_drain_runs_the_messages_in_memory(logs):
    """A drain runs the messages in memory; delayed ones are lost, and their number is logged."""
    done = []

    @task(name="slow")
    async def slow(number: int):
        await asyncio.sleep(0.01)
        done.append(number)

    async with run(**_given(*ALL, tasks("shop", slow), concurrency=2)) as running:
        queue = running.resources[TaskQueue]
        for number in range(6):
            await queue.send(slow, number)
        await queue.send(slow.using(delay=1000), 99)
        await running.drain()
        assert [0, 1, 2, 3, 4, 5] == sorted(done)
    (told,) = [log for log in logs if log["event"].startswith("tasks lost")]
    assert 1 == told["count"]


@pytest.mark.parametrize("role", ["worker", "scheduler"])
async def test_roles_of_their_own_need_a_shared_queue(role):
    """A worker or scheduler without a shared queue is refused, and the error names the variable to set."""
    outcome = await attempt(contributions=PARTS, role=role)
    outcome.assert_problem(
        f"lifespan 'task_{role}'", f"a {role} of its own needs a queue that processes share. Set TASKIQ_REDIS_URL"
    )


async def test_two_kernels_side_by_side_do_not_mix():
    """Each kernel has a separate queue and separate resources."""
    other = Greeting("bye")
    async with (
        run(contributions=PARTS) as one,
        run(contributions=[*ALL, tasks("shop", greet)], overrides={Greeting: other}) as two,
    ):
        queues = [each.resources[TaskQueue] for each in (one, two)]
        assert queues[0].broker is not queues[1].broker
        sent = [await queue.send(greet, "ann") for queue in queues]
        assert ["hello ann, at once", "bye ann, at once"] == [(await _result(each)).return_value for each in sent]
        assert not await queues[1].handle(sent[0].task_id).is_ready()


async def test_shared_tasks_are_sent_while_the_queue_runs():
    """The ``kiq`` of a shared task sends to the running queue, though no part contributes the task."""

    @async_shared_broker.task(task_name="shared")
    async def shared(name: str, greeting: Greeting = TaskiqDepends()) -> str:
        return f"{greeting} {name}"

    async with run(contributions=PARTS) as running:
        assert async_shared_broker._default_broker is running.resources[TaskQueue].broker
        sent = await shared.kiq("ann")
        assert "hello ann" == (await _result(sent)).return_value
        assert "hello bob" == (await _result(await running.resources[TaskQueue].send(shared, "bob"))).return_value


async def test_an_unknown_task_becomes_a_dead_letter():
    """A task that no part contributes and TaskIQ doesn't know becomes a dead letter."""

    async def body(running):
        queue = running.resources[TaskQueue]
        result = await _result(await queue._send("nobody", [], {}, None, {}))
        assert "there is no task 'nobody' here" in str(result.error)
        assert 1 == await queue.dead_letters.count()

    (await attempt(**_given(attempts=1), body=body)).assert_clean()


async def test_another_default_broker_of_shared_tasks_stays(monkeypatch):
    """A default broker that the application sets, before the start or later, isn't replaced."""
    mine, later = InMemoryBroker(), InMemoryBroker()
    monkeypatch.setattr(async_shared_broker, "_default_broker", None)
    for broker in (mine, later):
        async_shared_broker._default_broker = mine if broker is mine else None
        async with run(contributions=PARTS):
            async_shared_broker.default_broker(broker)
        assert broker is async_shared_broker._default_broker
    async_shared_broker._default_broker = None


async def test_missing_dependencies_are_refused_before_the_start():
    """Every problem of every task is reported, and no component is started."""

    @task(name="asks")
    async def asks(greeting: Annotated[Greeting, Named("formal")] = TaskiqDepends()): ...

    outcome = await attempt(contributions=[*ALL, greeter, tasks("shop", asks, greet)])
    outcome.assert_problem("task 'asks': 'greeting' asks for a Greeting named 'formal', which nothing provides")
    assert [] == outcome.start_order


async def test_a_web_process_needs_nothing_of_what_its_tasks_ask_for(redis_url):
    """Tasks that run in other processes may ask for types that only those processes provide."""

    @task(name="asks")
    async def asks(greeting: Annotated[Greeting, Named("formal")] = TaskiqDepends()): ...

    options = _on(redis_url)
    options["contributions"] = [*ALL, tasks("shop", asks)]
    async with run(**options) as web:
        assert "task_worker" in web.events.start_order
    outcome = await attempt(**{**options, "role": "worker"})
    outcome.assert_problem("task 'asks'", "which nothing provides")


@pytest.mark.parametrize(("environment", "refused"), [("production", True), ("staging", False), ("test", False)])
async def test_a_queue_in_memory_is_refused_in_production(environment, refused):
    """Tasks would be lost with the process; without tasks there is nothing to lose."""
    settings = KernelSettings(environment=environment)
    outcome = await attempt(contributions=PARTS, settings=settings)
    assert refused == bool(outcome.problems)
    if refused:
        outcome.assert_problem("TASKIQ_REDIS_URL isn't set, so tasks wait in memory", "Set TASKIQ_REDIS_URL")
    (await attempt(contributions=ALL, settings=settings)).assert_clean()


async def test_a_schedule_that_a_task_has_twice():
    """The problem names the task and the schedule."""
    from bandmaster.contrib.taskiq import Schedule

    @task(name="tick", schedule=[Schedule(every=5), Schedule(every=5)])
    async def tick(): ...

    outcome = await attempt(contributions=[*ALL, tasks("shop", tick)])
    outcome.assert_problem("the task 'tick' has this schedule twice")


async def test_the_contribution_passes_the_kernels_checks():
    """The component passes the checks of every contribution."""
    await check_contribution(taskiq)


async def test_trio_is_refused():
    """On trio the start fails with the reason."""

    def elsewhere():
        return anyio.run(lambda: attempt(contributions=[taskiq]), backend="trio")

    outcome = await anyio.to_thread.run_sync(elsewhere)
    outcome.assert_problem("lifespan 'taskiq'", "TaskIQ runs on asyncio only")


@pytest.mark.requirement("TQ-1", "TQ-2", "TQ-7", "worker")
async def test_a_web_process_sends_and_a_worker_runs(redis_url):
    """With Redis a task waits for a worker, and the sender gets the result."""
    async with run(**_on(redis_url)) as web:
        queue = web.resources[TaskQueue]
        assert isinstance(queue.broker, LeasedStreamBroker)
        assert isinstance(queue.schedules, RedisSchedules)
        assert "task_worker" in web.events.start_order
        sent = await queue.send(greet, "ann")
        await anyio.sleep(0.1)
        assert not await sent.is_ready()  # nobody works here
        worker = Kernel(**_on(redis_url), role="worker", discover=False)
        async with worker.running():
            assert "hello ann, at once" == (await _result(sent)).return_value
            await worker.drain()
        assert 200 == (await web.client.get("/readyz")).status_code


async def test_connections_are_counted(redis_url):
    """The budget contains the pool's connections and three more, and is checked against the limit."""
    async with run(**_on(redis_url, redis_max_connections=4)) as running:
        assert {"redis": 7} == dict(running.plan.budget)
    assert {} == count_connections(TaskIQSettings())
    outcome = await attempt(**_on(redis_url), settings=KernelSettings(limits={"redis": 5}))
    outcome.assert_failed(component="taskiq")
    assert "redis" in str(outcome.cause)


async def test_readiness_follows_the_queue(tmp_path):
    """The process is unready while Redis is away."""
    from bandmaster.contrib.redis.testing import redis_server
    from bandmaster.kernel.testing import ServerUnavailable, skip_or_fail

    try:
        server = redis_server(tmp_path, options=("--loglevel", "notice"))
        entered = server.__enter__()
    except ServerUnavailable as error:
        skip_or_fail(error)
    try:
        async with run(**_on(entered.url())) as running:
            assert 200 == (await running.client.get("/readyz")).status_code
            entered.stop()
            with anyio.fail_after(PATIENCE):
                while (await running.client.get("/readyz")).status_code == 200:
                    await anyio.sleep(0.05)
            entered.start()
            with anyio.fail_after(PATIENCE):
                while (await running.client.get("/readyz")).status_code != 200:
                    await anyio.sleep(0.05)
    finally:
        server.__exit__(None, None, None)


@pytest.mark.requirement("CF-13", "TQ-10")
async def test_a_database_shared_with_a_cache_is_warned_of(redis_url, logs):
    """A queue and a cache in one database cause a warning: the cache may evict messages."""
    settings = {TaskIQSettings: TaskIQSettings(redis_url=redis_url), RedisSettings: RedisSettings(url=redis_url)}
    async with run(contributions=[redis, taskiq], overrides=settings) as running:
        (told,) = [event.message for event in running.events if type(event).__name__ == "Warned"]
    assert "TASKIQ_REDIS_URL and REDIS_URL name the same Redis database" in told


@pytest.mark.requirement("CF-13", "TQ-10")
async def test_by_default_queue_and_cache_use_different_databases(redis_url, logs):
    """By default the queue's database isn't the cache's, and a queue in memory has none."""
    bare = redis_url.rpartition("/")[0]
    for url in (bare, None):
        settings = {TaskIQSettings: TaskIQSettings(redis_url=url), RedisSettings: RedisSettings(url=f"{bare}/0")}
        async with run(contributions=[redis, taskiq], overrides=settings) as running:
            assert [] == [event for event in running.events if type(event).__name__ == "Warned"]


class PlainBroker(AsyncBroker):
    """A broker with instances that share a queue in memory, as processes share a server."""

    queue: asyncio.Queue[bytes]

    async def kick(self, message):
        self.queue.put_nowait(message.message)

    async def listen(self):
        while True:
            yield await self.queue.get()


MADE = []


def make_broker(settings):
    """The function that TASKIQ_BROKER names."""
    broker = PlainBroker()
    broker.queue = MADE[0].queue if MADE else asyncio.Queue()
    if not MADE:
        from bandmaster.contrib.taskiq import MemoryResults

        broker.with_result_backend(MemoryResults(60))
    else:
        broker.with_result_backend(MADE[0].result_backend)
    broker.facts = []
    for event in (TaskiqEvents.CLIENT_STARTUP, TaskiqEvents.WORKER_STARTUP, TaskiqEvents.WORKER_SHUTDOWN):
        broker.add_event_handler(event, lambda _, event=event: broker.facts.append(event.name))
    MADE.append(broker)
    return broker


def not_a_broker(settings):
    return 7


@pytest.fixture
def here(monkeypatch):
    """Make this module importable, and return a name for imports."""
    import sys

    monkeypatch.setitem(sys.modules, "tests_of_component", sys.modules[__name__])
    MADE.clear()
    return "tests_of_component"


@pytest.mark.requirement("CF-03")
async def test_another_broker(here, logs):
    """A broker of another package sends in a web process, delivers in a worker, and knows its kind of process."""
    given = _given(broker=f"{here}:make_broker")
    async with run(**given) as web:
        worker = Kernel(**given, role="worker", discover=False)
        async with worker.running():
            queue = web.resources[TaskQueue]
            assert "hello ann, at once" == (await _result(await queue.send(greet, "ann"))).return_value
            assert isinstance(queue.dead_letters, ThirdPartyDeadLetters)
            await worker.drain()
    assert [["CLIENT_STARTUP"], ["WORKER_STARTUP", "WORKER_SHUTDOWN"]] == [broker.facts for broker in MADE]
    told = "dead letters and schedules are stored in memory only: set TASKIQ_REDIS_URL to store them in Redis"
    assert [told, told] == [log["event"] for log in logs if "in memory only" in log["event"]]


async def test_another_broker_beside_redis(here, redis_url):
    """With another broker and Redis, dead letters and schedules are stored in Redis."""
    async with run(**_on(redis_url, broker=f"{here}:make_broker")) as running:
        queue = running.resources[TaskQueue]
        assert (PlainBroker, RedisSchedules) == (type(queue.broker), type(queue.schedules))
        assert 0 == await queue.dead_letters.count()


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("nowhere.at.all:make", "can't be imported: ModuleNotFoundError"),
        ("tests_of_component:nothing", "can't be imported: AttributeError"),
        ("tests_of_component", "can't be imported: "),
        ("tests_of_component:PARTS", "is a list and no function"),
    ],
)
async def test_another_broker_that_cannot_be_found(here, path, said):
    """The problem names the path and the reason, and no component is started."""
    outcome = await attempt(**_given(broker=path))
    outcome.assert_problem(f"TASKIQ_BROKER is '{path}'", said)


@pytest.mark.parametrize(
    ("path", "said"),
    [("tests_of_component:not_a_broker", "which makes 7 rather than a broker of TaskIQ's")],
)
async def test_another_broker_that_cannot_be_made(here, path, said):
    """The error names the path and the reason."""
    outcome = await attempt(**_given(broker=path))
    outcome.assert_failed(component="taskiq")
    assert isinstance(outcome.cause, TaskQueueError)
    assert f"TASKIQ_BROKER is '{path}'" in str(outcome.cause)
    assert said in str(outcome.cause)


@pytest.mark.requirement("TQ-4")
async def test_a_process_of_every_role_does_everything(redis_url):
    """A process in memory sends, runs and schedules tasks."""
    from bandmaster.contrib.taskiq import Schedule

    ran = anyio.Event()

    @task(name="tick", schedule=Schedule(every=1))
    async def tick():
        ran.set()

    async with run(**_on(redis_url, *ALL, tasks("shop", tick)), role=None):
        with anyio.fail_after(PATIENCE):
            await ran.wait()


async def test_a_scheduled_task_has_its_own_labels():
    """A scheduled task has the labels of the declaration, whether the schedule was declared or added."""
    from bandmaster.contrib.taskiq import Schedule

    seen = {}
    both = anyio.Event()

    @task(name="tick", labels={"shop": "here"}, schedule=Schedule(every=1, labels={"by": "clock"}))
    async def tick(context: Context = TaskiqDepends()):
        note(context)

    @task(name="tock", labels={"shop": "there"})
    async def tock(context: Context = TaskiqDepends()):
        note(context)

    def note(context):
        found = context.message.labels
        seen[context.message.task_name] = (found.get("shop"), found.get("by"))
        if len(seen) == 2:
            both.set()

    async with run(contributions=[*ALL, tasks("shop", tick, tock)]) as running:
        queue = running.resources[TaskQueue]
        soon = datetime.now(UTC) + timedelta(seconds=1)
        await queue.schedules.add_schedule(ScheduledTask(task_name="tock", labels={}, args=[], kwargs={}, time=soon))
        with anyio.fail_after(PATIENCE):
            await both.wait()
    assert {"tick": ("here", "clock"), "tock": ("there", None)} == seen


async def test_two_parts_with_the_same_task_are_refused():
    """Two parts that contribute a task of the same name are refused before the start."""
    outcome = await attempt(contributions=[*PARTS, tasks("bar", greet)])
    outcome.assert_problem("the parts 'bar' and 'shop' both have a task 'greet'")
    assert [] == outcome.start_order


@pytest.mark.requirement("TQ-8", "CF-27", "TQ-5")
def test_importing_makes_no_broker():
    """Importing the components and declaring tasks makes no broker."""
    program = (
        "import gc; from importlib.metadata import entry_points\n"
        "found = entry_points(group='bandmaster.lifespan')\n"
        "for name in ('taskiq', 'task_idempotency', 'task_worker', 'task_scheduler'):\n"
        "    assert found[name].load().name == name\n"
        "from bandmaster.contrib.taskiq import task\n"
        "@task(name='t')\n"
        "def t(): ...\n"
        "from taskiq import AsyncBroker, async_shared_broker\n"
        "made = [each for each in gc.get_objects() if isinstance(each, AsyncBroker)]\n"
        "assert made == [async_shared_broker], made\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (0, "") == (ended.returncode, ended.stderr)


@pytest.mark.requirement("TQ-11", "CF-03", "XC-L1")
async def test_connections_are_closed_with_the_application(redis_url):
    """A stopped sender and worker have no connections, and sending afterwards fails with the reason."""

    async def ours():
        async with open_client(RedisSettings(url=redis_url), "watch") as client:
            return [each["name"] for each in await client.client_list() if each["name"].startswith("bandmaster-tasks")]

    async with run(**_on(redis_url)) as web:
        queue = web.resources[TaskQueue]
        async with Kernel(**_on(redis_url), role="worker", discover=False).running():
            await _result(await queue.send(greet, "ann"))
            assert {"bandmaster-tasks", "bandmaster-tasks-read"} <= set(await ours())
    assert [] == await ours()
    with pytest.raises(RedisClosedError):
        await queue.send(greet, "ann")


async def test_messages_that_kill_workers_are_reported_to_observers(redis_url) -> None:
    """The broker finds them while it fetches, without an attempt that an observer could see the end of."""
    events = []

    class Listening(TaskObserver):
        def on_task_event(self, event):
            events.append(event)

    listening = value(Listening(), name="listening", provides=TaskObserver)
    async with run(**_on(redis_url, *PARTS, listening, queue="orders")) as running:
        running.resources[TaskQueue].broker.on_poison("id of deadly")
    assert [MessageDied("", "id of deadly", "orders", Reason.POISON)] == events
