"""Close WebSockets under granian although the application waits for a message."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send


class OpenWebSockets:
    """The WebSockets that an application has accepted under granian, and hasn't closed yet."""

    def __init__(self) -> None:
        self._open: set[GranianWebSocket] = set()
        self._callback: Callable[[], None] | None = None

    def watch(self, app: ASGIApp) -> ASGIApp:
        """Pass an application's WebSockets through `GranianWebSocket`."""

        async def watched(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "websocket":
                await app(scope, receive, send)
                return
            socket = GranianWebSocket(receive, send, self)
            try:
                await app(scope, socket.receive, socket.send)
            finally:
                self.discard(socket)

        return watched

    def add(self, socket: GranianWebSocket) -> None:
        """Count a WebSocket as open."""
        self._open.add(socket)

    def discard(self, socket: GranianWebSocket) -> None:
        """Count a WebSocket as closed."""
        self._open.discard(socket)
        self._call_if_closed()

    def call_when_closed(self, callback: Callable[[], None]) -> None:
        """Call a function, once, as soon as no WebSocket is open."""
        self._callback = callback
        self._call_if_closed()

    def _call_if_closed(self) -> None:
        if not self._open and self._callback is not None:
            callback, self._callback = self._callback, None
            callback()


class GranianWebSocket:
    """One WebSocket under granian, which can be closed while the application waits for a message.

    granian's own close waits for a lock that a pending ``receive`` holds until the client sends something.
    """

    def __init__(self, receive: Receive, send: Send, sockets: OpenWebSockets) -> None:
        self._receive = receive
        self._send = send
        self._sockets = sockets
        self._code: int | None = None
        self._closed = anyio.Event()
        self._waiting: anyio.CancelScope | None = None

    async def receive(self) -> Message:
        """Receive what the client sends; after a close, a disconnect."""
        if self._code is None:
            with anyio.CancelScope() as self._waiting:
                return await self._receive()
        await self._closed.wait()
        return {"type": "websocket.disconnect", "code": self._code, "reason": ""}

    async def send(self, message: Message) -> None:
        """Send to the client; a close first ends the ``receive`` that waits."""
        if message["type"] == "websocket.accept":
            self._sockets.add(self)
        if message["type"] != "websocket.close":
            await self._send(message)
            return
        self._code = message.get("code", 1000)
        if self._waiting is not None:
            self._waiting.cancel()
        try:
            await self._send(message)
        finally:
            self._closed.set()
            self._sockets.discard(self)
