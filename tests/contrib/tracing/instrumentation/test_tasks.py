"""Spans of tasks: of the sending and of each attempt, as children or linked, in threads and over redeliveries."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from opentelemetry import baggage, trace
from opentelemetry.context import attach, detach
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased, TraceIdRatioBased
from opentelemetry.trace import SpanKind, StatusCode
from taskiq import ScheduledTask
from tests.contrib.taskiq.worker.helpers import LocalWorker, echo, make_failing_task, make_waiting_task
from tests.contrib.tracing.instrumentation.memory import Memory
from tests.logged import capture_logs

from bandmaster.contrib.taskiq import task
from bandmaster.contrib.taskiq.schedules.scheduler import OnceScheduler
from bandmaster.contrib.tracing import traced
from bandmaster.contrib.tracing.instrumentation.tasks import TaskTracer
from bandmaster.contrib.tracing.running_providers import register_provider
from bandmaster.kernel import PermanentError, Redactor, TransientError

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("logs")]


@pytest.fixture
def anyio_backend() -> str:
    """TaskIQ runs on asyncio only."""
    return "asyncio"


@pytest.fixture
def logs():
    """The events that are logged during the test."""
    with capture_logs() as found:
        yield found


@pytest.fixture
def working(memory, propagator):
    """Start a worker whose tasks are traced."""

    def start(*tasks, links=False, provider=None, **options):
        tracer = TaskTracer(provider or memory.provider, propagator, Redactor(), links=links)
        return LocalWorker(*tasks, observers=[tracer], **options)

    return start


def _of(memory, kind):
    return [span for span in memory.spans if span.kind is kind]


async def test_a_task_has_a_producers_and_a_consumers_span(memory, working) -> None:
    """Both spans name task, queue and message; each is a child of the one before, from the sender's on."""
    async with working(echo) as worker:
        with memory.provider.get_tracer("test").start_as_current_span("request") as request:
            await worker.send(echo.using(task_id="one"))
        await worker.idle()
    sent, ran = memory.one("send echo"), memory.one("process echo")
    assert (SpanKind.PRODUCER, SpanKind.CONSUMER) == (sent.kind, ran.kind)
    assert {
        "messaging.system": "taskiq",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": "tasks",
        "messaging.message.id": "one",
        "bandmaster.task.name": "echo",
    } == dict(sent.attributes)
    assert {
        "messaging.system": "taskiq",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "tasks",
        "messaging.message.id": "one",
        "bandmaster.task.name": "echo",
        "bandmaster.task.attempt": 1,
        "bandmaster.task.deliveries": 1,
        "bandmaster.task.outcome": "done",
    } == dict(ran.attributes)
    assert request.get_span_context().span_id == sent.parent.span_id
    assert (sent.context.span_id, sent.context.trace_id) == (ran.parent.span_id, ran.context.trace_id)
    assert [StatusCode.UNSET] * 2 == [sent.status.status_code, ran.status.status_code]


@pytest.mark.requirement("OBS-T9")
@pytest.mark.parametrize("links", [False, True])
async def test_each_attempt_has_an_ended_span_that_links_to_the_one_before(memory, working, links) -> None:
    """A retried task has a span for each attempt, which names number and outcome and leads to the one before."""
    work, _ = make_failing_task(2, attempts=3)
    async with working(work, links=links) as worker:
        await worker.done(work)
    attempts = _of(memory, SpanKind.CONSUMER)
    assert [(1, "retried"), (2, "retried"), (3, "done")] == [
        (span.attributes["bandmaster.task.attempt"], span.attributes["bandmaster.task.outcome"]) for span in attempts
    ]
    assert [StatusCode.ERROR, StatusCode.ERROR, StatusCode.UNSET] == [span.status.status_code for span in attempts]
    previous = [
        [link.context.span_id for link in span.links if link.attributes["bandmaster.link"] == "previous attempt"]
        for span in attempts
    ]
    assert [[], [attempts[0].context.span_id], [attempts[1].context.span_id]] == previous
    assert 3 == len({span.context.span_id for span in attempts})
    assert [] == memory.open


@pytest.mark.requirement("OBS-T9")
async def test_a_setting_chooses_between_child_and_link(memory, working) -> None:
    """Linked attempts have traces of their own; both sides find each other by the link and by the message's id."""
    async with working(echo, links=True) as worker:
        with memory.provider.get_tracer("test").start_as_current_span("request") as request:
            await worker.send(echo)
        await worker.idle()
    sent, ran = memory.one("send echo"), memory.one("process echo")
    assert (None, request.get_span_context().trace_id) == (ran.parent, sent.context.trace_id)
    assert ran.context.trace_id != sent.context.trace_id
    (link,) = ran.links
    assert (sent.context.trace_id, sent.context.span_id) == (link.context.trace_id, link.context.span_id)
    assert sent.attributes["messaging.message.id"] == ran.attributes["messaging.message.id"]


@pytest.mark.requirement("OBS-T9")
@pytest.mark.parametrize("links", [False, True])
async def test_a_scheduled_run_is_a_trace_of_its_own(memory, working, links) -> None:
    """Whatever trace the scheduler runs in, a firing begins a new one, and names its schedule."""

    class Source:
        async def pre_send(self, task):
            pass

        async def post_send(self, task):
            pass

    async with working(echo, links=links) as worker:
        scheduler = OnceScheduler(worker.broker, [], observers=worker.queue.observers)
        with memory.provider.get_tracer("test").start_as_current_span("request") as request:
            for name in ("nightly", "hourly"):
                due = ScheduledTask(task_name="echo", labels={}, args=[], kwargs={}, schedule_id=name, cron="* * * * *")
                await scheduler.on_ready(Source(), due)
            await worker.idle()
    sent, ran = _of(memory, SpanKind.PRODUCER), _of(memory, SpanKind.CONSUMER)
    assert [None, None] == [span.parent for span in sent]
    traces = {span.context.trace_id for span in sent}
    assert 2 == len(traces - {request.get_span_context().trace_id})
    assert ["nightly", "hourly"] == [span.attributes["bandmaster.task.schedule"] for span in ran]
    if not links:
        assert [span.context.trace_id for span in sent] == [span.context.trace_id for span in ran]


async def test_the_error_of_a_task_is_an_event_without_secrets(memory, working) -> None:
    """Type, text and traceback of the error are there, with secrets redacted and without local variables."""

    @task(name="failing")
    async def failing() -> None:
        password = "local-hunter2"  # noqa: F841
        raise PermanentError("can't reach postgresql://ann:hunter2@db/shop, token=s3cr3t")

    async with working(failing) as worker:
        await worker.done(failing)
    span = memory.one("process failing")
    (event,) = span.events
    assert ("exception", "bandmaster.kernel.errors.PermanentError") == (event.name, event.attributes["exception.type"])
    assert "raise PermanentError" in event.attributes["exception.stacktrace"]
    told = str(dict(event.attributes)) + str(dict(span.attributes)) + str(span.status.description)
    for secret in ("hunter2@", "s3cr3t", ":hunter2"):
        assert secret not in told.replace('password = "local-hunter2"', "")
    assert ("dead", "permanent error", "bandmaster.kernel.errors.PermanentError") == (
        span.attributes["bandmaster.task.outcome"],
        span.attributes["bandmaster.task.reason"],
        span.attributes["error.type"],
    )


async def test_a_sending_that_fails_is_an_error(memory, working, monkeypatch) -> None:
    """The producer's span has the type of the error; the caller gets the error."""
    async with working(echo) as worker:

        async def refuse(message):
            raise TransientError("the broker is away")

        monkeypatch.setattr(worker.broker, "kick", refuse)
        with pytest.raises(TransientError, match="away"):
            await worker.send(echo)
    span = memory.one("send echo")
    assert (StatusCode.ERROR, "bandmaster.kernel.errors.TransientError") == (
        span.status.status_code,
        span.attributes["error.type"],
    )


async def test_the_stop_of_a_worker_ends_the_span(memory, working) -> None:
    """The attempt was released, which is no failure of the task."""
    waiting, begun, _ = make_waiting_task()
    async with working(waiting) as worker:
        await worker.send(waiting)
        await begun.wait()
        await worker.worker.stop()
    span = memory.one("process waiting")
    assert ("released", StatusCode.UNSET) == (span.attributes["bandmaster.task.outcome"], span.status.status_code)


@pytest.mark.requirement("OBS-L5")
async def test_sync_and_async_tasks_run_in_their_spans(memory, working) -> None:
    """The span is current in the thread of a synchronous task, and in a thread that it starts with its context."""
    found = {}

    def look(name):
        found[name] = trace.get_current_span().get_span_context().span_id

    @task(name="sync")
    def sync() -> None:
        look("sync")
        assert threading.current_thread() is not threading.main_thread()

    @task(name="async")
    async def asynchronous() -> None:
        look("async")
        await asyncio.to_thread(look, "thread")

    async with working(sync, asynchronous) as worker:
        await worker.done(sync)
        await worker.done(asynchronous)
    ran = {span.attributes["bandmaster.task.name"]: span.context.span_id for span in _of(memory, SpanKind.CONSUMER)}
    assert {"sync": ran["sync"], "async": ran["async"], "thread": ran["async"]} == found
    assert not trace.get_current_span().get_span_context().is_valid


async def test_what_a_task_does_belongs_to_its_attempt(memory, working) -> None:
    """Spans inside of a task, and tasks that it sends, are children of the attempt."""
    tracer = memory.provider.get_tracer("test")

    @task(name="parent")
    async def parent() -> None:
        with tracer.start_as_current_span("inside"):
            pass
        await worker.send(echo)

    async with working(parent, echo) as worker:
        await worker.send(parent)
        await worker.idle()
    attempt = memory.one("process parent").context
    assert [attempt.span_id] * 2 == [memory.one(name).parent.span_id for name in ("inside", "send echo")]
    assert attempt.trace_id == memory.one("process echo").context.trace_id


@pytest.mark.parametrize("links", [False, True])
async def test_baggage_goes_with_the_message(memory, working, links) -> None:
    """The queue is the application's own, so its baggage reaches the task in either mode, and nobody else's."""
    found = []

    @task(name="look")
    async def look() -> None:
        found.append(baggage.get_all())

    async with working(look, links=links) as worker:
        token = attach(baggage.set_baggage("user", "ann"))
        try:
            await worker.send(look)
        finally:
            detach(token)
        await worker.idle()
        await worker.send(look)
        await worker.idle()
    assert [{"user": "ann"}, {}] == [dict(one) for one in found]


async def test_a_worker_takes_nothing_from_the_context_around_it(memory, working) -> None:
    """A message without a trace begins one, also where the worker was started inside of a span."""
    with memory.provider.get_tracer("test").start_as_current_span("start"):
        async with working(echo) as worker:
            await worker.broker.kick(_make_message(worker.broker))
            await worker.idle()
    assert None is memory.one("process echo").parent


@pytest.mark.parametrize(
    "labels",
    [
        {"bm_trace_traceparent": "nonsense", "bm_trace_previous": "nonsense", "bm_trace_baggage": "=,;"},
        {"bm_trace_traceparent": 7, "bm_trace_previous": None, "bm_trace_baggage": ["a"]},
        {"bm_trace_traceparent": "00-" + "0" * 32 + "-" + "0" * 16 + "-01", "bm_trace_previous": ""},
        {"bm_trace_traceparent": "x" * 100_000, "bm_trace_previous": "x" * 100_000},
    ],
    ids=["text", "types", "zeros", "long"],
)
async def test_labels_that_are_no_trace_begin_one(memory, working, labels) -> None:
    """Any program that writes to the queue sets labels."""
    for links in (False, True):
        async with working(echo, links=links) as worker:
            await worker.broker.kick(_make_message(worker.broker, **labels))
            await worker.idle()
    assert [(None, 0)] * 2 == [(span.parent, len(span.links)) for span in _of(memory, SpanKind.CONSUMER)]


def _make_message(broker, **labels):
    from taskiq import TaskiqMessage

    message = TaskiqMessage(task_id="1", task_name="echo", labels=labels, args=[], kwargs={})
    return broker.formatter.dumps(message)


async def test_the_senders_decision_stands(propagator, working, memory) -> None:
    """A trace that the sender doesn't record isn't recorded by the worker, whatever the worker's own rate is."""
    off = Memory(ALWAYS_OFF)
    follower = Memory(ParentBased(TraceIdRatioBased(1.0)))
    sender = TaskTracer(off.provider, propagator, Redactor())
    async with working(echo, provider=follower.provider) as worker:
        worker.queue.observers = type(worker.queue.observers)("tasks", [sender])
        await worker.send(echo)
        await worker.idle()
    assert ([], [], []) == (off.spans, follower.spans, follower.open)


async def test_a_thousand_tasks_leave_no_span_open(memory, working) -> None:
    """Done, retried, dead and unknown tasks alike end their spans, and the tracer forgets them."""
    flaky, _ = make_failing_task(300, attempts=2)
    async with working(echo, flaky, concurrency=50) as worker:
        for _ in range(250):
            await worker.send(echo)
            await worker.send(flaky)
        await worker.idle()
        (tracer,) = worker.queue.observers._observers
        assert {} == tracer._running
    assert [] == memory.open
    assert 500 == len(_of(memory, SpanKind.PRODUCER))


async def test_functions_under_traced_belong_to_the_tasks_application(memory, working) -> None:
    """Several applications may run in a process: the provider of a task is that of its worker, in threads as well."""
    other = Memory()

    @traced(name="inside")
    def inside() -> None:
        pass

    @task(name="sync")
    def sync() -> None:
        inside()

    @task(name="async")
    async def asynchronous() -> None:
        inside()

    async with working(sync, asynchronous, links=False) as worker:
        with register_provider(other.provider), register_provider(memory.provider):
            await worker.done(sync)
            await worker.done(asynchronous)
    other.provider.shutdown()
    assert [] == other.spans
    attempts = {span.context.span_id for span in memory.spans if span.name.startswith("process")}
    assert attempts == {span.parent.span_id for span in memory.spans if span.name == "inside"}


async def test_thread_pools_keep_the_trace_with_the_context(memory, working) -> None:
    """A function that is wrapped in the caller's context runs in the task's span, in a pool of the application."""
    from contextvars import copy_context

    found = []

    @task(name="pooled")
    async def pooled() -> None:
        context = copy_context()
        with ThreadPoolExecutor(1) as pool:
            pool.submit(context.run, lambda: found.append(trace.get_current_span().get_span_context().span_id)).result()

    async with working(pooled) as worker:
        await worker.done(pooled)
    assert [memory.one("process pooled").context.span_id] == found
