"""Observers of a queue: what they are told of messages and attempts, and that they harm no task."""

import asyncio
import contextvars
import threading
from contextlib import contextmanager

import anyio
import pytest
from taskiq import ScheduledTask
from tests.contrib.taskiq.timing import PATIENCE
from tests.contrib.taskiq.worker.helpers import LocalWorker, echo, make_failing_task, make_waiting_task

from bandmaster.contrib.taskiq import (
    AttemptEnded,
    AttemptOutcome,
    AttemptStarted,
    EmbeddedBroker,
    MessageDied,
    Reason,
    SendingEnded,
    TaskObserver,
    TaskSending,
    UnknownTaskError,
    task,
)
from bandmaster.contrib.taskiq.observers.task_observers import TaskObservers
from bandmaster.contrib.taskiq.schedules.scheduler import OnceScheduler
from bandmaster.kernel import PermanentError, TransientError

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("logs")]

CARRIED = contextvars.ContextVar("CARRIED", default=None)


class Recording(TaskObserver):
    """Keeps what it is told, in order, and sends a field with each message."""

    carries_trace = True

    def __init__(self):
        self.events, self.order, self.attempts, self.sendings = [], [], [], []

    @contextmanager
    def observe_sending(self, sending):
        self.sendings.append(sending)
        self.order.append("sending")
        sending.fields["traceparent"] = f"from {sending.task_id}"
        try:
            yield
        finally:
            self.order.append("sent")

    @contextmanager
    def observe_attempt(self, attempt):
        self.attempts.append(attempt)
        self.order.append("attempt")
        attempt.next_fields["previous"] = str(attempt.number)
        token = CARRIED.set(attempt.task_id)
        try:
            yield
        finally:
            CARRIED.reset(token)
            self.order.append("over")

    def on_task_event(self, event):
        self.events.append(event)
        self.order.append(type(event).__name__)

    def of(self, kind):
        return [event for event in self.events if isinstance(event, kind)]


@pytest.fixture
def seen():
    return Recording()


async def test_a_task_is_reported_from_the_sending_to_its_end(seen) -> None:
    """The block of a sending or an attempt is around its events, and names task, message and queue."""
    async with LocalWorker(echo, observers=[seen]) as working:
        await working.done(echo.using(task_id="one"), 7)
    assert ["sending", "SendingEnded", "sent", "attempt", "AttemptStarted", "AttemptEnded", "over"] == seen.order
    (sending,), (attempt,) = seen.sendings, seen.attempts
    assert ("echo", "one", "tasks", None) == (sending.task, sending.task_id, sending.queue, sending.schedule)
    assert ("echo", "one", "tasks", 1, 1, None) == (
        attempt.task,
        attempt.task_id,
        attempt.queue,
        attempt.number,
        attempt.deliveries,
        attempt.schedule,
    )
    (ended,) = seen.of(AttemptEnded)
    assert (attempt, AttemptOutcome.DONE, None, None, None) == (
        ended.attempt,
        ended.outcome,
        ended.error,
        ended.reason,
        ended.retry_after,
    )
    (sent,) = seen.of(SendingEnded)
    assert (sending, None, True) == (sent.sending, sent.error, sent.seconds >= 0)


async def test_fields_travel_with_the_message_and_to_the_next_attempt(seen) -> None:
    """Fields of the sender reach every attempt; fields of an attempt reach the next one and the dead letter."""
    work, _ = make_failing_task(2, attempts=3)
    async with LocalWorker(work, observers=[seen]) as working:
        await working.done(work.using(task_id="one"))
    assert [
        {"traceparent": "from one"},
        {"traceparent": "from one", "previous": "1"},
        {"traceparent": "from one", "previous": "2"},
    ] == [dict(attempt.fields) for attempt in seen.attempts]


async def test_each_attempt_ends_once_with_its_outcome(seen) -> None:
    """A retried attempt says when the next may begin; the last one says why there is none, before the dead letter."""
    work, _ = make_failing_task(9, attempts=2)
    async with LocalWorker(work, observers=[seen], backoff=0.01) as working:
        await working.send(work)
        while not seen.of(MessageDied):
            await asyncio.sleep(0.002)
    first, second = seen.of(AttemptEnded)
    assert (AttemptOutcome.RETRIED, 0.01, None) == (first.outcome, first.retry_after, first.reason)
    assert (AttemptOutcome.DEAD, None, Reason.EXHAUSTED) == (second.outcome, second.retry_after, second.reason)
    assert ["TransientError"] * 2 == [type(ended.error).__name__ for ended in (first, second)]
    (died,) = seen.of(MessageDied)
    assert (work.name, "tasks", Reason.EXHAUSTED) == (died.task, died.queue, died.reason)
    assert died is seen.events[-1]


@pytest.mark.parametrize(
    ("error", "reason"), [(PermanentError, Reason.PERMANENT), (ValueError, Reason.PERMANENT)], ids=str
)
async def test_a_permanent_error_is_the_last_outcome(seen, error, reason) -> None:
    """Other attempts wouldn't help."""
    work, _ = make_failing_task(9, error=error)
    async with LocalWorker(work, observers=[seen]) as working:
        await working.done(work)
    (ended,) = seen.of(AttemptEnded)
    assert (AttemptOutcome.DEAD, reason) == (ended.outcome, ended.reason)


async def test_an_unknown_task_and_unreadable_bytes_are_reported(seen) -> None:
    """An unknown task has attempts; bytes that are no message have none, and die with an event."""
    async with LocalWorker(observers=[seen], attempts=1) as working:
        working.queue.tasks["missing"] = task(name="missing")(echo.function)
        await working.queue.send_message("missing")
        working.broker.put(b"no message")
        await working.idle()
    (ended,) = seen.of(AttemptEnded)
    assert (AttemptOutcome.DEAD, Reason.UNKNOWN, UnknownTaskError) == (ended.outcome, ended.reason, type(ended.error))
    assert [("missing", Reason.UNKNOWN), ("", Reason.UNREADABLE)] == [
        (died.task, died.reason) for died in seen.of(MessageDied)
    ]


async def test_the_stop_of_a_worker_ends_the_attempt_as_released(seen) -> None:
    """The block sees the cancellation, and the outcome says that another worker gets the message."""
    waiting, begun, _ = make_waiting_task()
    async with LocalWorker(waiting, observers=[seen]) as working:
        await working.send(waiting)
        await begun.wait()
        await working.worker.stop()
    (ended,) = seen.of(AttemptEnded)
    assert (AttemptOutcome.RELEASED, None) == (ended.outcome, ended.error)
    assert "over" == seen.order[-1]


async def test_a_lost_lease_ends_the_attempt_as_lost(seen) -> None:
    """Another worker has the message, and the attempt here ends without an outcome of the task."""
    waiting, begun, _ = make_waiting_task()
    async with LocalWorker(waiting, observers=[seen]) as working:
        await working.send(waiting)
        await begun.wait()
        (current,) = working.worker._running
        current.lose()
        while not seen.of(AttemptEnded):
            await asyncio.sleep(0)
        working.broker.forget(current.handle)  # another worker's now
    assert [AttemptOutcome.LOST] == [ended.outcome for ended in seen.of(AttemptEnded)]


async def test_a_cancellation_after_the_end_reports_no_second_end(seen, monkeypatch) -> None:
    """A worker that is stopped while an outcome is stored has reported the attempt already."""
    stored = []
    async with LocalWorker(echo, observers=[seen]) as working:
        store = working.worker._processor._store_outcome

        async def cancelled(attempt, outcome):
            if not stored:
                stored.append(attempt)
                raise asyncio.CancelledError
            await store(attempt, outcome)

        monkeypatch.setattr(working.worker._processor, "_store_outcome", cancelled)
        await working.send(echo)
        await working.idle()  # the released message has a second attempt
    assert [AttemptOutcome.DONE] * 2 == [ended.outcome for ended in seen.of(AttemptEnded)]


@pytest.mark.requirement("OBS-L5")
async def test_sync_tasks_see_the_context_of_their_attempt(seen) -> None:
    """Context variables of an observer's block are set in the thread of a synchronous task, as in an async task."""
    found = []

    @task(name="sync")
    def sync() -> None:
        found.append((CARRIED.get(), threading.current_thread() is threading.main_thread()))

    @task(name="async")
    async def asynchronous() -> None:
        found.append((CARRIED.get(), threading.current_thread() is threading.main_thread()))

    async with LocalWorker(sync, asynchronous, observers=[seen]) as working:
        await working.done(sync.using(task_id="a"))
        await working.done(asynchronous.using(task_id="b"))
    assert [("a", False), ("b", True)] == found
    assert None is CARRIED.get()


async def test_a_sending_that_fails_is_reported(seen, monkeypatch) -> None:
    """The block and the event have the error that the caller gets."""
    async with LocalWorker(echo, observers=[seen]) as working:

        async def refuse(message):
            raise TransientError("the broker is away")

        monkeypatch.setattr(working.broker, "kick", refuse)
        with pytest.raises(TransientError, match="the broker is away") as raised:
            await working.send(echo)
    (sent,) = seen.of(SendingEnded)
    assert raised.value is sent.error


async def test_the_firing_of_a_schedule_is_a_sending(seen) -> None:
    """The scheduler's messages name their schedule, in the sender's process and where the task runs."""
    async with LocalWorker(echo, observers=[seen]) as working:
        scheduler = OnceScheduler(working.broker, [], observers=working.queue.observers)
        due = ScheduledTask(task_name="echo", labels={}, args=[], kwargs={}, schedule_id="nightly", cron="* * * * *")

        class Source:
            async def pre_send(self, task):
                pass

            async def post_send(self, task):
                pass

        await scheduler.on_ready(Source(), due)
        await working.idle()
    (sending,), (attempt,) = seen.sendings, seen.attempts
    assert ("nightly", "nightly") == (sending.schedule, attempt.schedule)
    assert {"traceparent": f"from {sending.task_id}"} == dict(attempt.fields)


class Failing(TaskObserver):
    """Raises in one of its methods, or when a block begins or ends."""

    def __init__(self, where):
        self.where = where

    def _open(self, name):
        if self.where == name:
            raise LookupError("the observer's own fault")
        return self._block(name)

    @contextmanager
    def _block(self, name):
        if self.where == f"{name} begins":
            raise LookupError("the observer's own fault")
        yield
        if self.where == f"{name} ends":
            raise LookupError("the observer's own fault")

    def observe_sending(self, sending):
        return self._open("sending")

    def observe_attempt(self, attempt):
        return self._open("attempt")

    def on_task_event(self, event):
        if self.where == "event":
            raise LookupError("the observer's own fault")


@pytest.mark.parametrize(
    "where",
    ["sending", "sending begins", "sending ends", "attempt", "attempt begins", "attempt ends", "event"],
)
async def test_an_observer_that_fails_harms_no_task(seen, logs, where) -> None:
    """The task has its result, other observers are told as ever, and the failure is logged."""
    async with LocalWorker(echo, observers=[Failing(where), seen]) as working:
        assert 7 == (await working.done(echo, 7)).return_value
    assert ["sending", "SendingEnded", "sent", "attempt", "AttemptStarted", "AttemptEnded", "over"] == seen.order
    told = [log for log in logs if log["event"] == "an observer of tasks failed"]
    assert {("LookupError", "Failing")} == {(log["error"], log["observer"]) for log in told}


async def test_a_block_cannot_suppress_an_error(logs) -> None:
    """The outcome is the same whatever the block of an observer returns, and its own error isn't logged as a fault."""

    class Swallowing(TaskObserver):
        @contextmanager
        def observe_sending(self, sending):
            try:
                yield
            except Exception:
                pass

    observers = TaskObservers("tasks", [Swallowing(), Recording()])
    with pytest.raises(ZeroDivisionError), observers.observe_sending(TaskSending("work", "1", "tasks")):
        1 / 0
    assert [] == [log for log in logs if log["event"] == "an observer of tasks failed"]


async def test_an_observer_without_methods_of_its_own_does_nothing(seen) -> None:
    """Each method may be left out, and the one that is there is called."""

    class Quiet(TaskObserver):
        pass

    async with LocalWorker(echo, observers=[Quiet()]) as working:
        assert 1 == (await working.done(echo, 1)).return_value


async def test_tenant_and_user_are_not_in_the_text_of_an_attempt(seen) -> None:
    """Attempts are rendered into logs, and labels name people."""
    from bandmaster.contrib.web import request_context

    async with LocalWorker(echo, observers=[seen]) as working:
        with request_context(tenant="acme", user="ann"):
            await working.done(echo)
    (attempt,) = seen.attempts
    assert ("acme", "ann") == (attempt.labels["bm_tenant"], attempt.labels["bm_user"])
    assert not {"acme", "ann"} & set(repr(attempt).replace("'", " ").split())


async def test_without_an_observer_of_traces_the_global_propagator_is_used() -> None:
    """An application that sets OpenTelemetry up by itself keeps its traces; with such an observer they don't mix."""
    from opentelemetry import trace
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

    class Plain(Recording):
        carries_trace = False

        @contextmanager
        def observe_sending(self, sending):
            self.sendings.append(sending)
            yield

    class Carrying(Plain):
        carries_trace = True

    found = []

    @task(name="look")
    async def look() -> None:
        found.append(trace.get_current_span().get_span_context().trace_id)

    span = NonRecordingSpan(SpanContext(0xA, 0xB, is_remote=False, trace_flags=TraceFlags(1)))
    for kind in (Plain, Carrying):
        seen = kind()
        with anyio.fail_after(PATIENCE):
            async with LocalWorker(look, broker=EmbeddedBroker(), observers=[seen]) as working:
                with trace.use_span(span):
                    await working.send(look)
                await working.idle()
    assert [0xA, 0] == found


async def test_starts_and_ends_are_of_the_same_attempts(seen) -> None:
    """Every attempt that starts ends, with the same object, so that a listener can pair them."""
    work, _ = make_failing_task(1)
    async with LocalWorker(work, echo, observers=[seen]) as working:
        await working.done(work)
        await working.done(echo)
    assert [event.attempt for event in seen.of(AttemptStarted)] == [event.attempt for event in seen.of(AttemptEnded)]
    assert 3 == len({id(event.attempt) for event in seen.of(AttemptEnded)})
