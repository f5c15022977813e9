"""Scenarios in which stock TaskIQ loses or doubles work, run with this package and with stock.

With stock each is expected to fail, strictly, so that a release of TaskIQ's that mends one is noticed here.
"""

import asyncio
import gc
import json
import os
import signal
import sys
import time
from contextlib import ExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest
from redis.asyncio import Redis
from taskiq import Context, ScheduledTask, SmartRetryMiddleware, TaskiqDepends, TaskiqEvents
from taskiq.api import run_receiver_task
from taskiq.kicker import AsyncKicker
from taskiq.message import BrokerMessage
from taskiq.receiver import Receiver
from taskiq_redis import ListQueueBroker, ListRedisScheduleSource, RedisAsyncResultBackend, RedisStreamBroker
from tests.whole_lines import read_whole_lines

from bandmaster.contrib.taskiq import TaskIQSettings, TaskQueue, task, task_idempotency, task_worker, taskiq, tasks
from bandmaster.kernel import Kernel, KernelSettings, LifespanBand, PermanentError, TransientError, create_app, lifespan
from bandmaster.kernel.testing import guarded_process

ROOT = Path(__file__).parents[3]
HOME = "tests.contrib.taskiq.test_stock"
LEASE = 1.0
"""Seconds until a silent worker's messages are redelivered: the lease, or stock's idle timeout."""
PATIENCE = 40
"""Seconds after which every wait is over."""
QUEUE = "tasks"

pytestmark = pytest.mark.anyio


class Ours:
    """This package's queue, with the kernel's worker."""

    patience = 10.0
    """Seconds that a busy machine may take for a task."""

    def __init__(self, url, **options):
        self.url = url
        self.options = options

    @asynccontextmanager
    async def worker(self, functions, **options):
        """Works in this process until the block ends."""
        kernel = _kernel(self.url, functions, "worker", **self.options, **options)
        async with kernel.running():
            worker = _OurWorker(kernel)
            try:
                yield worker
            finally:
                await worker.stopped()

    @asynccontextmanager
    async def client(self):
        """Sends tasks."""
        async with _kernel(self.url, {}, "web").running() as resources:
            yield _OurClient(resources[TaskQueue])

    def command(self, kind):
        """The command line of a worker."""
        app = "our_lifespan" if kind == "lifespan" else "our_app"
        return ["-m", "bandmaster.kernel.cli", "worker", f"{HOME}:{app}"]


class _OurWorker:
    def __init__(self, kernel):
        self._kernel = kernel
        self._draining = None

    def is_working(self):
        return self._kernel.is_running

    def stop(self):
        self._draining = asyncio.ensure_future(self._kernel.drain())

    async def stopped(self):
        if self._draining is not None:
            await self._draining


class _Client:
    def __init__(self, broker):
        self.broker = broker

    async def send(self, name, *args, **labels):
        """Send a task in the way that TaskIQ has for all brokers."""
        return await AsyncKicker(name, self.broker, labels).kiq(*args)


class _OurClient(_Client):
    def __init__(self, queue):
        super().__init__(queue.broker)
        self._queue = queue
        self.stream = queue.broker.options.keys.stream

    async def list_failed(self):
        """The dead letters: names and reasons."""
        return sorted((letter.task or "", letter.reason.value) for letter in await self._queue.dead_letters.page())

    async def add(self, schedule):
        await self._queue.schedules.add_schedule(schedule)


def _kernel(url, functions, role, *, retry=(3, 0.1), drain=10, **settings):
    attempts, backoff = retry
    chosen = TaskIQSettings(
        **{"redis_url": url, "queue": QUEUE, "lease": LEASE, "attempts": attempts, "backoff": backoff} | settings
    )
    members = [task(name=name)(function) for name, function in functions.items()]
    return Kernel(
        contributions=[taskiq, task_idempotency, task_worker, tasks("bench", *members)],
        discover=False,
        role=role,
        settings=KernelSettings(drain_timeout=drain),
        overrides={TaskIQSettings: chosen},
    )


class Stock:
    """TaskIQ's own receiver on the stream broker of taskiq-redis, as documented.

    Options are those that lose less: the group begins with the stream's first message.
    """

    patience = 1.0
    """Seconds of waiting for a task that stock never runs."""

    def __init__(self, url, **options):
        self.url = url
        # With one redis-py sends by asyncio.wait_for, which may lose a cancellation on Python 3.11: a receiver that is
        # to stop waits for its read for ever, then.
        self.options = {"socket_timeout": None, **options}

    def broker(self, functions=(), *, queue=QUEUE, lease=LEASE, retry=None):
        """A broker that knows these tasks."""
        options = {"consumer_id": "0", "xread_block": 200, "idle_timeout": int(lease * 1000), **self.options}
        broker = RedisStreamBroker(self.url, queue_name=queue, unacknowledged_lock_timeout=5, **options)
        return self._configure(broker, functions, retry)

    def _configure(self, broker, functions, retry=None):
        broker.with_result_backend(RedisAsyncResultBackend(self.url))
        if retry is not None:
            attempts, delay = retry
            broker.with_middlewares(
                SmartRetryMiddleware(
                    default_retry_count=attempts,
                    default_retry_label=True,
                    default_delay=delay,
                    use_jitter=True,
                    use_delay_exponent=True,
                )
            )
        for name, function in dict(functions).items():
            broker.register_task(function, name)
        return broker

    @asynccontextmanager
    async def worker(self, functions, *, concurrency=100, drain=10, **options):
        """Works in this process until the block ends."""
        broker = self.broker(functions, **options)
        broker.is_worker_process = True
        worker = _StockWorker(Receiver(broker, max_async_tasks=concurrency, wait_tasks_timeout=drain))
        try:
            yield worker
        finally:
            await worker.stopped()
            await broker.shutdown()

    @asynccontextmanager
    async def client(self):
        """Sends tasks."""
        broker = self.broker()
        await broker.startup()
        try:
            yield _StockClient(broker, self.url)
        finally:
            await broker.shutdown()

    def command(self, kind):
        """The command line of a worker, or a program with a receiver, as TaskIQ documents both."""
        if kind == "embedded":
            return ["-c", f"import {HOME} as home; home.run_stock_embedded()"]
        return ["-m", "taskiq", "worker", f"{HOME}:stock_{kind}", "--workers", "1"]


class _StockWorker:
    def __init__(self, receiver):
        self._stopping = asyncio.Event()
        self._listening = asyncio.ensure_future(receiver.listen(self._stopping))

    def is_working(self):
        return not self._listening.done()

    def stop(self):
        self._stopping.set()

    async def stopped(self):
        self.stop()
        # What has failed is seen by what isn't done.
        await asyncio.gather(self._listening, return_exceptions=True)


class _StockClient(_Client):
    stream = QUEUE

    def __init__(self, broker, url):
        super().__init__(broker)
        self._url = url

    async def list_failed(self):
        """The messages that were never acknowledged: stock has no dead letters."""
        async with Redis(connection_pool=self.broker.connection_pool) as client:
            found = await client.xpending_range(QUEUE, self.broker.consumer_group_name, "-", "+", 100)
        return [(str(each["message_id"]), "not acknowledged") for each in found]

    async def add(self, schedule):
        source = ListRedisScheduleSource(self._url)
        await source.add_schedule(schedule)
        await source._connection_pool.disconnect()  # its shutdown() doesn't


class StockList(Stock):
    """TaskIQ's own receiver on the list broker of taskiq-redis."""

    def broker(self, functions=(), *, queue=QUEUE, lease=None, retry=None):
        return self._configure(ListQueueBroker(self.url, queue_name=queue, **self.options), functions, retry)

    def command(self, kind):
        return super().command("list")


@pytest.fixture(autouse=True)
def surroundings(monkeypatch):
    """Clear the environment."""
    for name in [name for name in os.environ if name.startswith(("TASKIQ_", "BANDMASTER_DRAIN"))]:
        monkeypatch.delenv(name)


@pytest.fixture
def bench(request, redis_url):
    """A queue with its worker."""
    make, options = request.param
    yield make(redis_url, **options)
    # What stock leaves is collected here, where that may be said of it.
    gc.collect()


def stock(why, make=Stock, *, name="stock", **options):
    """A bench with which a scenario is expected to fail, and the reason."""
    fails = pytest.mark.xfail(strict=True, raises=AssertionError, reason=f"stock {why}")
    # It leaves clients and connections to the garbage collector.
    leaks = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
    return pytest.param((make, options), id=name, marks=[fails, leaks])


def with_ours_and(*others, **options):
    """Run a scenario with this package's bench and with others."""
    return pytest.mark.parametrize("bench", [pytest.param((Ours, options), id="ours"), *others], indirect=True)


async def until(condition, seconds=10.0):
    """Whether the condition holds within so many seconds."""
    with anyio.move_on_after(seconds):
        while not condition():
            await anyio.sleep(0.01)
    return condition()


def note(text):
    """Append a line for the test, even if the process is killed next."""
    with Path(os.environ["NOTES"]).open("a") as file:
        file.write(f"{text}\n")


async def hold(seconds):
    note("begun")
    await asyncio.sleep(seconds)
    note("ended")


@asynccontextmanager
async def neighbour():
    """Hold a task group open, as a client's heartbeat does."""
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.sleep_forever)
        note("started")
        yield
        group.cancel_scope.cancel()
    note("stopped")


@lifespan(band=LifespanBand.SERVICES, name="neighbour")
async def neighbouring():
    async with neighbour():
        yield


def our_app(*more):
    ahead, right = float(os.environ.get("CLOCK_AHEAD", 0)), time.time
    time.time = lambda: right() + ahead
    parts = [taskiq, task_idempotency, task_worker, tasks("bench", task(name="hold")(hold)), *more]
    return create_app(contributions=parts, discover=False)


def our_lifespan():
    return our_app(neighbouring)


def stock_stream():
    return Stock(os.environ["TASKIQ_REDIS_URL"]).broker({"hold": hold})


def stock_list():
    return StockList(os.environ["TASKIQ_REDIS_URL"]).broker({"hold": hold})


def stock_lifespan():
    broker = stock_stream()

    @broker.on_event(TaskiqEvents.WORKER_STARTUP)
    async def start(state):
        state.neighbour = neighbour()
        await state.neighbour.__aenter__()

    @broker.on_event(TaskiqEvents.WORKER_SHUTDOWN)
    async def stop(state):
        await state.neighbour.__aexit__(None, None, None)

    return broker


def run_stock_embedded():
    async def main():
        broker = stock_stream()
        await broker.startup()
        try:
            await run_receiver_task(broker)
        finally:
            await broker.shutdown()

    asyncio.run(main())


class Process:
    """A bench's worker in a process of its own, with the noted lines."""

    def __init__(self, bench, folder, kind, **environment):
        self._notes, self._output = folder / "notes", folder / "output"
        ours = {
            "NOTES": str(self._notes),
            "TASKIQ_REDIS_URL": bench.url,
            "TASKIQ_QUEUE": QUEUE,
            "TASKIQ_LEASE": str(LEASE),
        }
        command = [sys.executable, *bench.command(kind)]
        environment = {**os.environ, **ours, **environment}
        self._guard = ExitStack()
        with self._output.open("wb") as output:
            self._process = self._guard.enter_context(
                guarded_process(command, cwd=ROOT, environment=environment, stdout=output)
            )

    def notes(self):
        return read_whole_lines(self._notes)

    def output(self):
        return self._output.read_text()[-3000:]

    def stop(self, number=signal.SIGTERM):
        self._process.send_signal(number)

    def has_ended(self):
        return self._process.poll() is not None

    def kill(self):
        """Kill the whole session, since TaskIQ's command has children."""
        self._guard.close()


@pytest.fixture
def process(bench, tmp_path):
    """Start a process that ends with the test."""
    with ExitStack() as stack:

        def start(kind="stream", **environment):
            process = Process(bench, tmp_path, kind, **environment)
            stack.callback(process.kill)
            return process

        yield start


@pytest.mark.requirement("delivery")
@with_ours_and(
    stock("looks for what others held only after it has read something new"),
    stock("takes a message from a list when it reads it, and then has it nowhere", StockList, name="stock-list"),
)
async def test_a_killed_worker(bench, process):
    """A killed worker's task runs again when the lease expires; with stock only after another message."""
    ran = []

    async def again(seconds):
        ran.append(seconds)

    with anyio.fail_after(PATIENCE):
        victim = process()
        async with bench.client() as client:
            await client.send("hold", 60)
            assert await until(lambda: victim.notes() == ["begun"], 10), victim.output()
            async with bench.worker({"hold": again}):
                await anyio.sleep(0.3)
                assert ran == []
                victim.kill()
                assert await until(lambda: ran, 1.3 * LEASE + bench.patience), "no worker runs it again"


@with_ours_and(
    stock("takes redis-py's timeout of an idle read for the end", StockList, socket_timeout=0.3),
    redis_socket_timeout=0.3,
)
async def test_an_idle_worker(bench):
    """A worker stays while the queue is empty for longer than the socket timeout; a stock list worker ends.

    The timeout is 5 s unless set; here it is 0.3 s.
    """
    ran = []

    async def work():
        ran.append(1)

    with anyio.fail_after(PATIENCE):
        async with bench.client() as client, bench.worker({"work": work}) as worker:
            await anyio.sleep(1)
            assert worker.is_working()
            await client.send("work")
            assert await until(lambda: ran)


@with_ours_and(stock("takes its own running task for a dead worker's, with the next message that it reads"))
async def test_a_task_that_takes_longer_than_the_lease(bench):
    """A task longer than the lease runs once; a stock worker runs the same task twice at once."""
    ran = []

    async def work(name, seconds):
        ran.append(name)
        await asyncio.sleep(seconds)

    with anyio.fail_after(PATIENCE):
        async with bench.client() as client, bench.worker({"work": work}):
            await client.send("work", "long", 2.5 * LEASE)
            for number in range(2):
                await anyio.sleep(1.1 * LEASE)
                await client.send("work", f"short {number}", 0)
                assert await until(lambda: f"short {number}" in ran)
            await anyio.sleep(0.2)
            assert ran == ["long", "short 0", "short 1"]


@with_ours_and(stock("keeps to one worker what it has read, begun or not, until that is idle for long"))
async def test_a_backlog_and_a_stop(bench):
    """A stopping worker's unstarted tasks run in another at once; with stock they stay with the first."""
    ran, other, release = [], [], asyncio.Event()

    async def first(number):
        ran.append(number)
        await release.wait()

    async def second(number):
        other.append(number)

    with anyio.fail_after(PATIENCE):
        async with bench.client() as client:
            for number in range(5):
                await client.send("work", number)
            async with bench.worker({"work": first}, concurrency=1, lease=30) as stopping:
                assert await until(lambda: ran == [0])
                async with bench.worker({"work": second}, lease=30):
                    await anyio.sleep(0.3)
                    try:
                        stopping.stop()
                        assert await until(lambda: len(other) == 4, bench.patience), f"the other has {other}"
                    finally:
                        release.set()
        assert (ran, sorted(other)) == ([0], [1, 2, 3, 4])


@pytest.mark.requirement("delivery")
@with_ours_and(stock("dies with the connection, and the next worker waits for new messages first"))
async def test_a_restart_of_the_server(bench, process, own_server):
    """A task survives a restart of the server; a stock worker dies, and the task isn't redelivered.

    TaskIQ's command starts another worker in its place.
    """
    bench.url = own_server.url(1)
    with anyio.fail_after(PATIENCE):
        worker = process()
        async with bench.client() as client:
            await client.send("hold", 1)
        assert await until(lambda: worker.notes() == ["begun"], 10), worker.output()
        await anyio.to_thread.run_sync(own_server.restart)
        # Stock's next worker is there after about two seconds.
        assert await until(lambda: "ended" in worker.notes(), 1.5 + 1.3 * LEASE + bench.patience), worker.output()
        async with bench.client() as client:
            await client.send("hold", 0)
            assert await until(lambda: worker.notes() == ["begun", "ended"] * 2), worker.output()


@with_ours_and(stock("acknowledges what it doesn't know, and so loses it"))
async def test_a_task_that_is_not_known_yet(bench):
    """An old worker leaves a new task to new workers; a stock worker drops the message."""
    old, new = [], []

    async def known():
        old.append(1)

    async def unknown():
        new.append(1)

    with anyio.fail_after(PATIENCE):
        async with bench.client() as client:
            async with bench.worker({"known": known}, concurrency=1, retry=(5, 0.3)):
                await client.send("unknown")
                await client.send("known")
                assert await until(lambda: old)
            async with bench.worker({"known": known, "unknown": unknown}):
                # For stock, which looks for what others held when it has read something.
                await anyio.sleep(1.1 * LEASE)
                await client.send("known")
                assert await until(lambda: new, bench.patience), "it is lost"


@pytest.mark.requirement("worker")
@with_ours_and(stock("takes a cancellation for the task's own failure, and acknowledges it"))
async def test_a_task_that_is_cut_short(bench, process):
    """A worker that ends before the task releases the message; stock's cancelled receiver loses the task.

    Stock's receiver runs in a program that Ctrl-C ends.
    """
    ran = []

    async def again(seconds):
        ran.append(seconds)

    with anyio.fail_after(PATIENCE):
        victim = process("embedded", BANDMASTER_DRAIN_TIMEOUT="0.2")
        async with bench.client() as client:
            await client.send("hold", 60)
            assert await until(lambda: victim.notes() == ["begun"], 10), victim.output()
            victim.stop(signal.SIGINT)
            assert await until(victim.has_ended), victim.output()
            async with bench.worker({"hold": again}):
                await anyio.sleep(1.1 * LEASE)
                await client.send("hold", 0)
                assert await until(lambda: len(ran) == 2, bench.patience), "it is lost"
        assert sorted(ran) == [0, 60]


@with_ours_and(stock("forgets the oldest messages above a greatest length, read or not", maxlen=100))
async def test_more_than_a_greatest_length(bench):
    """Every message is stored until the task is done; stock with a greatest length drops messages."""
    ran = set()

    async def work(number):
        ran.add(number)

    with anyio.fail_after(PATIENCE):
        async with bench.client() as client:
            for number in range(300):
                await client.send("work", number)
            async with bench.worker({"work": work}):
                assert await until(lambda: len(ran) == 300, bench.patience), f"{300 - len(ran)} are lost"


@with_ours_and(stock("leaves acknowledged entries in the stream for ever"))
async def test_finished_messages_leave_the_stream(bench, redis_url):
    """The stream contains unfinished messages only; a stock stream grows for ever."""
    ran = []

    async def work(number):
        ran.append(number)

    with anyio.fail_after(PATIENCE):
        async with _asking(redis_url) as redis, bench.client() as client:
            async with bench.worker({"work": work}):
                for number in range(10):
                    await client.send("work", number)
                assert await until(lambda: len(ran) == 10)
            assert await redis.xlen(client.stream) == 0


@with_ours_and(stock("makes a group that begins with what comes after it", consumer_id="$"))
async def test_a_message_before_its_first_worker(bench):
    """A message sent before the first worker runs; by stock's default the message is lost."""
    ran = []

    async def work():
        ran.append(1)

    with anyio.fail_after(PATIENCE):
        async with bench.client() as client:
            await client.send("work", queue_name="new")
            async with bench.worker({"work": work}, queue="new"):
                assert await until(lambda: ran, bench.patience), "it is lost"


@pytest.mark.requirement("TQ-3")
@with_ours_and(stock("has pickles for results"))
async def test_results_are_json(bench, redis_url):
    """Results are JSON, so that a writer to Redis can't run code in a client; stock's are pickles by default."""
    async with _result(bench, redis_url) as (redis, keys):
        assert all([_is_json(await redis.get(key)) for key in keys])


@pytest.mark.requirement("TQ-2")
@with_ours_and(stock("keeps results for ever"))
async def test_results_expire(bench, redis_url):
    """Results expire; stock's stay for ever by default."""
    async with _result(bench, redis_url) as (redis, keys):
        assert all([0 < await redis.ttl(key) <= 3600 for key in keys])


@asynccontextmanager
async def _result(bench, redis_url):
    async def work():
        return {"answer": 42}

    with anyio.fail_after(PATIENCE):
        async with _asking(redis_url) as redis, bench.client() as client, bench.worker({"work": work}):
            sent = await client.send("work")
            assert {"answer": 42} == (await sent.wait_result(check_interval=0.02, timeout=5)).return_value
            keys = [key async for key in redis.scan_iter(f"*{sent.task_id}*")]
            assert len(keys) == 1
            yield redis, keys


@pytest.mark.requirement("TQ-3")
@with_ours_and(stock("has pickles for schedules"))
async def test_schedules_are_json(bench, redis_url):
    """Schedules added at run time are JSON; stock's are pickles by default."""
    schedule = ScheduledTask(
        task_name="work", labels={}, args=[1], kwargs={}, time=datetime.now(UTC) + timedelta(hours=1), schedule_id="one"
    )
    with anyio.fail_after(PATIENCE):
        async with _asking(redis_url) as redis, bench.client() as client:
            await client.add(schedule)
            texts = [await redis.get(key) async for key in redis.scan_iter("*one*", _type="string")]
            for key in [key async for key in redis.scan_iter("*", _type="hash")]:
                texts += (await redis.hgetall(key)).values()
            assert len(texts) == 1
            assert _is_json(texts[0])


def _is_json(text):
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


@asynccontextmanager
async def _asking(url):
    client = Redis.from_url(url)
    try:
        yield client
    finally:
        await client.aclose()


@pytest.mark.requirement("CF-28", "TQ-9")
@with_ours_and(stock("has a label for the delay, which its brokers on Redis don't read"))
async def test_pauses_between_attempts(bench):
    """Attempts are retried after growing, random pauses; stock's are retried at once without a schedule source."""
    count, times = 20, {}

    async def work(number):
        times.setdefault(number, []).append(time.monotonic())
        if len(times[number]) < 3:
            raise TransientError("not yet")

    with anyio.fail_after(PATIENCE):
        async with bench.client() as client, bench.worker({"work": work}, retry=(3, 0.4)):
            for number in range(count):
                await client.send("work", number)
            assert await until(lambda: [3] * count == [len(found) for found in times.values()])
    firsts = [found[1] - found[0] for found in times.values()]
    seconds = [found[2] - found[1] for found in times.values()]
    assert min(firsts) >= 0.19
    assert min(seconds) >= 0.39
    assert max(firsts) - min(firsts) > 0.05


@pytest.mark.requirement("worker")
@with_ours_and(stock("writes each task's context into one dictionary, which all that run share"))
async def test_concurrent_tasks_have_contexts_of_their_own(bench):
    """Concurrent tasks keep their contexts apart; with stock an uncached dependency gets another tenant's.

    This happens after another dependency that takes time.
    """
    count, seen = 200, {}

    async def session():
        await asyncio.sleep(0.05)

    def tenant(context: Context = TaskiqDepends()):
        return context.message.labels["tenant"]

    async def work(number, opened: None = TaskiqDepends(session), name: str = TaskiqDepends(tenant, use_cache=False)):
        seen[number] = name

    with anyio.fail_after(PATIENCE):
        async with bench.client() as client:
            for number in range(count):
                await client.send("work", number, tenant=f"tenant {number}")
            async with bench.worker({"work": work}, concurrency=count):
                assert await until(lambda: len(seen) == count)
    strangers = [number for number, name in seen.items() if name != f"tenant {number}"]
    assert len(strangers) == 0


@pytest.mark.requirement("TQ-5", "CF-03", "worker")
@with_ours_and(stock("has startup and shutdown in two tasks, so that no task group can be open in between"))
async def test_a_component_with_a_task_group(bench, process):
    """A component's task group starts and stops with the worker; with stock it ends in another task and fails."""
    with anyio.fail_after(PATIENCE):
        worker = process("lifespan")
        async with bench.client() as client:
            await client.send("hold", 0)
        assert await until(lambda: worker.notes() == ["started", "begun", "ended"], 10), worker.output()
        worker.stop()
        assert await until(worker.has_ended, 10), worker.output()
    assert worker.notes() == ["started", "begun", "ended", "stopped"], worker.output()


@pytest.mark.requirement("CF-28", "TQ-9")
@with_ours_and(stock("has none"))
async def test_dead_letters(bench):
    """A failed task is stored with the reason; with stock at most an error result remains."""
    ran = []

    async def broken():
        raise PermanentError("it will never do")

    async def work():
        ran.append(1)

    with anyio.fail_after(PATIENCE):
        async with bench.client() as client, bench.worker({"broken": broken, "work": work}, retry=(2, 0.05)):
            await client.send("broken")
            await client.send("nowhere")
            await client.broker.kick(BrokerMessage(task_id="", task_name="", message=b"scribble", labels={}))
            await client.send("work")
            assert await until(lambda: ran)
            with anyio.move_on_after(bench.patience):
                while len(await client.list_failed()) < 3:
                    await anyio.sleep(0.05)
            assert await client.list_failed() == [
                ("", "unreadable"),
                ("broken", "permanent error"),
                ("nowhere", "unknown task"),
            ]


@with_ours_and()
async def test_clocks_that_disagree(bench, process):
    """A worker whose clock is an hour ahead neither takes nor loses tasks, nor does a stock worker.

    Both use the server's clock.
    """
    ran = []

    async def here(seconds):
        ran.append("begun")
        await asyncio.sleep(seconds)
        ran.append("ended")

    with anyio.fail_after(PATIENCE):
        ahead = process(CLOCK_AHEAD="3600", TASKIQ_CONCURRENCY="1", TASKIQ_PREFETCH="0")
        async with bench.client() as client:
            await client.send("hold", 1.6 * LEASE)
            assert await until(lambda: ahead.notes() == ["begun"], 10), ahead.output()
            async with bench.worker({"hold": here}):
                await client.send("hold", 3 * LEASE)
                assert await until(lambda: ran == ["begun", "ended"]), ran
            assert ahead.notes() == ["begun", "ended"], ahead.output()
