"""The propagator of W3C Trace Context, level 2."""

from __future__ import annotations

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import (
    CarrierT,
    Getter,
    Setter,
    TextMapPropagator,
    default_getter,
    default_setter,
)
from opentelemetry.trace import NonRecordingSpan

from bandmaster.contrib.tracing.propagation.trace_headers import (
    make_remote_context,
    parse_traceparent,
    parse_tracestate,
    render_traceparent,
    render_tracestate,
)

TRACEPARENT = "traceparent"
TRACESTATE = "tracestate"


class TraceContextPropagator(TextMapPropagator):
    """Reads and writes ``traceparent`` and ``tracestate``.

    OpenTelemetry's own propagator takes the first of two ``traceparent`` headers, drops all members of a
    ``tracestate`` with a key that occurs twice, and knows the keys of level 1 alone.
    """

    def extract(
        self, carrier: CarrierT, context: Context | None = None, getter: Getter[CarrierT] = default_getter
    ) -> Context:
        """The context with the caller's span, or the context unchanged where there is no valid one."""
        given = Context() if context is None else context
        values = getter.get(carrier, TRACEPARENT)
        parent = parse_traceparent(values) if values else None
        if parent is None:
            return given
        members = parse_tracestate(getter.get(carrier, TRACESTATE) or ())
        return trace.set_span_in_context(NonRecordingSpan(make_remote_context(parent, members)), given)

    def inject(
        self, carrier: CarrierT, context: Context | None = None, setter: Setter[CarrierT] = default_setter
    ) -> None:
        """Write the span of the context; nothing where there is none."""
        span_context = trace.get_current_span(context).get_span_context()
        if not span_context.is_valid:
            return
        setter.set(carrier, TRACEPARENT, render_traceparent(span_context))
        state = render_tracestate(span_context.trace_state)
        if state:
            setter.set(carrier, TRACESTATE, state)

    @property
    def fields(self) -> set[str]:
        """The headers that `inject` writes."""
        return {TRACEPARENT, TRACESTATE}
