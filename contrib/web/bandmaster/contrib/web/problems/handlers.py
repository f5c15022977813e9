"""What an exception means to a client, and how it hears of it: handlers for hosts, and the guard around all."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from traceback import format_exception
from typing import Any

from starlette.exceptions import HTTPException, WebSocketException
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import PlainTextResponse, Response

from bandmaster.contrib.web.context import log_fields, request_id
from bandmaster.contrib.web.problems.details import (
    TRACE_ID,
    ProblemDetails,
    body_too_large,
    prefers_html,
    rendered,
    title_of,
)
from bandmaster.contrib.web.problems.responses import answer, speaks_http_1
from bandmaster.kernel import (
    BodyTooLarge,
    ErrorHandlerContribution,
    Exchange,
    KernelSettings,
    MiddlewareBand,
    TransientError,
    current_exchange,
    middleware,
)

_UNKNOWN = "Something went wrong on our side."
_POLICY = "problems"
_TOLD = "problems_told"


class ProblemError(HTTPException):
    """An error that a handler answers with. Subclasses are kinds of problems.

    For example::

        class SoldOut(ProblemError):
            status_code = 409
            type = "https://example.com/problems/sold-out"
            title = "Sold out"


        raise SoldOut("Aida has 1 seat left.", left=1)

    Keyword arguments are members of the problem.

    Raises:
        ValueError: the status isn't one of an error, or a member has a name that means something else.
    """

    status_code: int = 500
    type: str = "about:blank"
    title: str = ""

    def __init__(self, detail: str | None = None, *, headers: Mapping[str, str] | None = None, **members: Any) -> None:
        kind = type(self)
        self.problem = ProblemDetails(
            status=kind.status_code, type=kind.type, title=kind.title, detail=detail, members=members
        )
        super().__init__(kind.status_code, detail, headers)

    @classmethod
    def of(cls, problem: ProblemDetails, *, headers: Mapping[str, str] | None = None) -> ProblemError:
        """An error that is answered with just that problem."""
        error = cls.__new__(cls)
        HTTPException.__init__(error, problem.status, problem.detail, headers)
        error.problem = problem
        return error


@dataclass(frozen=True, slots=True)
class ProblemHandler:
    """Answers exceptions of some kind with a kind of problem. `problem_type` contributes one."""

    status: int
    type: str = "about:blank"
    title: str = ""
    detail: str | Callable[[Any], str | None] | None = None
    """What is wrong, or a function of the exception, such as ``str``; only of exceptions that were written for clients."""
    members: Callable[[Any], Mapping[str, Any]] | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str], hash=False)
    description: str = ""

    def __post_init__(self) -> None:
        ProblemDetails(status=self.status, type=self.type, title=self.title)

    def problem(self, error: Exception) -> ProblemDetails:
        """The problem that an exception is."""
        detail = self.detail(error) if callable(self.detail) else self.detail
        members = self.members(error) if self.members is not None else {}
        return ProblemDetails(status=self.status, type=self.type, title=self.title, detail=detail, members=members)

    async def __call__(self, request: HTTPConnection, error: Exception) -> Response:
        """Answer, as Starlette asks for it."""
        if request.scope["type"] == "websocket":
            # The guard knows how to tell it to a WebSocket.
            raise ProblemError.of(self.problem(error)) from error
        return problem_response(request, self.problem(error), self.headers)


def problem_type(
    exception: type[Exception],
    *,
    name: str,
    status: int,
    title: str = "",
    type: str = "about:blank",  # noqa: A002  # what RFC 9457 calls it
    detail: str | Callable[[Any], str | None] | None = None,
    members: Callable[[Any], Mapping[str, Any]] | None = None,
    headers: Mapping[str, str] | None = None,
    description: str = "",
) -> ErrorHandlerContribution:
    """A contribution that answers an exception, whoever's it is, with a kind of problem.

    ``detail`` and ``members`` may be functions of the exception; what they return goes to the client.

    Raises:
        ValueError: an argument is out of range.
    """
    handler = ProblemHandler(status, type, title or title_of(status), detail, members, dict(headers or {}), description)
    return ErrorHandlerContribution(name=name, exception=exception, handler=handler, description=description)


def problem_response(
    request: HTTPConnection, problem: ProblemDetails, headers: Mapping[str, str] | None = None
) -> Response:
    """The response that tells a problem: JSON, or a page for whom clearly prefers one."""
    exchange = current_exchange()
    content, media_type = rendered(
        problem,
        path=request.scope["path"],
        accept=request.headers.get("accept", ""),
        request_id=request_id(),
        trace_id=None if exchange is None else exchange.data.get(TRACE_ID),
    )
    wanted = {name: value for name, value in (headers or {}).items() if _may_have(name, request)}
    return Response(content, problem.status, {"cache-control": "no-store", **wanted}, media_type)


def _may_have(name: str, request: HTTPConnection) -> bool:
    return name.lower() != "connection" or speaks_http_1(request.scope)


def install_problems(app: Any) -> None:
    """Give an app that is mounted in the host the same handlers: a Starlette or FastAPI app has its own."""
    for part in (http_exception, transient_error, unhandled_error):
        app.add_exception_handler(part.exception, part.handler)


# -- what an exception means ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Policy:
    debug: bool = False
    retry_after: int = 5


@dataclass(frozen=True, slots=True)
class _Meaning:
    problem: ProblemDetails
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    expected: bool = True
    """Whether it says all there is to say; else the log must."""


def _meaning(error: Exception, policy: _Policy) -> _Meaning:
    if isinstance(error, BodyTooLarge):  # which is an HTTPException as well
        return _Meaning(body_too_large(error.limit), {"connection": "close"})
    if isinstance(error, ProblemError):
        return _Meaning(error.problem, error.headers or {}, expected=error.status_code < 500)
    if isinstance(error, HTTPException) and 400 <= error.status_code <= 599:
        return _Meaning(_of_http(error), error.headers or {}, expected=error.status_code < 500)
    if isinstance(error, TransientError):
        seconds = policy.retry_after if error.retry_after is None else max(0, math.ceil(error.retry_after))
        detail = "This can't be done at the moment. Try again later."
        return _Meaning(ProblemDetails(status=503, detail=detail), {"retry-after": str(seconds)}, expected=False)
    members: dict[str, Any] = {}
    if policy.debug:
        members = {"exception": f"{type(error).__name__}: {_text(error)}", "traceback": format_exception(error)}
    return _Meaning(ProblemDetails(status=500, detail=_UNKNOWN, members=members), expected=False)


def _of_http(error: HTTPException) -> ProblemDetails:
    detail: Any = error.detail
    if isinstance(detail, str):
        # Starlette fills in the status in words, which is the title.
        said = None if detail == _phrase(error.status_code) else detail
        return ProblemDetails(status=error.status_code, detail=said)
    # FastAPI takes anything there.
    return ProblemDetails(status=error.status_code, members={} if detail is None else {"data": detail})


def _phrase(status: int) -> str:
    try:
        return HTTPException(status).detail
    except ValueError:
        return ""


def _text(error: Exception) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001  # somebody else's __str__
        return ""


# -- handlers that go into the host ----------------------------------------------------------------------------------------


async def _handle_http(request: HTTPConnection, error: HTTPException) -> Response:
    if request.scope["type"] == "websocket":
        raise error  # the guard knows how to tell it
    if not 400 <= error.status_code <= 599:  # a redirect, a 204
        if error.status_code in (204, 304):
            return Response(status_code=error.status_code, headers=error.headers)
        return PlainTextResponse(error.detail, error.status_code, error.headers)
    return _answer(request, error)


async def _handle(request: HTTPConnection, error: Exception) -> Response:
    # A client that has left can be told nothing, and is nobody's error.
    if request.scope["type"] == "websocket" or isinstance(error, ClientDisconnect):
        raise error
    return _answer(request, error)


def _answer(request: HTTPConnection, error: Exception) -> Response:
    exchange = current_exchange()
    policy: _Policy = _Policy() if exchange is None else exchange.data.get(_POLICY, _Policy())
    meaning = _meaning(error, policy)
    if not meaning.expected:
        _tell(error, meaning, request.scope, exchange)
        if policy.debug and prefers_html(request.headers.get("accept", "")):
            return _traceback_page(request.scope, error)
    return problem_response(request, meaning.problem, meaning.headers)


def _traceback_page(scope: Any, error: Exception) -> Response:
    page = ServerErrorMiddleware(_no_app, debug=True)
    return page.debug_response(Request(scope), error)


async def _no_app(scope: Any, receive: Any, send: Any) -> None:
    raise NotImplementedError


def _tell(error: Exception, meaning: _Meaning, scope: Any, exchange: Exchange | None) -> None:
    """Once for each error, in the log, with whose it is."""
    if exchange is not None:
        if exchange.data.get(_TOLD) == id(error):
            return
        # Not the error: it leads to its frames, and they lead here.
        exchange.data[_TOLD] = id(error)
    status = meaning.problem.status
    fields = {"method": scope.get("method"), "path": scope["path"], "status": status, **log_fields()}
    if isinstance(error, HTTPException | TransientError):
        _log().warning("request failed", error=f"{type(error).__name__}: {_text(error)}", **fields)
    else:
        # Not exc_info: what renders that by default shows local variables, secrets among them, and takes seconds.
        _log().error("unhandled error", exception="".join(format_exception(error)), **fields)


def _log() -> Any:
    # Only when there is something to say: it takes as long to import as much of the rest.
    import structlog

    return structlog.get_logger("bandmaster.web")


http_exception = ErrorHandlerContribution(
    name="http_exception",
    exception=HTTPException,
    handler=_handle_http,
    description="Answers HTTPException, the router's 404 and 405 among them, as a problem.",
)
transient_error = ErrorHandlerContribution(
    name="transient_error",
    exception=TransientError,
    handler=_handle,
    description="Answers what may work later with 503 and Retry-After.",
)
unhandled_error = ErrorHandlerContribution(
    name="unhandled_error",
    exception=Exception,
    handler=_handle,
    description="Answers what nobody has handled with 500, and tells nothing of it.",
)


# -- the guard ---------------------------------------------------------------------------------------------------------------


@middleware(band=MiddlewareBand.OUTERMOST, priority=MiddlewareBand.OUTERMOST.priorities[20], name="problems")
class ProblemsLayer:
    """Answers what nobody further in has answered: errors of other layers, of WebSockets, of hosts without handlers.

    A response that has begun is left alone, and the error goes on to the server, which cuts the response off.
    """

    def __init__(self, settings: KernelSettings) -> None:
        self._policy = _Policy(settings.debug, settings.retry_after)

    def on_request(self, exchange: Exchange) -> None:
        """Tell the host's handlers what they may tell."""
        exchange.data[_POLICY] = self._policy

    def on_error(self, exchange: Exchange, error: Exception) -> None:
        """Answer, and log what an answer doesn't say."""
        if exchange.socket is not None and isinstance(error, WebSocketException):
            exchange.close(error.code, error.reason)
            return
        meaning = _meaning(error, self._policy)
        if not meaning.expected:
            _tell(error, meaning, exchange.scope, exchange)
        if exchange.socket is not None and (exchange.started or exchange.socket.closed):
            exchange.close(_close_code(meaning.problem.status))
        elif not exchange.started:
            self._respond(exchange, error, meaning)

    def _respond(self, exchange: Exchange, error: Exception, meaning: _Meaning) -> None:
        accept = (exchange.header(b"accept") or b"").decode("latin-1")
        if self._policy.debug and exchange.socket is None and not meaning.expected and prefers_html(accept):
            page = _traceback_page(exchange.scope, error)
            exchange.respond(page.status_code, page.raw_headers, bytes(page.body))
            return
        kept = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in meaning.headers.items()]
        answer(exchange, meaning.problem, kept)


def _close_code(status: int) -> int:
    # IANA's registry of close codes: try again later, internal error, policy violation.
    if status == 503:
        return 1013
    return 1011 if status >= 500 else 1008


__all__ = [
    "ProblemError",
    "ProblemHandler",
    "ProblemsLayer",
    "http_exception",
    "install_problems",
    "problem_response",
    "problem_type",
    "transient_error",
    "unhandled_error",
]
