"""Find the fields that an event has from its surroundings: the request's, structlog's context variables, the trace."""

from __future__ import annotations

import sys
from typing import Any

from structlog.contextvars import get_contextvars

from bandmaster.contrib.web import current_context


def add_surrounding_fields(fields: dict[str, Any]) -> None:
    """Add the ids and the bound fields of the current request, connection or task. The event's own fields stay.

    Where OpenTelemetry is in use, the ids of the current span are added as well.
    """
    context = current_context()
    if context is not None:
        fields.setdefault("request_id", context.request_id)
        if context.correlation_id != context.request_id:
            fields.setdefault("correlation_id", context.correlation_id)
        if context.tenant is not None:
            fields.setdefault("tenant", context.tenant)
        if context.user is not None:
            fields.setdefault("user", context.user)
        if context.fields is not None:
            for name, value in context.fields.items():
                fields.setdefault(name, value)
    for name, value in get_contextvars().items():
        fields.setdefault(name, value)
    # Looked up, not imported: a log without tracing doesn't need the package.
    trace = sys.modules.get("opentelemetry.trace")
    if trace is not None:
        span = trace.get_current_span().get_span_context()
        if span.is_valid:
            fields.setdefault("trace_id", f"{span.trace_id:032x}")
            fields.setdefault("span_id", f"{span.span_id:016x}")
