"""Add the surroundings of an event: the request, the tenant, the user, the bound fields and the trace."""

from __future__ import annotations

import sys
from typing import Any

from bandmaster.contrib.web import current_context
from bandmaster.kernel import current_exchange


def add_surroundings(event: dict[str, Any]) -> None:
    """Add the ids and the bound fields of the current request, connection or task to an event.

    Tags and a user that the application has set stay.
    """
    _add_trace(event)
    exchange = current_exchange()
    if exchange is not None and "request" not in event:
        scope = exchange.scope
        # Neither query nor headers nor the body: each may hold a credential.
        request = {"url": scope.get("path"), "method": scope.get("method")}
        event["request"] = {name: value for name, value in request.items() if value}
    context = current_context()
    if context is None:
        return
    tags = {"request_id": context.request_id, "tenant": context.tenant}
    if context.correlation_id != context.request_id:
        tags["correlation_id"] = context.correlation_id
    event["tags"] = {name: value for name, value in tags.items() if value is not None} | _read_tags(event)
    if context.user is not None and not event.get("user"):
        event["user"] = {"id": context.user}
    if context.fields:
        event.setdefault("contexts", {}).setdefault("bound", dict(context.fields))


def find_trace() -> tuple[str, str] | None:
    """The ids of the trace and of the span that OpenTelemetry has for the current code; None without one."""
    # Looked up, not imported: errors can be reported without tracing.
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return None
    span = trace.get_current_span().get_span_context()
    return (f"{span.trace_id:032x}", f"{span.span_id:016x}") if span.is_valid else None


def _add_trace(event: dict[str, Any]) -> None:
    found = find_trace()
    if found is not None:
        contexts = event.setdefault("contexts", {})
        # The ids that the SDK makes up lead nowhere.
        contexts["trace"] = {"trace_id": found[0], "span_id": found[1]}


def _read_tags(event: dict[str, Any]) -> dict[str, Any]:
    tags = event.get("tags") or {}
    return dict(tags)
