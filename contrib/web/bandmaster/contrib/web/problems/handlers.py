"""The error handlers that hosts get: they answer exceptions of HTTP requests with problems."""

from __future__ import annotations

from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, HTTPConnection
from starlette.responses import PlainTextResponse, Response
from starlette.websockets import WebSocket

from bandmaster.contrib.web.frameworks import render_traceback_page
from bandmaster.contrib.web.problems.classification import Answer, AnswerPolicy, classify
from bandmaster.contrib.web.problems.failure_log import log_failure
from bandmaster.contrib.web.problems.rendering import prefers_html
from bandmaster.contrib.web.problems.responses import problem_response, refuse_websocket
from bandmaster.kernel import ErrorHandlerContribution, TransientError, current_exchange, share_error_handlers

POLICY = "problems"
"""The key under which `ProblemsLayer` keeps its `AnswerPolicy` in an exchange's ``data``."""


def install_problems(app: Any) -> None:
    """Give an app that is mounted in the host the error handlers that the host gets.

    A mounted Starlette or FastAPI app has error handling of its own, which the host's handlers don't reach. The app
    gets these three handlers now, and all other error handlers of the plan from `create_app`, those for FastAPI's
    validation errors among them. The app's own handlers come first; see `bandmaster.kernel.share_error_handlers`.

    Raises:
        ValueError: the app takes no error handlers.
    """
    share_error_handlers(app, (http_exception, transient_error, unhandled_error))


async def _handle_http_exception(request: HTTPConnection, error: HTTPException) -> Response | None:
    if isinstance(request, WebSocket):
        await _refuse(request, error)
        return None
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


async def _refuse(websocket: WebSocket, error: HTTPException) -> None:
    answer = _classify(websocket, error, AnswerPolicy())
    if not await refuse_websocket(websocket, answer.problem, answer.headers):
        raise error


def _answer(request: HTTPConnection, error: Exception) -> Response:
    exchange = current_exchange()
    policy: AnswerPolicy = AnswerPolicy() if exchange is None else exchange.data.get(POLICY, AnswerPolicy())
    answer = _classify(request, error, policy)
    if not answer.expected and policy.debug and prefers_html(request.headers.get("accept", "")):
        return render_traceback_page(request.scope, error)
    return problem_response(request, answer.problem, answer.headers)


def _classify(connection: HTTPConnection, error: Exception, policy: AnswerPolicy) -> Answer:
    answer = classify(error, policy)
    if not answer.expected:
        log_failure(error, answer, connection.scope, current_exchange())
    return answer


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
