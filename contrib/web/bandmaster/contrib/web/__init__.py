"""Layers and error handlers for HTTP and WebSockets: request ids, access log, problems, CORS, limits, timeouts."""

from __future__ import annotations

from bandmaster.contrib.web.access_log.layer import AccessLogLayer
from bandmaster.contrib.web.access_log.records import AccessRecord
from bandmaster.contrib.web.access_log.sinks import AccessSink
from bandmaster.contrib.web.context import (
    RequestContext,
    RequestContextLayer,
    add_request_context,
    correlation_id,
    current_context,
    log_fields,
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
    http_exception,
    install_problems,
    transient_error,
    unhandled_error,
)
from bandmaster.contrib.web.problems.layer import ProblemsLayer
from bandmaster.contrib.web.problems.problem_types import ProblemError, ProblemHandler, problem_type
from bandmaster.contrib.web.problems.responses import problem_response
from bandmaster.contrib.web.request_ids import new_request_id
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
    "http_exception",
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
    "transient_error",
    "unhandled_error",
    "user",
    "validation_errors",
]
