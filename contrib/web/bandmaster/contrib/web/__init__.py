"""What every HTTP and WebSocket service wants: ids, context, errors, access log, limits, protection of browsers."""

from __future__ import annotations

from bandmaster.contrib.web.context import (
    RequestContext,
    RequestContextLayer,
    add_request_context,
    correlation_id,
    current_context,
    log_fields,
    new_request_id,
    request_context,
    request_id,
    set_tenant,
    set_user,
    tenant,
    user,
)
from bandmaster.contrib.web.settings import WebSettings

__all__ = [
    "RequestContext",
    "RequestContextLayer",
    "WebSettings",
    "add_request_context",
    "correlation_id",
    "current_context",
    "log_fields",
    "new_request_id",
    "request_context",
    "request_id",
    "set_tenant",
    "set_user",
    "tenant",
    "user",
]
