"""How the worker processes a message: results, retries, dead letters, acknowledgements, timeouts."""

import asyncio
import contextvars
import json
import threading

import pytest
from taskiq import Context, TaskiqDepends, TaskiqMessage, TaskiqMiddleware, TaskiqState
from taskiq.exceptions import NoResultError
from tests.contrib.taskiq.worker.helpers import LocalWorker, echo, make_failing_task

from bandmaster.contrib.taskiq import Reason, TaskIQSettings, task
from bandmaster.contrib.taskiq.brokers.embedded_broker import EmbeddedMessage
from bandmaster.contrib.taskiq.worker.bound_tasks import bind_tasks
from bandmaster.contrib.web import request_context, request_id, tenant
from bandmaster.kernel import PermanentError, PlanError, Problem, Resources, TransientError

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("logs")]


@pytest.mark.requirement("worker")
async def test_a_task_is_done():
    """A finished task has a result, and the message is gone."""
    async with LocalWorker(echo) as working:
        result = await working.done(echo, {"a": [1, None]})
        assert (False, {"a": [1, None]}, None) == (result.is_err, result.return_value, result.error)
        assert result.execution_time >= 0
        assert ((1, 0, 0, 0), 0) == (working.counts(), working.broker.waiting)


@pytest.mark.requirement("CF-28", "TQ-9")
async def test_a_transient_error_is_retried():
    """A retry has its number and the earlier errors in the labels, and only the last result is stored."""
    work, seen = make_failing_task(2)
    async with LocalWorker(work) as working:
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
    work, seen = make_failing_task(13, attempts=14)
    async with LocalWorker(work) as working:
        await working.done(work)
        assert list(range(4, 14)) == [each["attempt"] for each in json.loads(seen[-1]["bm_failures"])]


@pytest.mark.parametrize("told", ["nothing of the kind", "{}", "[", 7])
async def test_forged_attempt_labels(told):
    """An invalid number counts as the first attempt, and an invalid history as empty."""
    work, seen = make_failing_task(1)
    async with LocalWorker(work) as working:
        labels = {"bm_attempt": told, "bm_failures": told}
        message = TaskiqMessage(task_id="a", task_name="make_failing_task", labels=labels, args=[], kwargs={})
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
    work, seen = make_failing_task(2)
    async with LocalWorker(work) as working:
        await working.queue._send(
            "make_failing_task", [], {}, None, {"count": 3, "part": 0.5, "yes": True, "text": "3", "raw": b"\xff"}
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
    work, seen = make_failing_task(99, error, attempts=3, retry_on=[OSError])
    async with LocalWorker(work) as working:
        result = await working.done(work.using(task_id="id-1"))
        letter = await working.letter()
        assert (reason, f"{error.__name__}: not yet {runs}", "make_failing_task", "id-1") == (
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

    async with LocalWorker(strict) as working:
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
    async with LocalWorker() as working:
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
    """An unknown task, which another worker may know, is retried before the message is dead."""
    async with LocalWorker(echo, attempts=2) as working:
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

    async with LocalWorker(find_task=find_task) as working:
        working.queue.tasks = {"echo": echo}
        assert ["a", "b"] == [(await working.done(echo, value)).return_value for value in "ab"]
        assert ["echo"] == asked


async def test_a_task_that_cannot_be_bound():
    """The message of a task that can't be bound becomes a dead letter with the report."""

    def find_task(name):
        raise PlanError([Problem("task 'echo' asks for a Database, which nothing provides.")])

    async with LocalWorker(find_task=find_task) as working:
        working.queue.tasks = {"echo": echo}
        result = await working.done(echo)
        letter = await working.letter()
        assert (Reason.PERMANENT, True, True) == (letter.reason, "a Database" in letter.detail, result.is_err)


async def test_a_result_that_cannot_be_stored(logs):
    """The task isn't retried, and the error is stored in place of the result."""

    @task(name="odd")
    async def odd():
        return object()

    async with LocalWorker(odd) as working:
        result = await working.done(odd)
        assert (True, None, (1, 0, 0, 0)) == (result.is_err, result.return_value, working.counts())
        assert "result can't be stored" in [log["event"] for log in logs]


@pytest.mark.parametrize("error", [TransientError("gone"), PermanentError("full")])
async def test_a_result_backend_that_fails(error):
    """The backend's error neither ends the worker nor retries the task."""
    saved = []
    async with LocalWorker(echo) as working:

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

    work, _ = make_failing_task(9, lambda text: NoResultError())
    async with LocalWorker(work, middlewares=[Middleware()]) as working:
        assert None is await working.done(work)
        assert ((1, 0, 0, 0), ["post_execute"]) == (working.counts(), called)


async def test_a_requeued_task():
    """TaskIQ's requeue sends another message and stores no result of the first."""

    @task(name="requeued")
    async def requeued(context: Context = TaskiqDepends()):
        if "X-Taskiq-requeue" not in context.message.labels:
            await context.requeue()
        return context.message.labels["X-Taskiq-requeue"]

    async with LocalWorker(requeued) as working:
        assert ("1", (2, 0, 0, 0)) == ((await working.done(requeued)).return_value, working.counts())


@pytest.mark.parametrize("error", [TransientError, ValueError])
async def test_a_task_that_is_acknowledged_when_received(logs, error):
    """With ``when_received`` a failed task isn't retried, and the missing dead letter is logged."""
    held = []

    @task(name="once", labels={"ack_type": "when_received"})
    async def once(fails: bool, context: Context = TaskiqDepends()):
        held.append((context.is_acked, len(working.broker._held)))
        if fails:
            raise error("too late")

    async with LocalWorker(once) as working:
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

    async with LocalWorker(once) as working:
        await working.done(once)
        assert ([1], (1, 1, 0, 0)) == (runs, working.counts())


async def test_a_task_that_acknowledges_itself():
    """With ``manual`` a task that doesn't acknowledge the message is retried."""
    runs = []

    @task(name="manual", labels={"ack_type": "manual"}, attempts=3)
    async def manual(forgets: int, context: Context = TaskiqDepends()):
        runs.append(context.is_ackable)
        if len(runs) > forgets:
            await context.ack()
            assert 0 == len(working.broker._held)
        return len(runs)

    async with LocalWorker(manual) as working:
        assert (2, (1, 1, 0, 0)) == ((await working.done(manual, 1)).return_value, working.counts())
        runs.clear()
        result = await working.done(manual, 9)
        assert "the task must acknowledge its message itself and didn't" == str(result.error)
        assert Reason.EXHAUSTED == (await working.letter()).reason


async def test_a_task_that_fails_after_its_own_acknowledgement():
    """A task that has acknowledged the message isn't retried."""

    @task(name="manual", labels={"ack_type": "manual"})
    async def manual(context: Context = TaskiqDepends()):
        await context.ack()
        raise TransientError("too late")

    async with LocalWorker(manual) as working:
        assert (await working.done(manual)).is_err
        assert ((0, 0, 1, 0), 0) == (working.counts(), await working.letters.count())


@pytest.mark.parametrize("kind", ["when_saved", "when_executed", "nothing of the kind", 7])
async def test_other_kinds_acknowledge_at_the_end(kind):
    """Other and unknown kinds acknowledge after the task."""

    @task(name="plain", labels={"ack_type": kind})
    async def plain(context: Context = TaskiqDepends()):
        return context.is_acked

    async with LocalWorker(plain) as working:
        assert False is (await working.done(plain)).return_value
        assert (1, 0, 0, 0) == working.counts()


@pytest.mark.parametrize("by", ["task", "message", "settings"])
async def test_a_task_that_exceeds_its_timeout(by):
    """A task that exceeds the timeout is cancelled, cleaned up and retried."""
    facts = []

    @task(name="slow", attempts=2, timeout=0.02 if by == "task" else 60 if by == "message" else None)
    async def slow():
        try:
            await asyncio.sleep(60)
        finally:
            facts.append("cleaned up")

    async with LocalWorker(slow, **({"timeout": 0.02} if by == "settings" else {})) as working:
        result = await working.done(slow.using(timeout=0.02) if by == "message" else slow)
        assert "the task took more than 0.02 s" == str(result.error)
        assert (["cleaned up"] * 2, (0, 1, 1, 0)) == (facts, working.counts())


async def test_a_task_within_its_timeout():
    """A task within the timeout isn't affected."""
    async with LocalWorker(echo) as working:
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

    async with LocalWorker(cancelled) as working:
        assert ("done", (1, 1, 0, 0)) == ((await working.done(cancelled)).return_value, working.counts())


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit("x")])
async def test_a_task_does_not_end_its_worker(error):
    """SystemExit and its like fail the task and don't end the worker."""

    @task(name="ending")
    async def ending():
        raise error

    async with LocalWorker(ending, echo) as working:
        result = await working.done(ending)
        assert f"the task raised {type(error).__name__}" in str(result.error)
        assert Reason.PERMANENT == (await working.letter()).reason
        assert "alive" == (await working.done(echo, "alive")).return_value


async def test_sync_tasks_run_in_threads():
    """A sync task runs in a thread with the same context and resources."""
    own = contextvars.ContextVar("own", default=None)

    @task(name="sync")
    def sync(value: int, state: TaskiqState = TaskiqDepends(), message: TaskiqMessage = TaskiqDepends()):
        return [value, tenant(), request_id(), message.task_id, state.shop, threading.current_thread().name]

    async with LocalWorker(sync) as working:
        working.broker.state.shop = "x"
        own.set("outside")
        with request_context("request-1", tenant="acme"):
            *found, thread = (await working.done(sync.using(task_id="id-1"), 5)).return_value
        assert ([5, "acme", "request-1", "id-1", "x"], True) == (found, thread != threading.current_thread().name)


async def test_a_sync_task_that_exceeds_its_timeout():
    """A sync task that exceeds the timeout frees the slot, though its thread can't be cancelled."""
    release = threading.Event()

    @task(name="stuck", attempts=1, timeout=0.02)
    def stuck():
        release.wait(10)

    async with LocalWorker(stuck) as working:
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
    async with LocalWorker(made) as working:
        assert ["cached", 1] == [(await working.done(made, *args)).return_value for args in ((), (1,))]
