"""Layers and error handlers for HTTP and WebSockets: request ids, access log, problems, CORS, limits, timeouts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bandmaster.kernel import export_lazily

if TYPE_CHECKING:
    from bandmaster.contrib.web.access_log.layer import AccessLogLayer as AccessLogLayer
    from bandmaster.contrib.web.access_log.records import AccessRecord as AccessRecord
    from bandmaster.contrib.web.access_log.route_templates import RouteTemplates as RouteTemplates
    from bandmaster.contrib.web.access_log.sinks import AccessSink as AccessSink
    from bandmaster.contrib.web.access_log.sinks import InstalledAccessSink as InstalledAccessSink
    from bandmaster.contrib.web.access_log.sinks import find_descriptor as find_descriptor
    from bandmaster.contrib.web.context import RequestContext as RequestContext
    from bandmaster.contrib.web.context import RequestContextLayer as RequestContextLayer
    from bandmaster.contrib.web.context import add_request_context as add_request_context
    from bandmaster.contrib.web.context import bind as bind
    from bandmaster.contrib.web.context import correlation_id as correlation_id
    from bandmaster.contrib.web.context import current_context as current_context
    from bandmaster.contrib.web.context import keep_context as keep_context
    from bandmaster.contrib.web.context import log_fields as log_fields
    from bandmaster.contrib.web.context import request_context as request_context
    from bandmaster.contrib.web.context import request_id as request_id
    from bandmaster.contrib.web.context import set_tenant as set_tenant
    from bandmaster.contrib.web.context import set_user as set_user
    from bandmaster.contrib.web.context import tenant as tenant
    from bandmaster.contrib.web.context import user as user
    from bandmaster.contrib.web.cors import CORSLayer as CORSLayer
    from bandmaster.contrib.web.limits import LimitsLayer as LimitsLayer
    from bandmaster.contrib.web.path_globs import PathMatcher as PathMatcher
    from bandmaster.contrib.web.path_globs import compile_globs as compile_globs
    from bandmaster.contrib.web.problems.details import ProblemDetails as ProblemDetails
    from bandmaster.contrib.web.problems.details import validation_errors as validation_errors
    from bandmaster.contrib.web.problems.handlers import http_exception as http_exception
    from bandmaster.contrib.web.problems.handlers import install_problems as install_problems
    from bandmaster.contrib.web.problems.handlers import transient_error as transient_error
    from bandmaster.contrib.web.problems.handlers import unhandled_error as unhandled_error
    from bandmaster.contrib.web.problems.layer import ProblemsLayer as ProblemsLayer
    from bandmaster.contrib.web.problems.problem_types import ProblemError as ProblemError
    from bandmaster.contrib.web.problems.problem_types import ProblemHandler as ProblemHandler
    from bandmaster.contrib.web.problems.problem_types import problem_type as problem_type
    from bandmaster.contrib.web.problems.responses import problem_response as problem_response
    from bandmaster.contrib.web.problems.responses import refuse_websocket as refuse_websocket
    from bandmaster.contrib.web.request_ids import new_request_id as new_request_id
    from bandmaster.contrib.web.request_timeout import RequestTimeout as RequestTimeout
    from bandmaster.contrib.web.request_timeout import RequestTimeoutLayer as RequestTimeoutLayer
    from bandmaster.contrib.web.security_headers import SecurityHeadersLayer as SecurityHeadersLayer
    from bandmaster.contrib.web.settings import WebSettings as WebSettings
    from bandmaster.contrib.web.trusted_host import TrustedHostLayer as TrustedHostLayer
    from bandmaster.contrib.web.websocket_origin import WebSocketOriginLayer as WebSocketOriginLayer

# A name is imported when it is first used: code that reads settings needs no framework.
export_lazily(
    __name__,
    {
        "access_log.layer": ["AccessLogLayer"],
        "access_log.records": ["AccessRecord"],
        "access_log.route_templates": ["RouteTemplates"],
        "access_log.sinks": ["AccessSink", "InstalledAccessSink", "find_descriptor"],
        "context": [
            "RequestContext",
            "RequestContextLayer",
            "add_request_context",
            "bind",
            "correlation_id",
            "current_context",
            "keep_context",
            "log_fields",
            "request_context",
            "request_id",
            "set_tenant",
            "set_user",
            "tenant",
            "user",
        ],
        "cors": ["CORSLayer"],
        "limits": ["LimitsLayer"],
        "path_globs": ["PathMatcher", "compile_globs"],
        "problems.details": ["ProblemDetails", "validation_errors"],
        "problems.handlers": ["http_exception", "install_problems", "transient_error", "unhandled_error"],
        "problems.layer": ["ProblemsLayer"],
        "problems.problem_types": ["ProblemError", "ProblemHandler", "problem_type"],
        "problems.responses": ["problem_response", "refuse_websocket"],
        "request_ids": ["new_request_id"],
        "request_timeout": ["RequestTimeout", "RequestTimeoutLayer"],
        "security_headers": ["SecurityHeadersLayer"],
        "settings": ["WebSettings"],
        "trusted_host": ["TrustedHostLayer"],
        "websocket_origin": ["WebSocketOriginLayer"],
    },
)
