"""The task queue as components."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Annotated

import anyio
import pytest
from taskiq import AsyncBroker, Context, InMemoryBroker, ScheduledTask, TaskiqDepends, TaskiqEvents, async_shared_broker

from bandmaster.contrib.redis import RedisClosedError, RedisSettings, open_client, redis
from bandmaster.contrib.taskiq import (
    EmbeddedBroker,
    Idempotency,
    LeasedStreamBroker,
    TaskIQSettings,
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
from bandmaster.kernel import CrashError, Kernel, KernelSettings, LifespanBand, Named, PlanError, lifespan
from bandmaster.kernel.testing import attempt, check_contribution, run

pytestmark = pytest.mark.anyio
ALL = [taskiq, task_idempotency, task_worker, task_scheduler]


class Greeting(str):
    """What a component provides."""


@lifespan(band=LifespanBand.SERVICES)
async def greeter() -> AsyncIterator[Greeting]:
    yield Greeting("hello")


@task(name="greet")
async def greet(name: str, greeting: Greeting = TaskiqDepends(), context: Context = TaskiqDepends()) -> str:
    return f"{greeting} {name}, {context.message.labels.get('bm_attempt', 'at once')}"


PARTS = [*ALL, greeter, tasks("shop", greet)]


@pytest.fixture(autouse=True)
def surroundings(monkeypatch):
    """Nothing of the environment counts; TaskIQ's shared tasks don't stay."""
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
    with anyio.fail_after(10):
        return await sent.wait_result(check_interval=0.02)


# -- embedded --------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("TQ-1", "CF-03", "TQ-5")
async def test_without_a_server_tasks_run_here():
    """In the process that sends them, with what the components provide."""
    async with run(contributions=PARTS) as running:
        queue = running.resources[TaskQueue]
        assert isinstance(queue.broker, EmbeddedBroker)
        assert isinstance(queue.schedules, MemorySchedules)
        result = await _result(await queue.send(greet, "ann"))
        assert "hello ann, at once" == result.return_value
        assert {"greet": greet} == dict(queue.tasks)
        assert queue.idempotency is running.resources[Idempotency]
        assert {} == dict(running.plan.budget)
        ready = await running.http.get("/readyz")
        assert (200, "pass") == (ready.status, ready.json()["checks"]["taskiq"]["status"])


async def test_a_drain_runs_what_is_in_memory(logs):
    """It is for nobody else; what isn't to run yet is lost, and that is said."""
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
    """They are refused with what to set."""
    outcome = await attempt(contributions=PARTS, role=role)
    outcome.assert_failed(component=f"task_{role}")
    assert isinstance(outcome.cause, TaskQueueError)
    assert f"a {role} of its own needs a queue that processes share: set TASKIQ_REDIS_URL" in str(outcome.cause)


async def test_two_kernels_side_by_side_do_not_mix():
    """Each has its queue and its resources."""
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


async def test_taskiqs_shared_tasks_work_while_it_runs():
    """Their own ``kiq`` sends here; no part needs to bring them."""

    @async_shared_broker.task(task_name="shared")
    async def shared(name: str, greeting: Greeting = TaskiqDepends()) -> str:
        return f"{greeting} {name}"

    async with run(contributions=PARTS) as running:
        assert async_shared_broker._default_broker is running.resources[TaskQueue].broker
        sent = await shared.kiq("ann")
        assert "hello ann" == (await _result(sent)).return_value
        assert "hello bob" == (await _result(await running.resources[TaskQueue].send(shared, "bob"))).return_value


async def test_a_message_for_nobody():
    """Its task is neither brought by a part nor registered with TaskIQ: it becomes a dead letter."""

    async def body(running):
        queue = running.resources[TaskQueue]
        result = await _result(await queue._send("nobody", [], {}, None, {}))
        assert "there is no task 'nobody' here" in str(result.error)
        assert 1 == await queue.dead_letters.count()

    (await attempt(**_given(attempts=1), body=body)).assert_clean()


async def test_what_somebody_has_made_the_default_stays(monkeypatch):
    """Before the start and meanwhile."""
    mine, later = InMemoryBroker(), InMemoryBroker()
    monkeypatch.setattr(async_shared_broker, "_default_broker", None)
    for broker in (mine, later):
        async_shared_broker._default_broker = mine if broker is mine else None
        async with run(contributions=PARTS):
            async_shared_broker.default_broker(broker)
        assert broker is async_shared_broker._default_broker
    async_shared_broker._default_broker = None


async def test_tasks_that_ask_for_what_nothing_provides():
    """The process ends at once, with the whole report: trying again changes nothing."""

    @task(name="asks")
    async def asks(greeting: Annotated[Greeting, Named("formal")] = TaskiqDepends()): ...

    async def body(running):
        with anyio.fail_after(2):
            while running.kernel.is_ready:
                await anyio.sleep(0.01)

    outcome = await attempt(contributions=[*ALL, greeter, tasks("shop", asks, greet)], body=body)
    outcome.assert_failed(CrashError, "task_worker")
    assert isinstance(outcome.cause, PlanError)
    assert "task 'asks': 'greeting' asks for a Greeting named 'formal', which nothing provides" in str(outcome.cause)
    assert 1 == outcome.events.kinds.count("ServiceGaveUp")
    assert 0 == outcome.events.kinds.count("ServiceRestarting")


async def test_it_is_a_good_neighbour():
    """It stands what every contribution must."""
    await check_contribution(taskiq)


async def test_it_says_that_it_needs_asyncio():
    """Instead of failing somewhere in TaskIQ."""

    def elsewhere():
        return anyio.run(lambda: attempt(contributions=[taskiq]), backend="trio")

    outcome = await anyio.to_thread.run_sync(elsewhere)
    outcome.assert_failed()
    assert "TaskIQ runs on asyncio only" in str(outcome.cause)


# -- with Redis ------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("TQ-1", "TQ-2", "TQ-7", "worker")
async def test_a_web_process_sends_and_a_worker_runs(redis_url):
    """What comes back is the result."""
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
        assert 200 == (await web.http.get("/readyz")).status


async def test_connections_are_counted(redis_url):
    """The pool's and those that wait and watch."""
    async with run(**_on(redis_url, redis_max_connections=4)) as running:
        assert {"redis": 7} == dict(running.plan.budget)
    assert {} == count_connections(TaskIQSettings())
    outcome = await attempt(**_on(redis_url), settings=KernelSettings(limits={"redis": 5}))
    outcome.assert_failed(component="taskiq")
    assert "redis" in str(outcome.cause)


async def test_readiness_follows_the_queue(tmp_path):
    """Where it is critical."""
    from bandmaster.contrib.redis.testing import redis_server
    from bandmaster.kernel.testing import ServerUnavailable, skip_or_fail

    try:
        server = redis_server(tmp_path, options=("--loglevel", "notice"))
        entered = server.__enter__()
    except ServerUnavailable as error:
        skip_or_fail(error)
    try:
        async with run(**_on(entered.url())) as running:
            assert 200 == (await running.http.get("/readyz")).status
            entered.stop()
            with anyio.fail_after(10):
                while (await running.http.get("/readyz")).status == 200:
                    await anyio.sleep(0.05)
            entered.start()
            with anyio.fail_after(10):
                while (await running.http.get("/readyz")).status != 200:
                    await anyio.sleep(0.05)
    finally:
        server.__exit__(None, None, None)


@pytest.mark.requirement("CF-13", "TQ-10")
async def test_a_database_that_serves_two_is_warned_of(redis_url, logs):
    """What a cache evicts, a queue must not lose."""
    settings = {TaskIQSettings: TaskIQSettings(redis_url=redis_url), RedisSettings: RedisSettings(url=redis_url)}
    async with run(contributions=[redis, taskiq], overrides=settings):
        pass
    (told,) = [log for log in logs if log["event"] == "shared Redis database"]
    assert ["tasks", "REDIS_URL"] == told["purposes"]


@pytest.mark.requirement("CF-13", "TQ-10")
async def test_by_default_no_database_serves_two(redis_url, logs):
    """The queue's is another than the cache's; nor is there one where the queue is in memory."""
    bare = redis_url.rpartition("/")[0]
    for url in (bare, None):
        settings = {TaskIQSettings: TaskIQSettings(redis_url=url), RedisSettings: RedisSettings(url=f"{bare}/0")}
        async with run(contributions=[redis, taskiq], overrides=settings):
            pass
    assert "shared Redis database" not in [log["event"] for log in logs]


# -- another broker --------------------------------------------------------------------------------------------------


class PlainBroker(AsyncBroker):
    """A queue that processes share, as it were."""

    queue: asyncio.Queue[bytes]

    async def kick(self, message):
        self.queue.put_nowait(message.message)

    async def listen(self):
        while True:
            yield await self.queue.get()


MADE = []


def make_broker(settings):
    """What TASKIQ_BROKER names."""
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
    """The name of this module, as an import finds it."""
    import sys

    monkeypatch.setitem(sys.modules, "tests_of_component", sys.modules[__name__])
    MADE.clear()
    return "tests_of_component"


@pytest.mark.requirement("CF-03")
async def test_another_broker(here, logs):
    """Of TaskIQ's, made by a function: a web process sends, a worker runs, each tells it which it is."""
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
    """Dead letters and schedules are kept there."""
    async with run(**_on(redis_url, broker=f"{here}:make_broker")) as running:
        queue = running.resources[TaskQueue]
        assert (PlainBroker, RedisSchedules) == (type(queue.broker), type(queue.schedules))
        assert 0 == await queue.dead_letters.count()


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("nowhere.at.all:make", "can't be made: ModuleNotFoundError"),
        ("tests_of_component:nothing", "can't be made: AttributeError"),
        ("tests_of_component", "can't be made: "),
        ("tests_of_component:PARTS", "can't be made: TypeError"),
        ("tests_of_component:not_a_broker", "which makes 7 rather than a broker of TaskIQ's"),
    ],
)
async def test_another_broker_that_cannot_be_had(here, path, said):
    """It is told with the path."""
    outcome = await attempt(**_given(broker=path))
    outcome.assert_failed(component="taskiq")
    assert isinstance(outcome.cause, TaskQueueError)
    assert f"TASKIQ_BROKER is '{path}'" in str(outcome.cause)
    assert said in str(outcome.cause)


# -- every role at once ----------------------------------------------------------------------------------------------


@pytest.mark.requirement("TQ-4")
async def test_a_process_of_every_role_does_everything(redis_url):
    """It sends, works and schedules."""
    from bandmaster.contrib.taskiq import Schedule

    ran = anyio.Event()

    @task(name="tick", schedule=Schedule(every=1))
    async def tick():
        ran.set()

    async with run(**_on(redis_url, *ALL, tasks("shop", tick)), role=None):
        with anyio.fail_after(10):
            await ran.wait()


async def test_what_is_sent_by_the_clock_has_its_tasks_labels():
    """As if it had been sent by hand; whether it was declared to be sent, or added while it runs."""
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
        with anyio.fail_after(10):
            await both.wait()
    assert {"tick": ("here", "clock"), "tock": ("there", None)} == seen


async def test_parts_of_one_name_are_refused_at_the_start():
    """Where two bring a task of one name."""
    outcome = await attempt(contributions=[*PARTS, tasks("bar", greet)])
    outcome.assert_failed(component="taskiq")
    assert "the parts 'bar' and 'shop' both have a task 'greet'" in str(outcome.cause)
    assert "taskiq" not in outcome.start_order


@pytest.mark.requirement("TQ-8", "CF-27", "TQ-5")
def test_nothing_is_made_by_importing():
    """The components are found by entry point; to import them, and what declares tasks, makes no broker."""
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
async def test_with_the_application_its_connections_end(redis_url):
    """A sender's and a worker's, and whoever sends afterwards is told why that is in vain."""

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
