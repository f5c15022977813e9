"""The outermost layer: one span for each request and each WebSocket, and the measurements of the same."""

from __future__ import annotations

from collections.abc import Mapping
from time import monotonic
from typing import Any

from opentelemetry import context as context_api
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.metrics import MeterProvider
from opentelemetry.propagators.textmap import Getter, TextMapPropagator
from opentelemetry.trace import Link, Span, SpanKind, TracerProvider
from starlette.types import ASGIApp, Receive, Scope, Send

from bandmaster.contrib.tracing.activation import makes_spans
from bandmaster.contrib.tracing.metrics.requests import KNOWN_METHODS, RequestMetrics
from bandmaster.contrib.tracing.propagation.trace_headers import (
    make_remote_context,
    parse_traceparent,
    render_traceparent,
)
from bandmaster.contrib.tracing.propagation.trust import compile_callers
from bandmaster.contrib.tracing.requests.attributes import HeaderCapture, Headers, describe_request
from bandmaster.contrib.tracing.requests.request_span import RequestSpan, WebSocketSpan, end_span
from bandmaster.contrib.tracing.running_providers import make_context
from bandmaster.contrib.tracing.settings import TracingSettings
from bandmaster.contrib.web import RouteTemplates, compile_globs
from bandmaster.kernel import MiddlewareBand, get_logger, middleware

TRACE_ID = "trace_id"
"""The key under which a scope has the trace id, in hexadecimal digits. The problems of `bandmaster.contrib.web` name
the id."""
_TRACEPARENT = b"traceparent"
_SEEN = "bandmaster.tracing"
"""The key under which a scope has a mark: an application inside another one makes no second span."""
_WARNING_INTERVAL = 60.0
"""Seconds between two warnings about failures of tracing itself."""


@middleware(
    band=MiddlewareBand.OUTERMOST,
    priority=MiddlewareBand.OUTERMOST.priorities[0],
    name="tracing",
    before=("request_context",),
    when=makes_spans,
)
class TracingLayer:
    """Makes the span of each request and each WebSocket, and measures them where metrics are on.

    The layer stands around all others, so that their work and their failures are inside the span. An error of tracing
    itself is logged, once a minute at the most, and the request goes on without a span.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: TracingSettings,
        provider: TracerProvider | None = None,
        propagator: TextMapPropagator | None = None,
        meter_provider: MeterProvider | None = None,
    ) -> None:
        self._app = app
        self._tracer = None if provider is None else provider.get_tracer("bandmaster.tracing")
        self._propagator = propagator
        self._fields = frozenset(field.encode("ascii") for field in propagator.fields) if propagator else frozenset()
        self._trusts = compile_callers(settings.trusted_callers)
        self._metrics = None if meter_provider is None else RequestMetrics(meter_provider)
        self._excluded = compile_globs(settings.exclude)
        self._templates = RouteTemplates()
        self._request_headers = HeaderCapture("request", settings.request_headers)
        self._response_headers = HeaderCapture("response", settings.response_headers) or None
        self._response_header = settings.response_header
        self._base = Context() if provider is None else make_context(provider, Context())
        self._untraced = self._make_untraced_context()
        self._failures = 0
        self._next_warning = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or one WebSocket."""
        if _SEEN in scope:
            await self._app(scope, receive, send)
            return
        scope[_SEEN] = True
        websocket = scope["type"] == "websocket"
        try:
            request = self._begin(scope, receive, send, websocket=websocket)
        except Exception as error:  # noqa: BLE001  # telemetry never changes a response
            self._warn(error)
            await self._app(scope, receive, send)
            return
        if isinstance(request, WebSocketSpan):
            receive = request.receive
        token = context_api.attach(request.context)
        failure: BaseException | None = None
        try:
            await self._app(scope, receive, request.send)
        except BaseException as error:
            failure = error
            raise
        finally:
            context_api.detach(token)
            try:
                self._end(request, scope, failure)
            except Exception as error:  # noqa: BLE001  # likewise
                self._warn(error)
            del failure  # a frame that holds the exception it raises is a reference cycle

    def _begin(self, scope: Scope, receive: Receive, send: Send, *, websocket: bool) -> RequestSpan:
        span: Span | None = None
        header: tuple[bytes, bytes] | None = None
        if self._tracer is None:
            context = self._base
        elif self._excluded is not None and self._excluded(scope["path"]):
            context = self._untraced
        else:
            span, context = self._start_span(scope)
            span_context = span.get_span_context()
            if span_context.is_valid:
                trace_id = scope[TRACE_ID] = f"{span_context.trace_id:032x}"
                if self._response_header == "traceresponse":
                    header = (b"traceresponse", render_traceparent(span_context).encode("ascii"))
                elif self._response_header == "x-trace-id":
                    header = (b"x-trace-id", trace_id.encode("ascii"))
            if not span.is_recording():
                span = None
        measurement = None if self._metrics is None else self._metrics.started(scope)
        if websocket:
            return WebSocketSpan(
                span,
                context,
                measurement,
                send,
                capture=self._response_headers,
                response_header=header,
                failed=self._warn,
                receive=receive,
            )
        return RequestSpan(
            span,
            context,
            measurement,
            send,
            capture=self._response_headers,
            response_header=header,
            failed=self._warn,
        )

    def _start_span(self, scope: Scope) -> tuple[Span, Context]:
        assert self._tracer is not None
        headers: Headers = scope.get("headers") or ()
        index = dict(headers)
        attributes = describe_request(scope, index)
        if self._request_headers:
            attributes |= self._request_headers.read(headers)
        context, links, kind = self._base, None, SpanKind.SERVER
        # A request is served in an empty context, unless another program's instrumentation stands around.
        outside = context_api.get_current()
        if outside and getattr(trace.get_current_span(outside), "kind", None) is SpanKind.SERVER:
            # The request has its server span already.
            context, kind = outside, SpanKind.INTERNAL
        elif self._propagator is not None and not self._fields.isdisjoint(index):
            client = scope.get("client")
            if self._trusts(client[0] if client else None):
                context = self._propagator.extract(headers, context, _HEADERS)
            else:
                links = self._link_to_caller(headers, index)
        span = self._tracer.start_span(attributes["http.request.method"], context, kind, attributes, links)
        return span, trace.set_span_in_context(span, context)

    def _link_to_caller(self, headers: Headers, index: Mapping[bytes, bytes]) -> list[Link] | None:
        if _TRACEPARENT in self._fields:
            if _TRACEPARENT not in index:
                return None
            # Neither the trace state nor the baggage of a stranger is of use, so only the one header is parsed.
            parent = parse_traceparent([value.decode("latin-1") for name, value in headers if name == _TRACEPARENT])
            return None if parent is None else [Link(make_remote_context(parent, ()))]
        assert self._propagator is not None
        caller = self._propagator.extract(headers, Context(), _HEADERS)
        remote = trace.get_current_span(caller).get_span_context()
        return [Link(remote)] if remote.is_valid else None

    def _end(self, request: RequestSpan, scope: Scope, failure: BaseException | None) -> None:
        span, measurement = request.span, request.measurement
        if span is None and measurement is None:
            return
        outcome = request.conclude(failure)
        try:
            route = self._templates.of(scope)
        except Exception as error:  # noqa: BLE001  # the span is ended all the same
            self._warn(error)
            route = None
        try:
            if span is not None:
                method = scope.get("method", "GET")
                # Any word can be a method, so that a client could make as many names as it likes.
                shown = method if method in KNOWN_METHODS else "HTTP"
                end_span(span, request, outcome, shown if route is None else f"{shown} {route}", route)
        finally:
            if measurement is not None and self._metrics is not None:
                self._metrics.ended(
                    measurement,
                    status=outcome.status,
                    route=route,
                    error_type=outcome.error_type,
                    context=request.context,
                )

    def _make_untraced_context(self) -> Context:
        if self._tracer is None:
            return self._base
        from bandmaster.contrib.tracing.sampling import UNTRACED_CONTEXT

        return Context({**self._base, **UNTRACED_CONTEXT})

    def _warn(self, error: Exception) -> None:
        self._failures += 1
        now = monotonic()
        if now < self._next_warning:
            return
        self._next_warning = now + _WARNING_INTERVAL
        failures, self._failures = self._failures, 0
        get_logger("bandmaster.tracing").warning(
            "a request could not be traced", exception=error, error=type(error).__name__, failures=failures
        )


class _HeadersGetter(Getter[Headers]):
    """Reads the headers of an ASGI scope for propagators."""

    def get(self, carrier: Headers, key: str) -> list[str] | None:
        """All values of a header."""
        name = key.lower().encode("ascii")
        return [value.decode("latin-1") for each, value in carrier if each == name] or None

    def keys(self, carrier: Headers) -> list[str]:
        """The names of all headers."""
        return [name.decode("latin-1") for name, _ in carrier]


_HEADERS: Any = _HeadersGetter()
