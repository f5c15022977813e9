"""What every HTTP and WebSocket service wants: ids, context, errors, access log, limits, protection of browsers."""

from __future__ import annotations

from bandmaster.contrib.web.access_log.layer import AccessLogLayer
from bandmaster.contrib.web.access_log.lines import AccessRecord
from bandmaster.contrib.web.access_log.sinks import AccessSink
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
from bandmaster.contrib.web.cors import CORSLayer
from bandmaster.contrib.web.limits import LimitsLayer
from bandmaster.contrib.web.problems.details import ProblemDetails, validation_errors
from bandmaster.contrib.web.problems.handlers import (
    ProblemError,
    ProblemHandler,
    ProblemsLayer,
    install_problems,
    problem_response,
    problem_type,
)
from bandmaster.contrib.web.request_timeout import RequestTimeout, RequestTimeoutLayer
from bandmaster.contrib.web.security_headers import SecurityHeadersLayer
from bandmaster.contrib.web.settings import WebSettings
from bandmaster.contrib.web.trusted_host import TrustedHostLayer
from bandmaster.contrib.web.websocket_origin import WebSocketOriginLayer

__all__ = [
    "AccessLogLayer",
    "AccessRecord",
    "AccessSink",
    "CORSLayer",
    "LimitsLayer",
    "ProblemDetails",
    "ProblemError",
    "ProblemHandler",
    "ProblemsLayer",
    "RequestContext",
    "RequestContextLayer",
    "RequestTimeout",
    "RequestTimeoutLayer",
    "SecurityHeadersLayer",
    "TrustedHostLayer",
    "WebSettings",
    "WebSocketOriginLayer",
    "add_request_context",
    "correlation_id",
    "current_context",
    "install_problems",
    "log_fields",
    "new_request_id",
    "problem_response",
    "problem_type",
    "request_context",
    "request_id",
    "set_tenant",
    "set_user",
    "tenant",
    "user",
    "validation_errors",
]
