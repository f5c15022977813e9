"""Spans of HTTP calls to other services, by the stable conventions for HTTP clients."""

from __future__ import annotations

from opentelemetry import baggage
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.trace import INVALID_SPAN, Span, SpanKind, TracerProvider, set_span_in_context
from opentelemetry.util.types import AttributeValue

from bandmaster.contrib.http import CallAttempt, CallEnd, CallObserver, ReportEnd
from bandmaster.contrib.tracing.instrumentation.spans import SCOPE, end_span, mark_failed
from bandmaster.contrib.tracing.metrics.requests import KNOWN_METHODS

_PORTS = {"http": 80, "https": 443}


class CallTracer(CallObserver):
    """Makes one span for each attempt of a call, and gives the trace to the hosts that the client's settings name.

    The span ends when the body of the answer has been read or closed.
    """

    carries_trace = True

    def __init__(self, provider: TracerProvider, propagator: TextMapPropagator, *, paths: bool = False) -> None:
        self._tracer = provider.get_tracer(SCOPE)
        self._propagator = propagator
        self._paths = paths

    def observe_call(self, attempt: CallAttempt) -> ReportEnd:
        """Begin the span of an attempt, and add the headers of the trace."""
        method = attempt.method if attempt.method in KNOWN_METHODS else "_OTHER"
        name = "HTTP" if method == "_OTHER" else method
        span = self._tracer.start_span(
            name if attempt.template is None else f"{name} {attempt.template}", kind=SpanKind.CLIENT
        )
        if span.is_recording():
            span.set_attributes(describe_attempt(attempt, method, paths=self._paths))
        self._add_headers(attempt, span)
        return lambda end: _end(span, end)

    def _add_headers(self, attempt: CallAttempt, span: Span) -> None:
        if not (attempt.forwards_trace or attempt.forwards_baggage):
            return
        context = set_span_in_context(span if attempt.forwards_trace else INVALID_SPAN)
        if not attempt.forwards_baggage:
            context = baggage.clear(context)
        fields: dict[str, str] = {}
        self._propagator.inject(fields, context)  # pyright: ignore[reportArgumentType]  # the API's own default
        attempt.headers.update({name.lower(): value for name, value in fields.items()})


def describe_attempt(attempt: CallAttempt, method: str, *, paths: bool) -> dict[str, AttributeValue]:
    """The attributes of an attempt that are known before the answer. No query, user or password is among them."""
    url = attempt.url
    port = url.port or _PORTS.get(url.scheme)
    host = f"[{url.host}]" if ":" in url.host else url.host
    origin = f"{url.scheme}://{host}{'' if url.port is None else f':{url.port}'}"
    attributes: dict[str, AttributeValue] = {
        "http.request.method": method,
        "server.address": url.host,
        "url.full": f"{origin}{url.path}" if paths else f"{origin}/",
        "bandmaster.http.client": attempt.client,
    }
    if port is not None:
        attributes["server.port"] = port
    if method == "_OTHER":
        attributes["http.request.method_original"] = attempt.method[:40]
    if attempt.template is not None:
        attributes["url.template"] = attempt.template
    if attempt.resends:
        attributes["http.request.resend_count"] = attempt.resends
    return attributes


def _end(span: Span, end: CallEnd) -> None:
    if end.status is not None:
        span.set_attribute("http.response.status_code", end.status)
        if end.status >= 400:
            mark_failed(span, str(end.status))
    if end.protocol is not None:
        span.set_attribute("network.protocol.version", end.protocol.removeprefix("HTTP/"))
    end_span(span, end.error)
