"""The error handlers that hosts get: they answer exceptions of HTTP requests with problems."""

from __future__ import annotations

from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, HTTPConnection
from starlette.responses import PlainTextResponse, Response

from bandmaster.contrib.web.frameworks import render_traceback_page
from bandmaster.contrib.web.problems.classification import AnswerPolicy, classify
from bandmaster.contrib.web.problems.failure_log import log_failure
from bandmaster.contrib.web.problems.rendering import prefers_html
from bandmaster.contrib.web.problems.responses import problem_response
from bandmaster.kernel import ErrorHandlerContribution, TransientError, current_exchange

POLICY = "problems"
"""The key under which `ProblemsLayer` keeps its `AnswerPolicy` in an exchange's ``data``."""


def install_problems(app: Any) -> None:
    """Add these error handlers to an app that is mounted in the host.

    A mounted Starlette or FastAPI app has error handling of its own, which the host's handlers don't reach.
    """
    for contribution in (http_exception, transient_error, unhandled_error):
        app.add_exception_handler(contribution.exception, contribution.handler)


async def _handle_http_exception(request: HTTPConnection, error: HTTPException) -> Response:
    if request.scope["type"] == "websocket":
        raise error  # only the layer can refuse or close a WebSocket
    if not 400 <= error.status_code <= 599:  # an HTTPException may also be a redirect or a 204
        if error.status_code in (204, 304):
            return Response(status_code=error.status_code, headers=error.headers)
        return PlainTextResponse(error.detail, error.status_code, error.headers)
    return _answer(request, error)


async def _handle_exception(request: HTTPConnection, error: Exception) -> Response:
    # A client that has disconnected can't be answered, and its leaving is no failure of the application.
    if request.scope["type"] == "websocket" or isinstance(error, ClientDisconnect):
        raise error
    return _answer(request, error)


def _answer(request: HTTPConnection, error: Exception) -> Response:
    exchange = current_exchange()
    policy: AnswerPolicy = AnswerPolicy() if exchange is None else exchange.data.get(POLICY, AnswerPolicy())
    answer = classify(error, policy)
    if not answer.expected:
        log_failure(error, answer, request.scope, exchange)
        if policy.debug and prefers_html(request.headers.get("accept", "")):
            return render_traceback_page(request.scope, error)
    return problem_response(request, answer.problem, answer.headers)


http_exception = ErrorHandlerContribution(
    name="http_exception",
    exception=HTTPException,
    handler=_handle_http_exception,
    description="Answers HTTPException, the router's 404 and 405 among them, as a problem.",
)
transient_error = ErrorHandlerContribution(
    name="transient_error",
    exception=TransientError,
    handler=_handle_exception,
    description="Answers transient errors with 503 and Retry-After.",
)
unhandled_error = ErrorHandlerContribution(
    name="unhandled_error",
    exception=Exception,
    handler=_handle_exception,
    description="Answers every other exception with 500, and shows the client nothing of it.",
)
