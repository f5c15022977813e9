"""Find the fields that an event has from its surroundings: the request's, structlog's context variables, the trace."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

from structlog.contextvars import get_contextvars

from bandmaster.contrib.web import current_context

_LONGEST = 256
"""Characters of a tenant and of a user that are shown."""
_IDS = frozenset(("request_id", "correlation_id", "trace_id", "span_id", "tenant", "user"))
"""Names under which nothing is bound: the request and the trace decide."""
_NOTHING: Mapping[str, Any] = {}


def add_surroundings(fields: dict[str, Any], redact_text: Callable[[str], str]) -> dict[str, str]:
    """The ids, the tenant and the user of the current request, connection or task, and the ids of the current span.

    The bound fields of the request and structlog's context variables are added to ``fields``; the event's own stay.
    The ids have a fixed alphabet and length, so only the tenant and the user may need redaction.
    """
    ids: dict[str, str] = {}
    context = current_context()
    if context is not None:
        ids["request_id"] = context.request_id
        if context.correlation_id != context.request_id:
            ids["correlation_id"] = context.correlation_id
        if context.tenant is not None:
            ids["tenant"] = redact_text(str(context.tenant)[:_LONGEST])
        if context.user is not None:
            ids["user"] = redact_text(str(context.user)[:_LONGEST])
        for name, value in (context.fields or _NOTHING).items():
            if name not in _IDS:
                fields.setdefault(name, value)
    for name, value in get_contextvars().items():
        if name not in _IDS or context is None:
            fields.setdefault(name, value)
    # Looked up, not imported: a log without tracing doesn't need the package.
    if "opentelemetry.trace" in sys.modules:
        span = sys.modules["opentelemetry.trace"].get_current_span().get_span_context()
        if span.is_valid:
            ids["trace_id"] = f"{span.trace_id:032x}"
            ids["span_id"] = f"{span.span_id:016x}"
    return ids
