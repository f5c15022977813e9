"""Responses that come from the application and not from the host: refusals, and JSON."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Iterable, Mapping
from typing import Any

from starlette.types import Message, Receive, Scope, Send

Headers = Iterable[tuple[bytes, bytes]]

TRY_AGAIN_LATER = 1013
"""WebSocket close code: the server is overloaded or not ready (IANA registry, RFC 6455)."""

EVENT_STREAM = b"text/event-stream"

_JSON = b"application/json"
_PROBLEM = b"application/problem+json"
_NO_STORE = (b"cache-control", b"no-store")
_UNAVAILABLE = {"type": "about:blank", "title": "Service Unavailable", "status": 503}
_NOT_ALLOWED = {"type": "about:blank", "title": "Method Not Allowed", "status": 405}


async def send_json(scope: Scope, send: Send, status: int, body: Mapping[str, Any]) -> None:
    """Send JSON that no cache may keep."""
    await _respond(scope, send, status, body, _JSON, [_NO_STORE])


async def refuse_method(scope: Scope, send: Send, *allowed: str) -> None:
    """Answer 405, with the methods that are allowed."""
    await _respond(scope, send, 405, _NOT_ALLOWED, _PROBLEM, [(b"allow", ", ".join(allowed).encode())])


async def refuse_request(
    scope: Scope, send: Send, retry_after: int, *, closing: bool = False, detail: str = ""
) -> None:
    """Answer 503 with a problem (RFC 9457), also in place of a WebSocket's handshake.

    ``closing`` asks the client to come back on another connection.
    """
    if closing:
        send = close_after(scope, send)
    problem = {**_UNAVAILABLE, "detail": detail} if detail else _UNAVAILABLE
    await _respond(scope, send, 503, problem, _PROBLEM, _make_retry_headers(retry_after))


async def refuse_websocket(scope: Scope, receive: Receive, send: Send, retry_after: int, detail: str = "") -> None:
    """Refuse a WebSocket before the accept: with a 503 where the server can send one, otherwise with a close."""
    await receive()
    if "websocket.http.response" in (scope.get("extensions") or ()):
        await refuse_request(scope, send, retry_after, detail=detail)
    else:
        await send({"type": "websocket.close", "code": TRY_AGAIN_LATER, "reason": "not ready"})


def close_after(scope: Scope, send: Send) -> Send:
    """Wrap ``send`` so that the response asks the client to come back on another connection."""

    def send_closing(message: Message) -> Awaitable[None]:
        return send(add_close(scope, message) if message["type"] == "http.response.start" else message)

    return send_closing


def add_close(scope: Scope, start: Message) -> Message:
    """The message that begins a response, with ``Connection: close``, unless the app has set that header."""
    # HTTP/2 and 3 have no such header (RFC 9113, section 8.2.2): there the server sends GOAWAY.
    if not scope.get("http_version", "1.1").startswith("1") or find_header(start, b"connection") is not None:
        return start
    return {**start, "headers": [*start.get("headers", ()), (b"connection", b"close")]}


def find_header(start: Message, name: bytes) -> bytes | None:
    """The first value of a header in the message that begins a response; ``name`` is in lower case."""
    for known, value in start.get("headers", ()):
        if known.lower() == name:
            return value if isinstance(value, bytes) else None
    return None


def _make_retry_headers(retry_after: int) -> list[tuple[bytes, bytes]]:
    return [(b"retry-after", str(retry_after).encode()), _NO_STORE]


async def _respond(
    scope: Scope, send: Send, status: int, body: Mapping[str, Any], content_type: bytes, headers: Headers
) -> None:
    kind = "websocket.http.response" if scope["type"] == "websocket" else "http.response"
    content = json.dumps(body).encode()
    fixed = [(b"content-type", content_type), (b"content-length", str(len(content)).encode())]
    await send({"type": f"{kind}.start", "status": status, "headers": [*fixed, *headers]})
    # A response to HEAD has the headers that GET would get, and no content (RFC 9110, section 9.3.2).
    shown = b"" if scope.get("method") == "HEAD" else content
    await send({"type": f"{kind}.body", "body": shown, "more_body": False})
