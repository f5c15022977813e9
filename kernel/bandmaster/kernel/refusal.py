"""Answers that need no application: not started yet, going away, how healthy it is."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from starlette.types import Receive, Scope, Send

Headers = Iterable[tuple[bytes, bytes]]

TRY_AGAIN_LATER = 1013
"""WebSocket close code: the server is overloaded or not ready (IANA registry, RFC 6455)."""

_UNAVAILABLE = {"type": "about:blank", "title": "Service Unavailable", "status": 503}
_PROBLEM = [(b"content-type", b"application/problem+json")]


async def answer(send: Send, status: int, body: Mapping[str, Any], headers: Headers = ()) -> None:
    """A small JSON answer."""
    await _respond(send, "http.response", status, body, [(b"content-type", b"application/json"), *headers])


async def refuse_request(send: Send, retry_after: int, *, closing: bool) -> None:
    """503 as RFC 9457 describes problems; ``closing`` tells the client to come back on another connection."""
    headers = [*_PROBLEM, (b"retry-after", str(retry_after).encode()), (b"cache-control", b"no-store")]
    if closing:
        headers.append((b"connection", b"close"))
    await _respond(send, "http.response", 503, _UNAVAILABLE, headers)


async def refuse_connection(scope: Scope, receive: Receive, send: Send, retry_after: int) -> None:
    """Refuse a WebSocket before it is accepted: with a 503 where the server can send one, else by closing it."""
    await receive()
    if "websocket.http.response" in scope.get("extensions", ()):
        headers = [*_PROBLEM, (b"retry-after", str(retry_after).encode())]
        await _respond(send, "websocket.http.response", 503, _UNAVAILABLE, headers)
    else:
        await send({"type": "websocket.close", "code": TRY_AGAIN_LATER, "reason": "not ready"})


async def _respond(send: Send, kind: str, status: int, body: Mapping[str, Any], headers: Headers) -> None:
    content = json.dumps(body).encode()
    sent = [*headers, (b"content-length", str(len(content)).encode())]
    await send({"type": f"{kind}.start", "status": status, "headers": sent})
    await send({"type": f"{kind}.body", "body": content, "more_body": False})
