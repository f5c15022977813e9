"""The worker of a queue: concurrency, isolation, leases, drain and stop."""

import asyncio
import contextvars
import json
from contextlib import asynccontextmanager

import pytest
from taskiq import Context, InMemoryBroker, TaskiqDepends, TaskiqMiddleware
from tests.contrib.taskiq.worker.helpers import LocalWorker, echo, make_failing_task, make_waiting_task

from bandmaster.contrib.taskiq import EmbeddedBroker, task
from bandmaster.contrib.web import request_context, set_tenant, tenant
from bandmaster.kernel import Resources, Scoped, TransientError
from bandmaster.kernel.contributions.keys import Key

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("logs")]


async def test_a_fault_of_the_worker_is_logged(logs, monkeypatch):
    """A fault of the worker itself ends neither the worker nor other tasks."""
    async with LocalWorker(echo) as working:
        log_outcome = working.worker._processor._log_outcome

        def fail(attempt, outcome):
            if attempt.message.task_id == "bad":
                raise LookupError("a bug of ours")
            log_outcome(attempt, outcome)

        monkeypatch.setattr(working.worker._processor, "_log_outcome", fail)
        await working.send(echo.using(task_id="bad"))
        sent = await working.send(echo, 1)
        while not await sent.is_ready():
            await asyncio.sleep(0)
    (told,) = [log for log in logs if log["event"] == "the worker failed outside the task"]
    assert ("LookupError: a bug of ours", True) == (told["error"], "Traceback" in told["exception"])


async def test_no_more_tasks_run_than_allowed():
    """Messages above the concurrency stay at the broker."""
    going, most, release = [], [], asyncio.Event()

    @task(name="counted")
    async def counted():
        going.append(1)
        most.append(len(going))
        await release.wait()
        going.pop()

    async with LocalWorker(counted, concurrency=3) as working:
        for _ in range(8):
            await working.send(counted)
        while len(going) < 3:
            await asyncio.sleep(0)
        for _ in range(20):
            await asyncio.sleep(0)
        assert (3, 5, 3) == (len(going), working.broker.waiting, working.worker.gauge.running)
        release.set()
        await working.idle()
        assert ((8, 0, 0, 0), 3) == (working.counts(), max(most))


SEEN = contextvars.ContextVar("SEEN", default=None)


class Session:
    """A resource of one run."""


async def _pause():
    await asyncio.sleep(0.001)


def _read_task_id(context: Context = TaskiqDepends()):
    return context.message.task_id


def _make_recording_function(seen):
    """A task function that records its context before and after a pause."""

    async def look(
        number: int,
        context: Context = TaskiqDepends(),
        session: Session = TaskiqDepends(),
        paused: None = TaskiqDepends(_pause),
        own: str = TaskiqDepends(_read_task_id, use_cache=False),
    ):
        assert own == context.message.task_id
        assert SEEN.get() is None
        SEEN.set(number)
        before = (tenant(), context.message.task_id)
        await asyncio.sleep(0.001 * (number % 7))
        after = (tenant(), context.message.task_id)
        seen.append((number, before, after, SEEN.get(), session))

    return look


@pytest.mark.requirement("worker")
async def test_two_hundred_concurrent_tasks_share_nothing():
    """Each of 200 concurrent tasks keeps its tenant, context, session and context variables."""
    seen, opened = [], []

    @asynccontextmanager
    async def session():
        made = Session()
        opened.append(made)
        await asyncio.sleep(0)
        yield made

    look = task(name="look")(_make_recording_function(seen))
    resources = Resources({Key(Scoped[Session]): Scoped(session)})
    async with LocalWorker(look, resources=resources, concurrency=200) as working:
        for number in range(200):
            with request_context(tenant=f"tenant-{number}"):
                await working.send(look.using(task_id=f"id-{number}"), number)
        await working.idle()
        assert (200, 0, 0, 0) == working.counts()
    wrong = [
        number
        for number, before, after, variable, _ in seen
        if not before == after == (f"tenant-{number}", f"id-{number}") or variable != number
    ]
    assert ([], 200, 200) == (wrong, len(seen), len({id(each[4]) for each in seen}))
    assert None is SEEN.get()


async def test_taskiqs_own_receiver_mixes_contexts():
    """TaskIQ's receiver gives tasks the contexts of others, which is why this package has its own worker."""
    seen = []
    broker = InMemoryBroker(max_async_tasks=200)

    @broker.task(task_name="look")
    async def look(paused: None = TaskiqDepends(_pause), whose: str = TaskiqDepends(_read_task_id, use_cache=False)):
        seen.append(whose)

    await broker.startup()
    try:
        for number in range(200):
            await look.kicker().with_task_id(f"id-{number}").kiq()
        await broker.wait_all()
    finally:
        await broker.shutdown()
    assert 200 == len(seen)
    assert len(set(seen)) < 100


async def test_context_variables_end_with_the_task():
    """A task's change of the context doesn't reach the next task."""
    found = []

    @task(name="setting")
    async def setting():
        found.append(tenant())
        set_tenant("mine")

    async with LocalWorker(setting, concurrency=1) as working:
        for _ in range(2):
            await working.done(setting)
    assert [None, None] == found


async def test_a_drain_waits_for_running_tasks():
    """A drain waits for running tasks and receives no message."""
    waiting, begun, release = make_waiting_task()
    working = LocalWorker(waiting, echo, concurrency=5)
    running = asyncio.ensure_future(working.worker.run())
    await working.send(waiting)
    await begun.wait()
    draining = asyncio.ensure_future(working.worker.drain())
    await asyncio.sleep(0)
    await working.send(echo)
    for _ in range(20):
        await asyncio.sleep(0)
    assert (False, 1) == (draining.done(), working.broker.waiting)
    release.set()
    await draining
    await running
    assert ((1, 0, 0, 0), 1) == (working.counts(), working.broker.waiting)
    await working.worker.run()  # there is nothing more to do
    await working.worker.drain()
    await working.worker.stop()


async def test_a_stop_releases_running_tasks(logs):
    """A cancelled task has no result, and the message is the next to be delivered."""
    waiting, begun, _ = make_waiting_task()
    working = LocalWorker(waiting)
    running = asyncio.ensure_future(working.worker.run())
    sent = await working.send(waiting)
    await begun.wait()
    await working.worker.stop()
    await running
    assert ((0, 0, 0, 1), 1, False) == (working.counts(), working.broker.waiting, await sent.is_ready())
    assert "task cancelled and its message released" in [log["event"] for log in logs]
    delivery = await anext(working.broker.listen())
    assert (2, None) == (delivery.handle.deliveries, json.loads(delivery.data)["labels"].get("bm_attempt"))


async def test_a_stop_waits_for_the_end_of_a_message():
    """A task that has ended isn't cancelled while its outcome is written."""
    settling, release = asyncio.Event(), asyncio.Event()

    class Slow(TaskiqMiddleware):
        async def post_save(self, message, result):
            settling.set()
            await release.wait()

    working = LocalWorker(echo, middlewares=[Slow()])
    running = asyncio.ensure_future(working.worker.run())
    sent = await working.send(echo, 1)
    await settling.wait()
    stopping = asyncio.ensure_future(working.worker.stop())
    await asyncio.sleep(0)
    release.set()
    await stopping
    await running
    assert ((1, 0, 0, 0), 0, True) == (working.counts(), working.broker.waiting, await sent.is_ready())


class LeasingBroker(EmbeddedBroker):
    """A broker whose messages may be lost to another worker."""

    def __init__(self):
        super().__init__()
        self.lose = []
        self.refuses = 0
        self.settled = []
        self.releases = 0
        self.fails = None

    async def listen(self):
        async for delivery in super().listen():
            delivery.handle = _Leased(self, delivery.handle)
            yield delivery

    async def release_unstarted(self):
        self.releases += 1
        if self.fails is not None:
            raise self.fails
        return 0


class _Leased:
    def __init__(self, broker, inner):
        self.broker, self.inner = broker, inner
        self.id, self.deliveries = inner.id, inner.deliveries

    def begin(self, on_lost):
        self.broker.lose.append(on_lost)
        self.broker.refuses -= 1
        return self.broker.refuses < 0

    def __getattr__(self, name):
        async def settle(*args, **kwargs):
            self.broker.settled.append(name)
            if self.broker.fails is not None:
                raise self.broker.fails
            if self.broker.lost_by_now:
                return False
            return await getattr(self.inner, name)(*args, **kwargs)

        return settle

    lost_by_now = False


LeasingBroker.lost_by_now = False


async def test_a_lost_lease_cancels_the_run(logs):
    """A task whose lease is lost is cancelled without a result, and the message isn't touched."""
    waiting, begun, _ = make_waiting_task()
    async with LocalWorker(waiting, broker=LeasingBroker()) as working:
        sent = await working.send(waiting)
        await begun.wait()
        working.broker.lose[0]()
        working.broker.lose[0]()
        while working.worker.gauge.running:
            await asyncio.sleep(0)
        assert ((0, 0, 0, 1), [], False) == (working.counts(), working.broker.settled, await sent.is_ready())
    assert any("its lease was lost" in log["event"] for log in logs)


async def test_a_lease_that_is_lost_after_the_end():
    """A task that has ended is acknowledged, though the lease is lost."""
    settling, release = asyncio.Event(), asyncio.Event()

    class Slow(TaskiqMiddleware):
        async def post_save(self, message, result):
            settling.set()
            await release.wait()

    async with LocalWorker(echo, broker=LeasingBroker(), middlewares=[Slow()]) as working:
        await working.send(echo)
        await settling.wait()
        working.broker.lose[0]()
        release.set()
        await working.idle()
        assert ((1, 0, 0, 0), ["acknowledge"]) == (working.counts(), working.broker.settled)


async def test_a_task_without_a_valid_lease_does_not_run():
    """A message that waited for longer than the lease isn't processed."""
    runs = []

    @task(name="counted")
    async def counted():
        runs.append(1)

    async with LocalWorker(counted, broker=LeasingBroker()) as working:
        working.broker.refuses = 1
        await working.send(counted)
        while not working.broker.lose or working.worker.gauge.running:
            await asyncio.sleep(0)
        assert ([], (0, 0, 0, 0), []) == (runs, working.counts(), working.broker.settled)
        working.broker._held.clear()


async def test_a_retry_of_a_lost_message_is_not_sent(logs):
    """A retry isn't sent if another worker has the message."""
    work, _ = make_failing_task(9)
    async with LocalWorker(work, broker=LeasingBroker()) as working:
        working.broker.lost_by_now = True
        await working.send(work)
        while not working.worker.gauge.retried or working.worker.gauge.running:
            await asyncio.sleep(0)
        assert (0, ["retry"]) == (working.broker.waiting, working.broker.settled)
        working.broker._held.clear()
    assert "retry not sent: another worker has the message" in [log["event"] for log in logs]


@pytest.mark.parametrize("error", [TransientError("gone"), OSError("of another package")])
async def test_a_broker_that_cannot_end_messages(logs, error):
    """The errors are logged, and worker and stop go on."""
    work, _ = make_failing_task(9, ValueError)
    working = LocalWorker(echo, work, broker=LeasingBroker())
    running = asyncio.ensure_future(working.worker.run())
    working.broker.fails = TransientError("gone") if isinstance(error, TransientError) else error
    await working.send(echo)
    await working.send(work)
    working.broker.put(b"unreadable")
    while len(working.broker.settled) < 3 or working.worker.gauge.running:
        await asyncio.sleep(0)
    assert sorted(["acknowledge", "dead_letter", "dead_letter"]) == sorted(working.broker.settled)
    assert 3 == len([log for log in logs if log["event"].startswith("the broker can't be reached at a task's end")])
    working.broker.fails = TransientError("gone")
    await working.worker.stop()
    await running
    assert 1 == working.broker.releases
    assert any(log["event"].startswith("messages can't be released") for log in logs)


@pytest.mark.parametrize("how", ["ends", "fails"])
async def test_a_broker_that_ends_is_asked_again(how, logs, monkeypatch):
    """A broker that ends or fails is asked again after a growing pause."""
    monkeypatch.setattr("bandmaster.contrib.taskiq.worker.worker._FIRST_PAUSE", 0.001)

    class Ending(EmbeddedBroker):
        left = 3

        async def listen(self):
            self.left -= 1
            if self.left >= 0:
                if how == "fails":
                    raise ConnectionError("gone")
                return
            async for delivery in super().listen():
                yield delivery

    async with LocalWorker(echo, broker=Ending()) as working:
        assert 1 == (await working.done(echo, 1)).return_value
    told = [log for log in logs if log["event"] == "the broker stopped delivering, and is asked again"]
    said = "its generator has ended" if how == "ends" else "ConnectionError: gone"
    assert [(said, 0.001), (said, 0.002), (said, 0.004)] == [(log["error"], log["after"]) for log in told]


async def test_a_cancelled_worker_releases_its_messages():
    """A cancellation of the worker releases the messages of running tasks."""
    waiting, begun, _ = make_waiting_task()
    working = LocalWorker(waiting)
    running = asyncio.ensure_future(working.worker.run())
    await working.send(waiting)
    await begun.wait()
    running.cancel()
    await asyncio.wait({running})
    await working.worker.drain()
    await working.worker.stop()
    assert (True, 1, (0, 0, 0, 1)) == (running.cancelled(), working.broker.waiting, working.counts())
