"""How a layer refuses a request."""

from __future__ import annotations

import json
from collections.abc import Iterable
from http import HTTPStatus
from urllib.parse import quote

from bandmaster.contrib.web.context import request_id
from bandmaster.kernel import Exchange

CLOSE = (b"connection", b"close")
"""What tells a client of HTTP/1.1 that nothing more is read from its connection."""


def refuse(exchange: Exchange, status: int, detail: str, headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
    """Answer with a problem (RFC 9457), in place of the application.

    ``detail`` goes to the client: never put in what only the service should know. HTTP/2 and later have no connection
    header, so that `CLOSE` among the ``headers`` is left out there.

    Raises:
        RuntimeError: it is too late, or too early, to answer.
    """
    problem = {
        "type": "about:blank",
        "title": _TITLES.get(status) or HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "instance": quote(exchange.path, safe=_SAFE, errors="replace"),
        "request_id": request_id(),
    }
    body = json.dumps({name: value for name, value in problem.items() if value is not None}).encode("ascii")
    wanted = [header for header in headers if header != CLOSE or speaks_http_1(exchange)]
    answered = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
        *wanted,
    ]
    # RFC 9110, 9.3.2: the headers of a GET, and no body.
    exchange.respond(status, answered, b"" if exchange.method == "HEAD" else body)


def speaks_http_1(exchange: Exchange) -> bool:
    """Whether the request came by HTTP/1.0 or 1.1, as it does where the server doesn't say."""
    version: str = exchange.scope.get("http_version", "1.1")
    return version.startswith("1")


# What RFC 9110 calls them now; Python 3.12 and earlier have older names.
_TITLES = {413: "Content Too Large"}
_SAFE = "/:@!$&'()*+,;=~"
