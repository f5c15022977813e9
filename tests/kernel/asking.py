"""Send requests to an ASGI application as a server does, and record the answer."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import anyio


@dataclass
class Answer:
    """The messages that an application has sent for one scope."""

    messages: list[dict[str, Any]] = field(default_factory=list)

    @property
    def status(self) -> int:
        return self.messages[0]["status"]

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.messages[0]["headers"]}

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages[1:])

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def http_scope(path: str = "/", method: str = "GET", **scope: Any) -> dict[str, Any]:
    """The scope that uvicorn makes for a request."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"testserver")],
        "client": ("127.0.0.1", 1),
        "server": ("testserver", 80),
        "state": {},
        **scope,
    }


def websocket_scope(path: str = "/", **scope: Any) -> dict[str, Any]:
    """The scope that uvicorn makes for the handshake of a WebSocket."""
    return {**http_scope(path), "type": "websocket", "scheme": "ws", "subprotocols": [], **scope}


async def ask(app: Any, path: str = "/", method: str = "GET", **scope: Any) -> Answer:
    """Send one request without a body."""
    return await call(app, http_scope(path, method, **scope))


async def call(app: Any, scope: dict[str, Any], *received: dict[str, Any]) -> Answer:
    """Call an application with one scope and the messages to receive; after those, ``receive`` waits for ever."""
    answer = Answer()
    first = {
        "http": {"type": "http.request", "body": b"", "more_body": False},
        "websocket": {"type": "websocket.connect"},
    }
    coming = iter(received or [first[scope["type"]]])

    async def receive() -> dict[str, Any]:
        for message in coming:
            return message
        await anyio.sleep_forever()
        raise AssertionError

    async def send(message: dict[str, Any]) -> None:
        answer.messages.append(dict(message))

    await app(scope, receive, send)
    return answer
