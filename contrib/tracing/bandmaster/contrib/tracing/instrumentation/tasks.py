"""Spans of the messages that are sent, and of the attempts of tasks, by the conventions for messaging."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry.context import Context, attach, detach, get_current
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.trace import (
    INVALID_SPAN,
    Link,
    Span,
    SpanContext,
    SpanKind,
    TracerProvider,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.util.types import AttributeValue

from bandmaster.contrib.taskiq import AttemptEnded, TaskAttempt, TaskEvent, TaskObserver, TaskSending
from bandmaster.contrib.tracing.error_names import name_error
from bandmaster.contrib.tracing.instrumentation.spans import SCOPE, end_span, mark_failed, record_error
from bandmaster.contrib.tracing.propagation.trace_headers import (
    make_remote_context,
    parse_traceparent,
    render_traceparent,
)
from bandmaster.contrib.tracing.running_providers import make_context
from bandmaster.kernel import Redactor

PREVIOUS = "previous"
"""The field of a message with the span of the attempt before, written as a ``traceparent``."""


class TaskTracer(TaskObserver):
    """Makes a span for each message that is sent, and one for each attempt of its task.

    The spans of attempts are children of the span of the sending. With ``links`` they are traces of their own that link
    to that span. Each links to the attempt before. A message that a schedule sends begins a trace.
    """

    carries_trace = True

    def __init__(
        self, provider: TracerProvider, propagator: TextMapPropagator, redactor: Redactor, *, links: bool = False
    ) -> None:
        self._tracer = provider.get_tracer(SCOPE)
        self._base = make_context(provider, Context())
        self._propagator = propagator
        self._redactor = redactor
        self._links = links
        self._running: dict[TaskAttempt, Span] = {}

    @contextmanager
    def observe_sending(self, sending: TaskSending) -> Iterator[None]:
        """The span of a message that is sent. The message gets its trace, and the baggage."""
        around = get_current() if sending.schedule is None else self._base
        span = self._tracer.start_span(
            f"send {sending.task}",
            around,
            SpanKind.PRODUCER,
            describe_message("send", sending.task, sending.task_id, sending.queue, sending.schedule),
        )
        context = set_span_in_context(span, around)
        self._propagator.inject(sending.fields, context)  # pyright: ignore[reportArgumentType]  # the API's default
        with _use(context):
            try:
                yield
            except BaseException as error:
                end_span(span, error)
                raise
        span.end()

    @contextmanager
    def observe_attempt(self, attempt: TaskAttempt) -> Iterator[None]:
        """The span of an attempt, which is current while the task runs."""
        sent = self._propagator.extract(attempt.fields, self._base)
        sender, previous = get_current_span(sent).get_span_context(), read_previous(attempt.fields)
        links = []
        if self._links:
            sent = set_span_in_context(INVALID_SPAN, sent)  # the baggage stays
            links = [Link(sender, {"bandmaster.link": "sender"})]
        if previous is not None:
            links.append(Link(previous, {"bandmaster.link": "previous attempt"}))
        span = self._tracer.start_span(
            f"process {attempt.task}",
            sent,
            SpanKind.CONSUMER,
            {
                **describe_message("process", attempt.task, attempt.task_id, attempt.queue, attempt.schedule),
                "bandmaster.task.attempt": attempt.number,
                "bandmaster.task.deliveries": attempt.deliveries,
            },
            [link for link in links if link.context.is_valid],
        )
        context = set_span_in_context(span, sent)
        attempt.next_fields[PREVIOUS] = render_traceparent(span.get_span_context())
        self._running[attempt] = span
        try:
            with _use(context):
                yield
        finally:
            del self._running[attempt]
            span.end()

    def on_task_event(self, event: TaskEvent) -> None:
        """Note how an attempt has ended."""
        if not isinstance(event, AttemptEnded) or (span := self._running.get(event.attempt)) is None:
            return
        span.set_attribute("bandmaster.task.outcome", event.outcome.value)
        if event.reason is not None:
            span.set_attribute("bandmaster.task.reason", event.reason.value)
        if event.retry_after is not None:
            span.set_attribute("bandmaster.task.retry_after", round(event.retry_after, 3))
        if event.error is not None:
            record_error(span, event.error, self._redactor)
            mark_failed(span, name_error(event.error))


def describe_message(
    operation: str, task: str, task_id: str, queue: str, schedule: str | None
) -> dict[str, AttributeValue]:
    """The attributes of a message. By its id the spans of both sides are found."""
    attributes: dict[str, AttributeValue] = {
        "messaging.system": "taskiq",
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.destination.name": queue,
        "messaging.message.id": task_id,
        "bandmaster.task.name": task,
    }
    if schedule is not None:
        attributes["bandmaster.task.schedule"] = schedule
    return attributes


def read_previous(fields: Mapping[str, str]) -> SpanContext | None:
    """The span of the attempt before; None without one."""
    parsed = parse_traceparent([fields.get(PREVIOUS, "")])
    return None if parsed is None else make_remote_context(parsed, ())


@contextmanager
def _use(context: Context) -> Iterator[None]:
    token = attach(context)
    try:
        yield
    finally:
        detach(token)
