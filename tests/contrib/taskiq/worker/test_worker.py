"""The worker of a queue."""

import asyncio
import contextvars
import json
import threading
from contextlib import asynccontextmanager

import pytest
from taskiq import Context, InMemoryBroker, TaskiqDepends, TaskiqMessage, TaskiqMiddleware, TaskiqState
from taskiq.exceptions import NoResultError
from tests.contrib.taskiq.timing import PATIENCE

from bandmaster.contrib.taskiq import EmbeddedBroker, MemoryResults, Reason, TaskIQSettings, TaskOptions, Worker, task
from bandmaster.contrib.taskiq.brokers.embedded_broker import EmbeddedMessage
from bandmaster.contrib.taskiq.idempotency.memory import MemoryIdempotency
from bandmaster.contrib.taskiq.queue import TaskQueue
from bandmaster.contrib.taskiq.schedules.stored_schedules import MemorySchedules
from bandmaster.contrib.taskiq.worker.bound_tasks import bind_tasks
from bandmaster.contrib.taskiq.worker.message_processor import RUN_TYPES
from bandmaster.contrib.taskiq.worker.retry_policy import make_policy
from bandmaster.contrib.web import request_context, request_id, set_tenant, tenant
from bandmaster.kernel import PermanentError, PlanError, Problem, Resources, Scoped, TransientError
from bandmaster.kernel.keys import Key

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def quiet(logs):
    """Capture the logged errors of tasks."""


class Working:
    """A worker of a queue in memory, which runs until the block ends."""

    def __init__(self, *tasks, broker=None, resources=None, middlewares=(), find_task=None, concurrency=20, **settings):
        self.broker = EmbeddedBroker() if broker is None else broker
        self.results = MemoryResults(60)
        self.broker.with_result_backend(self.results)
        self.broker.with_middlewares(*middlewares)
        chosen = TaskIQSettings(**{"backoff": 0, "jitter": 0, **settings})
        known = {one.name: one for one in tasks}
        self.letters = self.broker.dead_letters
        self.queue = TaskQueue(self.broker, known, self.letters, MemorySchedules(), MemoryIdempotency())
        self.worker = Worker(
            self.broker,
            bind_tasks(tasks, resources or Resources(), chosen, run_types=RUN_TYPES),
            make_handle=lambda message, data: None,
            fallback_policy=make_policy(TaskOptions(), chosen),
            concurrency=concurrency,
            threads=2,
            **({} if find_task is None else {"find_task": find_task}),
        )

    async def __aenter__(self):
        self.bound = asyncio.timeout(PATIENCE)  # no test waits for ever
        await self.bound.__aenter__()
        self.running = asyncio.ensure_future(self.worker.run())
        return self

    async def __aexit__(self, *raised):
        await self.worker.stop()
        await self.running
        await self.bound.__aexit__(*raised)

    async def send(self, one, *args, **kwargs):
        return await self.queue.send(one, *args, **kwargs)

    async def done(self, one, *args, **kwargs):
        """Send a task, wait for its end, and return its result."""
        sent = await self.send(one, *args, **kwargs)
        await self.idle()
        return await sent.get_result() if await sent.is_ready() else None

    async def idle(self):
        await self.broker.wait_idle()
        while self.worker.gauge.running:
            await asyncio.sleep(0)

    async def letter(self):
        (found,) = await self.letters.page()
        return found

    def counts(self):
        gauge = self.worker.gauge
        return gauge.done, gauge.retried, gauge.dead, gauge.lost


def failing(times, error=TransientError, **options):
    """A task that fails so many times, and the labels of its messages."""
    seen = []

    @task(name="failing", **options)
    async def work(context: Context = TaskiqDepends()):
        seen.append(dict(context.message.labels))
        if len(seen) <= times:
            raise error(f"not yet {len(seen)}")
        return len(seen)

    return work, seen


@task(name="echo")
async def echo(value=None):
    return value


@pytest.mark.requirement("worker")
async def test_a_task_is_done():
    """A finished task has a result, and its message is gone."""
    async with Working(echo) as working:
        result = await working.done(echo, {"a": [1, None]})
        assert (False, {"a": [1, None]}, None) == (result.is_err, result.return_value, result.error)
        assert result.execution_time >= 0
        assert ((1, 0, 0, 0), 0) == (working.counts(), working.broker.waiting)


@pytest.mark.requirement("CF-28", "TQ-9")
async def test_a_transient_error_is_retried():
    """A retry has its number and the earlier errors in its labels, and only the last result is stored."""
    work, seen = failing(2)
    async with Working(work) as working:
        saved = []
        set_result = working.results.set_result

        async def keep(task_id, result):
            saved.append(result.is_err)
            await set_result(task_id, result)

        working.results.set_result = keep
        result = await working.done(work.using(shop="x", once="only", task_id="id-1"))
        assert (3, (1, 2, 0, 0), [False]) == (result.return_value, working.counts(), saved)
        assert [None, "2", "3"] == [labels.get("bm_attempt") for labels in seen]
        assert ["x", "x", "x"] == [labels["shop"] for labels in seen]
        assert [True, False, False] == ["bm_once" in labels for labels in seen]
        failures = json.loads(seen[2]["bm_failures"])
        assert [(1, "TransientError: not yet 1"), (2, "TransientError: not yet 2")] == [
            (each["attempt"], each["error"]) for each in failures
        ]
        assert ("id-1", 0) == (
            (await working.results.get_result("id-1")).labels and "id-1",
            await working.letters.count(),
        )


async def test_a_message_remembers_its_last_failures():
    """A message keeps its last ten failures."""
    work, seen = failing(13, attempts=14)
    async with Working(work) as working:
        await working.done(work)
        assert list(range(4, 14)) == [each["attempt"] for each in json.loads(seen[-1]["bm_failures"])]


@pytest.mark.parametrize("told", ["nothing of the kind", "{}", "[", 7])
async def test_forged_attempt_labels(told):
    """An invalid number counts as the first attempt, and an invalid history as empty."""
    work, seen = failing(1)
    async with Working(work) as working:
        labels = {"bm_attempt": told, "bm_failures": told}
        message = TaskiqMessage(task_id="a", task_name="failing", labels=labels, args=[], kwargs={})
        working.broker.put(working.broker.formatter.dumps(message).message)
        await working.idle()
        attempt = 8 if told == 7 else 2
        assert [told, str(attempt)][: len(seen)] == [labels["bm_attempt"] for labels in seen]
        (failure,) = json.loads(
            seen[1]["bm_failures"]
            if len(seen) > 1
            else json.loads((await working.letter()).data)["labels"]["bm_failures"]
        )
        assert "TransientError: not yet 1" == failure["error"]


async def test_labels_keep_their_types():
    """Labels keep their types through every attempt."""
    work, seen = failing(2)
    async with Working(work) as working:
        await working.queue._send(
            "failing", [], {}, None, {"count": 3, "part": 0.5, "yes": True, "text": "3", "raw": b"\xff"}
        )
        await working.idle()
        expected = {"count": 3, "part": 0.5, "yes": True, "text": "3", "raw": b"\xff"}
        assert [expected] * 3 == [{name: labels[name] for name in expected} for labels in seen]


@pytest.mark.requirement("CF-28")
@pytest.mark.parametrize(
    ("error", "reason", "runs"),
    [
        (PermanentError, Reason.PERMANENT, 1),
        (ValueError, Reason.PERMANENT, 1),
        (TransientError, Reason.EXHAUSTED, 3),
        (OSError, Reason.EXHAUSTED, 3),
    ],
)
async def test_a_failed_task_becomes_a_dead_letter(error, reason, runs):
    """A dead letter has the reason, the error and the last message; the result is the error."""
    work, seen = failing(99, error, attempts=3, retry_on=[OSError])
    async with Working(work) as working:
        result = await working.done(work.using(task_id="id-1"))
        letter = await working.letter()
        assert (reason, f"{error.__name__}: not yet {runs}", "failing", "id-1") == (
            letter.reason,
            letter.detail,
            letter.task,
            letter.task_id,
        )
        assert (runs, (0, runs - 1, 1, 0)) == (len(seen), working.counts())
        labels = json.loads(letter.data)["labels"]
        assert (str(runs), runs) == (labels["bm_attempt"], len(json.loads(labels["bm_failures"])))
        assert (True, error, f"not yet {runs}") == (result.is_err, type(result.error), str(result.error))
        assert [letter.id] == await working.letters.replay()
        await working.idle()
        assert None is seen[runs].get("bm_attempt")


async def test_invalid_arguments_become_a_dead_letter():
    """The dead letter doesn't show the arguments in its detail."""

    @task(name="strict")
    async def strict(one: int): ...

    async with Working(strict) as working:
        await working.queue.send_message("strict", ["secret"])
        await working.idle()
        letter = await working.letter()
        assert (Reason.INVALID, True, False) == (
            letter.reason,
            letter.detail.startswith("InvalidArgumentsError: one: "),
            "secret" in letter.detail,
        )


async def test_an_unreadable_message_becomes_a_dead_letter(logs):
    """The dead letter has the bytes, which neither detail nor log quote."""
    async with Working() as working:
        working.broker.put(b'{"password": "secret"}')
        await working.idle()
        letter = await working.letter()
        assert (Reason.UNREADABLE, b'{"password": "secret"}', (0, 0, 1, 0)) == (
            letter.reason,
            letter.data,
            working.counts(),
        )
        assert "secret" not in repr(logs) + letter.detail


async def test_an_unknown_task_is_retried():
    """An unknown task, which another worker may know, is retried before its message is dead."""
    async with Working(echo, attempts=2) as working:
        await working.queue._send("ecko", [], {}, "id-1", {})
        await working.idle()
        letter = await working.letter()
        assert (Reason.UNKNOWN, (0, 1, 1, 0)) == (letter.reason, working.counts())
        assert "UnknownTaskError: there is no task 'ecko' here. Did you mean 'echo'?" == letter.detail
        assert (await working.results.get_result("id-1")).is_err


async def test_tasks_that_no_part_contributes_are_found_once():
    """A task that no part contributes is looked up at its first message."""
    asked = []
    bound = bind_tasks([echo], Resources(), TaskIQSettings())

    def find_task(name):
        asked.append(name)
        return bound.get(name)

    async with Working(find_task=find_task) as working:
        working.queue.tasks = {"echo": echo}
        assert ["a", "b"] == [(await working.done(echo, value)).return_value for value in "ab"]
        assert ["echo"] == asked


async def test_a_task_that_cannot_be_bound():
    """The message of a task that can't be bound becomes a dead letter with the report."""

    def find_task(name):
        raise PlanError([Problem("task 'echo' asks for a Database, which nothing provides.")])

    async with Working(find_task=find_task) as working:
        working.queue.tasks = {"echo": echo}
        result = await working.done(echo)
        letter = await working.letter()
        assert (Reason.PERMANENT, True, True) == (letter.reason, "a Database" in letter.detail, result.is_err)


async def test_a_result_that_cannot_be_stored(logs):
    """The task isn't retried, and the error is stored in place of the result."""

    @task(name="odd")
    async def odd():
        return object()

    async with Working(odd) as working:
        result = await working.done(odd)
        assert (True, None, (1, 0, 0, 0)) == (result.is_err, result.return_value, working.counts())
        assert "result can't be stored" in [log["event"] for log in logs]


@pytest.mark.parametrize("error", [TransientError("gone"), PermanentError("full")])
async def test_a_result_backend_that_fails(error):
    """The backend's error neither ends the worker nor retries the task."""
    saved = []
    async with Working(echo) as working:

        async def fail(task_id, result):
            saved.append(result.is_err)
            raise error

        working.results.set_result = fail
        assert None is await working.done(echo)
        assert (1, 0, 0, 0) == working.counts()
        assert saved == ([False] if isinstance(error, TransientError) else [False, True])


async def test_a_task_without_a_result():
    """A task that raises TaskIQ's NoResultError is done without a result."""
    called = []

    class Middleware(TaskiqMiddleware):
        def on_error(self, message, result, exception):
            called.append("on_error")

        def post_execute(self, message, result):
            called.append("post_execute")

        def post_save(self, message, result):
            called.append("post_save")

    work, _ = failing(9, lambda text: NoResultError())
    async with Working(work, middlewares=[Middleware()]) as working:
        assert None is await working.done(work)
        assert ((1, 0, 0, 0), ["post_execute"]) == (working.counts(), called)


async def test_a_requeued_task():
    """TaskIQ's requeue sends another message and stores no result of the first."""

    @task(name="requeued")
    async def requeued(context: Context = TaskiqDepends()):
        if "X-Taskiq-requeue" not in context.message.labels:
            await context.requeue()
        return context.message.labels["X-Taskiq-requeue"]

    async with Working(requeued) as working:
        assert ("1", (2, 0, 0, 0)) == ((await working.done(requeued)).return_value, working.counts())


class Recorder(TaskiqMiddleware):
    """Records its calls."""

    def __init__(self, name, facts, fails=()):
        super().__init__()
        self.name, self.facts, self.fails = name, facts, fails

    def _called(self, step):
        self.facts.append(f"{self.name} {step}")
        if step in self.fails:
            raise OSError(f"{step} failed")

    def pre_execute(self, message):
        self._called("pre_execute")
        return message.model_copy(update={"labels": {**message.labels, self.name: "was here"}})

    async def on_error(self, message, result, exception):
        self._called(f"on_error {type(exception).__name__}")

    async def post_execute(self, message, result):
        self._called("post_execute")

    def post_save(self, message, result):
        self._called("post_save")


async def test_middlewares_run_in_taskiqs_order():
    """Middlewares run in order before a task and in reverse afterwards; steps without an implementation are skipped."""
    facts = []

    @task(name="seen")
    async def seen(context: Context = TaskiqDepends()):
        facts.append("run")
        return [name for name in "ab" if name in context.message.labels]

    middlewares = [Recorder("a", facts), TaskiqMiddleware(), Recorder("b", facts)]
    async with Working(seen, middlewares=middlewares) as working:
        assert ["a", "b"] == (await working.done(seen)).return_value
    steps = ["a pre_execute", "b pre_execute", "run", "b post_execute", "a post_execute", "b post_save", "a post_save"]
    assert steps == facts


async def test_middlewares_see_errors():
    """Middlewares see the error of each attempt, and the saving of the last."""
    facts = []
    work, _ = failing(9, attempts=2)
    async with Working(work, middlewares=[Recorder("a", facts)]) as working:
        await working.done(work)
    each = ["a pre_execute", "a on_error TransientError", "a post_execute"]
    assert [*each, *each, "a post_save"] == facts


async def test_a_middleware_that_fails_after_a_task(logs):
    """The error is logged, and neither the other middlewares nor the outcome are affected."""
    facts = []
    fails = ("post_execute", "post_save", "on_error ValueError")
    work, _ = failing(1, ValueError)
    async with Working(echo, work, middlewares=[Recorder("a", facts), Recorder("b", facts, fails)]) as working:
        assert "fine" == (await working.done(echo, "fine")).return_value
        assert isinstance((await working.done(work)).error, ValueError)
        assert (1, 0, 1, 0) == working.counts()
    assert {"a post_execute", "a post_save", "a on_error ValueError"} <= set(facts)
    told = [log["step"] for log in logs if log["event"] == "a middleware failed"]
    assert ["post_execute", "post_save", "on_error", "post_execute", "post_save"] == [
        step.rpartition(".")[2] for step in told
    ]


@pytest.mark.parametrize("broken", ["raises", "forgets"])
async def test_a_middleware_that_fails_before_a_task(broken):
    """The task doesn't run, and its message becomes a dead letter."""

    class Broken(TaskiqMiddleware):
        def pre_execute(self, message):
            if broken == "raises":
                raise ValueError("refused")

    async with Working(echo, middlewares=[Broken()]) as working:
        result = await working.done(echo)
        assert (True, (0, 0, 1, 0)) == (result.is_err, working.counts())
        text = "refused" if broken == "raises" else "Broken.pre_execute returned None rather than the message"
        assert text in (await working.letter()).detail


@pytest.mark.parametrize("error", [TransientError, ValueError])
async def test_a_task_that_is_acknowledged_when_received(logs, error):
    """With ``when_received`` a failed task isn't retried, and the missing dead letter is logged."""
    held = []

    @task(name="once", labels={"ack_type": "when_received"})
    async def once(fails: bool, context: Context = TaskiqDepends()):
        held.append((context.is_acked, len(working.broker._held)))
        if fails:
            raise error("too late")

    async with Working(once) as working:
        assert False is (await working.done(once, False)).is_err
        assert isinstance((await working.done(once, True)).error, error)
        assert ([(True, 0)] * 2, (1, 0, 1, 0), 0) == (held, working.counts(), await working.letters.count())
    assert "no dead letter: the message had been acknowledged" in [log["event"] for log in logs]


async def test_a_message_that_cannot_be_acknowledged_when_received(monkeypatch):
    """The task doesn't run until the message is acknowledged."""
    runs = []
    acknowledge = EmbeddedMessage.acknowledge

    async def fail_once(self):
        if not failed:
            failed.append(self)
            raise TransientError("not now")
        await acknowledge(self)

    failed = []
    monkeypatch.setattr(EmbeddedMessage, "acknowledge", fail_once)

    @task(name="once", labels={"ack_type": "WHEN_RECEIVED"})
    async def once():
        runs.append(1)

    async with Working(once) as working:
        await working.done(once)
        assert ([1], (1, 1, 0, 0)) == (runs, working.counts())


async def test_a_task_that_acknowledges_itself():
    """With ``manual`` a task that doesn't acknowledge its message is retried."""
    runs = []

    @task(name="manual", labels={"ack_type": "manual"}, attempts=3)
    async def manual(forgets: int, context: Context = TaskiqDepends()):
        runs.append(context.is_ackable)
        if len(runs) > forgets:
            await context.ack()
            assert 0 == len(working.broker._held)
        return len(runs)

    async with Working(manual) as working:
        assert (2, (1, 1, 0, 0)) == ((await working.done(manual, 1)).return_value, working.counts())
        runs.clear()
        result = await working.done(manual, 9)
        assert "the task must acknowledge its message itself and didn't" == str(result.error)
        assert Reason.EXHAUSTED == (await working.letter()).reason


async def test_a_task_that_fails_after_its_own_acknowledgement():
    """A task that has acknowledged its message isn't retried."""

    @task(name="manual", labels={"ack_type": "manual"})
    async def manual(context: Context = TaskiqDepends()):
        await context.ack()
        raise TransientError("too late")

    async with Working(manual) as working:
        assert (await working.done(manual)).is_err
        assert ((0, 0, 1, 0), 0) == (working.counts(), await working.letters.count())


@pytest.mark.parametrize("kind", ["when_saved", "when_executed", "nothing of the kind", 7])
async def test_other_kinds_acknowledge_at_the_end(kind):
    """Other and unknown kinds acknowledge after the task."""

    @task(name="plain", labels={"ack_type": kind})
    async def plain(context: Context = TaskiqDepends()):
        return context.is_acked

    async with Working(plain) as working:
        assert False is (await working.done(plain)).return_value
        assert (1, 0, 0, 0) == working.counts()


@pytest.mark.parametrize("by", ["task", "message", "settings"])
async def test_a_task_that_exceeds_its_timeout(by):
    """A task that exceeds its timeout is cancelled, cleaned up and retried."""
    facts = []

    @task(name="slow", attempts=2, timeout=0.02 if by == "task" else 60 if by == "message" else None)
    async def slow():
        try:
            await asyncio.sleep(60)
        finally:
            facts.append("cleaned up")

    async with Working(slow, **({"timeout": 0.02} if by == "settings" else {})) as working:
        result = await working.done(slow.using(timeout=0.02) if by == "message" else slow)
        assert "the task took more than 0.02 s" == str(result.error)
        assert (["cleaned up"] * 2, (0, 1, 1, 0)) == (facts, working.counts())


async def test_a_task_within_its_timeout():
    """A task within its timeout isn't affected."""
    async with Working(echo) as working:
        assert 1 == (await working.done(echo.using(timeout=60), 1)).return_value


@pytest.mark.parametrize("how", ["raise", "cancel"])
async def test_a_task_that_cancels_itself(how):
    """A task that cancels itself is retried and doesn't end the worker."""
    runs = []

    @task(name="cancelled")
    async def cancelled():
        runs.append(1)
        if len(runs) == 1:
            if how == "raise":
                raise asyncio.CancelledError
            asyncio.current_task().cancel()
            await asyncio.sleep(0)
        return "done"

    async with Working(cancelled) as working:
        assert ("done", (1, 1, 0, 0)) == ((await working.done(cancelled)).return_value, working.counts())


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit("x")])
async def test_a_task_does_not_end_its_worker(error):
    """SystemExit and its like fail the task and don't end the worker."""

    @task(name="ending")
    async def ending():
        raise error

    async with Working(ending, echo) as working:
        result = await working.done(ending)
        assert f"the task raised {type(error).__name__}" in str(result.error)
        assert Reason.PERMANENT == (await working.letter()).reason
        assert "alive" == (await working.done(echo, "alive")).return_value


async def test_a_fault_of_the_worker_is_logged(logs, monkeypatch):
    """A fault of the worker itself ends neither the worker nor other tasks."""
    async with Working(echo) as working:
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


async def test_sync_tasks_run_in_threads():
    """A sync task runs in a thread with the same context and resources."""
    own = contextvars.ContextVar("own", default=None)

    @task(name="sync")
    def sync(value: int, state: TaskiqState = TaskiqDepends(), message: TaskiqMessage = TaskiqDepends()):
        return [value, tenant(), request_id(), message.task_id, state.shop, threading.current_thread().name]

    async with Working(sync) as working:
        working.broker.state.shop = "x"
        own.set("outside")
        with request_context("request-1", tenant="acme"):
            *found, thread = (await working.done(sync.using(task_id="id-1"), 5)).return_value
        assert ([5, "acme", "request-1", "id-1", "x"], True) == (found, thread != threading.current_thread().name)


async def test_a_sync_task_that_exceeds_its_timeout():
    """A sync task that exceeds its timeout frees its slot, though its thread can't be cancelled."""
    release = threading.Event()

    @task(name="stuck", attempts=1, timeout=0.02)
    def stuck():
        release.wait(10)

    async with Working(stuck) as working:
        try:
            assert "the task took more than 0.02 s" == str((await working.done(stuck)).error)
        finally:
            release.set()


async def test_a_sync_decorator_of_an_async_task():
    """A decorator may return a coroutine or a value."""
    import functools

    @functools.wraps(echo.function)
    def sometimes(value=None):
        return "cached" if value is None else echo.function(value)

    made = task(name="sometimes")(sometimes)
    async with Working(made) as working:
        assert ["cached", 1] == [(await working.done(made, *args)).return_value for args in ((), (1,))]


async def test_no_more_tasks_run_than_allowed():
    """Messages above the concurrency stay at the broker."""
    going, most, release = [], [], asyncio.Event()

    @task(name="counted")
    async def counted():
        going.append(1)
        most.append(len(going))
        await release.wait()
        going.pop()

    async with Working(counted, concurrency=3) as working:
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


def _whose(context: Context = TaskiqDepends()):
    return context.message.task_id


def _noticing(seen):
    """A task function that records its context before and after a pause."""

    async def look(
        number: int,
        context: Context = TaskiqDepends(),
        session: Session = TaskiqDepends(),
        paused: None = TaskiqDepends(_pause),
        own: str = TaskiqDepends(_whose, use_cache=False),
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

    look = task(name="look")(_noticing(seen))
    resources = Resources({Key(Scoped[Session]): Scoped(session)})
    async with Working(look, resources=resources, concurrency=200) as working:
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
    async def look(paused: None = TaskiqDepends(_pause), whose: str = TaskiqDepends(_whose, use_cache=False)):
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

    async with Working(setting, concurrency=1) as working:
        for _ in range(2):
            await working.done(setting)
    assert [None, None] == found


def _waiting():
    """A task that runs until its release."""
    begun, release = asyncio.Event(), asyncio.Event()

    @task(name="waiting")
    async def waiting():
        begun.set()
        await release.wait()

    return waiting, begun, release


async def test_a_drain_waits_for_running_tasks():
    """A drain waits for running tasks and receives no message."""
    waiting, begun, release = _waiting()
    working = Working(waiting, echo, concurrency=5)
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
    """A cancelled task has no result, and its message is the next to be delivered."""
    waiting, begun, _ = _waiting()
    working = Working(waiting)
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

    working = Working(echo, middlewares=[Slow()])
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
    """A task whose lease is lost is cancelled without a result, and its message isn't touched."""
    waiting, begun, _ = _waiting()
    async with Working(waiting, broker=LeasingBroker()) as working:
        sent = await working.send(waiting)
        await begun.wait()
        working.broker.lose[0]()
        working.broker.lose[0]()
        while working.worker.gauge.running:
            await asyncio.sleep(0)
        assert ((0, 0, 0, 1), [], False) == (working.counts(), working.broker.settled, await sent.is_ready())
    assert any("its lease was lost" in log["event"] for log in logs)


async def test_a_lease_that_is_lost_after_the_end():
    """A task that has ended is acknowledged, though its lease is lost."""
    settling, release = asyncio.Event(), asyncio.Event()

    class Slow(TaskiqMiddleware):
        async def post_save(self, message, result):
            settling.set()
            await release.wait()

    async with Working(echo, broker=LeasingBroker(), middlewares=[Slow()]) as working:
        await working.send(echo)
        await settling.wait()
        working.broker.lose[0]()
        release.set()
        await working.idle()
        assert ((1, 0, 0, 0), ["acknowledge"]) == (working.counts(), working.broker.settled)


async def test_a_task_without_a_valid_lease_does_not_run():
    """A message that waited for longer than its lease isn't processed."""
    runs = []

    @task(name="counted")
    async def counted():
        runs.append(1)

    async with Working(counted, broker=LeasingBroker()) as working:
        working.broker.refuses = 1
        await working.send(counted)
        while not working.broker.lose or working.worker.gauge.running:
            await asyncio.sleep(0)
        assert ([], (0, 0, 0, 0), []) == (runs, working.counts(), working.broker.settled)
        working.broker._held.clear()


async def test_a_retry_of_a_lost_message_is_not_sent(logs):
    """A retry isn't sent if another worker has the message."""
    work, _ = failing(9)
    async with Working(work, broker=LeasingBroker()) as working:
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
    work, _ = failing(9, ValueError)
    working = Working(echo, work, broker=LeasingBroker())
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

    async with Working(echo, broker=Ending()) as working:
        assert 1 == (await working.done(echo, 1)).return_value
    told = [log for log in logs if log["event"] == "the broker stopped delivering, and is asked again"]
    said = "its generator has ended" if how == "ends" else "ConnectionError: gone"
    assert [(said, 0.001), (said, 0.002), (said, 0.004)] == [(log["error"], log["after"]) for log in told]


async def test_a_cancelled_worker_releases_its_messages():
    """A cancellation of the worker releases the messages of running tasks."""
    waiting, begun, _ = _waiting()
    working = Working(waiting)
    running = asyncio.ensure_future(working.worker.run())
    await working.send(waiting)
    await begun.wait()
    running.cancel()
    await asyncio.wait({running})
    await working.worker.drain()
    await working.worker.stop()
    assert (True, 1, (0, 0, 0, 1)) == (running.cancelled(), working.broker.waiting, working.counts())
