"""How a layer answers in place of the application: with a problem."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.types import Scope

from bandmaster.contrib.web.context import request_id
from bandmaster.contrib.web.problems.details import TRACE_ID, ProblemDetails, rendered
from bandmaster.kernel import Exchange

CLOSE = (b"connection", b"close")
"""What tells a client of HTTP/1.1 that nothing more is read from its connection."""


def refuse(exchange: Exchange, status: int, detail: str, headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
    """Answer with a problem that is all in its status and ``detail``; see `answer`.

    Raises:
        RuntimeError: it is too late, or too early, to answer.
    """
    answer(exchange, ProblemDetails(status=status, detail=detail), headers)


def answer(exchange: Exchange, problem: ProblemDetails, headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
    """Answer with a problem (RFC 9457): JSON, or a page for whom clearly prefers one.

    HTTP/2 and later have no connection header, so that `CLOSE` among the ``headers`` is left out there.

    Raises:
        RuntimeError: it is too late, or too early, to answer.
    """
    accept = (exchange.header(b"accept") or b"").decode("latin-1")
    body, media_type = rendered(
        problem, path=exchange.path, accept=accept, request_id=request_id(), trace_id=exchange.data.get(TRACE_ID)
    )
    wanted = [header for header in headers if header[0] != b"connection" or speaks_http_1(exchange.scope)]
    answered = [
        (b"content-type", media_type.encode("ascii")),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
        *wanted,
    ]
    # RFC 9110, 9.3.2: the headers of a GET, and no body.
    exchange.respond(problem.status, answered, b"" if exchange.method == "HEAD" else body)


def speaks_http_1(scope: Scope) -> bool:
    """Whether the request came by HTTP/1.0 or 1.1, as it does where the server doesn't say."""
    version: str = scope.get("http_version", "1.1")
    return version.startswith("1")
