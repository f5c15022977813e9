"""Answer a request with a problem: as a response of Starlette, or through a layer's exchange."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import Scope
from starlette.websockets import WebSocket, WebSocketState

from bandmaster.contrib.web.context import request_id
from bandmaster.contrib.web.problems.details import ProblemDetails
from bandmaster.contrib.web.problems.rendering import render_problem
from bandmaster.kernel import Exchange, current_exchange

TRACE_ID = "trace_id"
"""The key under which a tracing layer keeps the trace's id, in an exchange's ``data`` or in the scope.

The scope is for a layer outside of all frames, where there is no exchange."""

_DENIAL = "websocket.http.response"
"""The ASGI extension by which a server refuses a WebSocket with a response."""

CONNECTION_CLOSE = (b"connection", b"close")
"""The header that tells a client of HTTP/1.1 that the server closes the connection after this response."""


def problem_response(
    request: HTTPConnection, problem: ProblemDetails, headers: Mapping[str, str] | None = None
) -> Response:
    """A response with a problem as its body: JSON, or HTML for clients that prefer HTML.

    HTTP/2 and later forbid the Connection header, so a Connection header among the ``headers`` is left out there.
    """
    exchange = current_exchange()
    content, media_type = render_problem(
        problem,
        path=request.scope["path"],
        accept=request.headers.get("accept", ""),
        request_id=request_id(),
        trace_id=(None if exchange is None else exchange.data.get(TRACE_ID)) or request.scope.get(TRACE_ID),
    )
    allowed = {
        name: value
        for name, value in (headers or {}).items()
        if name.lower() != "connection" or _is_http_1(request.scope)
    }
    return Response(content, problem.status, {"cache-control": "no-store", **allowed}, media_type)


def refuse(exchange: Exchange, status: int, detail: str, headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
    """Answer with a problem that has only a status and a ``detail``; see `answer`.

    Raises:
        RuntimeError: the response has begun, or no hook is running.
    """
    answer(exchange, ProblemDetails(status=status, detail=detail), headers)


def answer(exchange: Exchange, problem: ProblemDetails, headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
    """Answer in place of the application with a problem: JSON, or HTML for clients that prefer HTML.

    HTTP/2 and later forbid the Connection header, so a Connection header among the ``headers`` is left out there.

    Raises:
        RuntimeError: the response has begun, or no hook is running.
    """
    accept = (exchange.header(b"accept") or b"").decode("latin-1")
    trace_id = exchange.data.get(TRACE_ID) or exchange.scope.get(TRACE_ID)
    body, media_type = render_problem(
        problem, path=exchange.path, accept=accept, request_id=request_id(), trace_id=trace_id
    )
    allowed = [header for header in headers if header[0] != b"connection" or _is_http_1(exchange.scope)]
    all_headers = [
        (b"content-type", media_type.encode("ascii")),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
        *allowed,
    ]
    # RFC 9110, 9.3.2: a response to HEAD has the headers of a response to GET, and no body.
    exchange.respond(problem.status, all_headers, b"" if exchange.method == "HEAD" else body)


async def refuse_websocket(
    websocket: WebSocket, problem: ProblemDetails, headers: Mapping[str, str] | None = None
) -> bool:
    """Refuse a WebSocket with a problem, or close an accepted one: then the client gets the close code alone.

    A server that can't send a response to a WebSocket sends 403. Returns whether there was something to refuse or to
    close: after the start of a refusal, and after the end of the connection, nothing is sent.
    """
    accepted, over = _find_state(websocket)
    if over:
        return False
    if accepted or _DENIAL not in (websocket.scope.get("extensions") or ()):
        await websocket.close(close_code_of(problem.status))
    else:
        await websocket.send_denial_response(problem_response(websocket, problem, headers))
    return True


def close_code_of(status: int) -> int:
    """The WebSocket close code for a status (IANA's registry): try again later, internal error or policy violation."""
    if status == 503:
        return 1013
    return 1011 if status >= 500 else 1008


def _find_state(websocket: WebSocket) -> tuple[bool, bool]:
    """Whether a WebSocket has been accepted, and whether a refusal has begun or the connection has ended."""
    exchange = current_exchange()
    # Starlette gives some handlers a new object, which knows nothing of the messages that another one has sent.
    if exchange is not None and exchange.socket is not None:
        return exchange.started, exchange.socket.closed
    state = websocket.application_state
    return state is WebSocketState.CONNECTED, state in (WebSocketState.RESPONSE, WebSocketState.DISCONNECTED)


def _is_http_1(scope: Scope) -> bool:
    # Servers that don't name a version speak HTTP/1.1.
    version: str = scope.get("http_version", "1.1")
    return version.startswith("1")
