"""The constants and functions that all forms of the nine concerns share."""

from __future__ import annotations

import json

from starlette.types import Message, Receive, Send

LIMIT = 1_000_000
CHUNKS = 101
ORIGINS = frozenset((b"https://shop.example", b"https://admin.example"))
ALLOWED = {
    origin: ((b"access-control-allow-origin", origin), (b"access-control-allow-credentials", b"true"))
    for origin in ORIGINS
}
SECURITY = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"strict-transport-security", b"max-age=31536000"),
)
SECURITY_TEXT = tuple((name.decode(), value.decode()) for name, value in SECURITY)
# The headers of a browser for a fetch from a page of another origin.
REQUEST_HEADERS = [
    (b"host", b"api.example"),
    (b"connection", b"keep-alive"),
    (b"sec-ch-ua-platform", b'"Linux"'),
    (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/142.0.0.0 Safari/537.36"),
    (b"accept", b"application/json"),
    (b"sec-ch-ua", b'"Chromium";v="142"'),
    (b"sec-ch-ua-mobile", b"?0"),
    (b"traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
    (b"x-tenant", b"acme"),
    (b"origin", b"https://shop.example"),
    (b"sec-fetch-site", b"cross-site"),
    (b"sec-fetch-mode", b"cors"),
    (b"sec-fetch-dest", b"empty"),
    (b"referer", b"https://shop.example/"),
    (b"accept-encoding", b"gzip, deflate, br, zstd"),
    (b"accept-language", b"en-GB,en;q=0.9"),
]
CONTENT = b'{"hello": "world"}'


def discard(line: str) -> None:
    """Drop a log line."""


def render_line(
    method: str,
    path: str,
    status: int | None,
    duration: float,
    request_id: str | None,
    tenant: str | None,
    trace_id: str | None,
) -> str:
    """Render one line of JSON as cheaply as possible. All forms of the concerns use this function."""
    return _LINE % (
        _escape(method),
        _escape(path),
        status,
        duration,
        _escape(request_id or ""),
        _escape(tenant or ""),
        _escape(trace_id or ""),
    )


_escape = json.encoder.encode_basestring_ascii
_LINE = (
    '{"event": "request", "method": %s, "path": %s, "status": %d, "duration": %.6f, '
    '"request_id": %s, "tenant": %s, "trace_id": %s}'
)


def render_problem(status: int) -> bytes:
    return b'{"type": "about:blank", "status": %d}' % status


async def refuse(send: Send, status: int) -> None:
    headers = [(b"content-type", b"application/problem+json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": render_problem(status)})


def limit_body(receive: Receive) -> Receive:
    received = 0

    async def receive_wrapper() -> Message:
        nonlocal received
        message = await receive()
        if message["type"] == "http.request":
            received += len(message.get("body", b""))
            if received > LIMIT:
                raise ValueError("body too large")
        return message

    return receive_wrapper
