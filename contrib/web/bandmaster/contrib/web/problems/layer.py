"""The layer that answers the exceptions that no error handler has answered."""

from __future__ import annotations

from starlette.exceptions import WebSocketException

from bandmaster.contrib.web.frameworks import render_traceback_page
from bandmaster.contrib.web.problems.classification import Answer, AnswerPolicy, classify
from bandmaster.contrib.web.problems.failure_log import log_failure
from bandmaster.contrib.web.problems.handlers import POLICY
from bandmaster.contrib.web.problems.rendering import prefers_html
from bandmaster.contrib.web.problems.responses import answer as answer_with_problem
from bandmaster.contrib.web.problems.responses import close_code_of
from bandmaster.kernel import Exchange, KernelSettings, MiddlewareBand, middleware


@middleware(band=MiddlewareBand.OUTERMOST, priority=MiddlewareBand.OUTERMOST.priorities[20], name="problems")
class ProblemsLayer:
    """Answers exceptions of other layers, of WebSocket handlers, and of hosts that have no error handlers.

    A response that has begun is left alone, and so are a WebSocket's refusal that has begun and a closed WebSocket.
    The exception goes on to the server, which closes the connection, so that the client notices that the response is
    incomplete.
    """

    def __init__(self, settings: KernelSettings) -> None:
        self._policy = AnswerPolicy(settings.debug, settings.retry_after)

    def on_request(self, exchange: Exchange) -> None:
        """Pass the policy to the host's error handlers."""
        exchange.data[POLICY] = self._policy

    def on_error(self, exchange: Exchange, error: Exception) -> None:
        """Answer an exception, and log those that the answer doesn't fully describe."""
        if exchange.socket is not None and isinstance(error, WebSocketException):
            exchange.close(error.code, error.reason)
            return
        answer = classify(error, self._policy)
        if not answer.expected:
            log_failure(error, answer, exchange.scope, exchange)
        if not exchange.started and not (exchange.socket is not None and exchange.socket.closed):
            self._respond(exchange, error, answer)
        elif exchange.socket is not None:
            exchange.close(close_code_of(answer.problem.status))

    def _respond(self, exchange: Exchange, error: Exception, answer: Answer) -> None:
        accept = (exchange.header(b"accept") or b"").decode("latin-1")
        if self._policy.debug and exchange.socket is None and not answer.expected and prefers_html(accept):
            page = render_traceback_page(exchange.scope, error)
            exchange.respond(page.status_code, page.raw_headers, bytes(page.body))
            return
        headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers.items()]
        answer_with_problem(exchange, answer.problem, headers)
