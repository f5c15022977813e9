"""One WebSocket in flight, which the drain and others can close at any time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import ContextVar
from functools import partial
from typing import Protocol

import anyio
from starlette.types import Message, Receive, Scope, Send

from bandmaster.kernel.errors import GoneAwayError
from bandmaster.kernel.hosting.interruption import Interruption

_REASON = "the server is going away"
CURRENT: ContextVar[WebSocketInFlight] = ContextVar("bandmaster.websocket")
"""The WebSocket that is being served. Others call `current_websocket`."""


class WebSocketConnection(Protocol):
    """A WebSocket that this process serves, and that another task can close."""

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the WebSocket, or refuse it before it is accepted. Has no effect on one that is closed.

        The app receives a disconnect with this code, at once also where it waits for a message, and gets an OSError
        for what it sends from then on, as ASGI has it for a client that has left. Call this from another task than
        the one that serves the WebSocket.
        """
        ...


def current_websocket() -> WebSocketConnection | None:
    """The WebSocket that this code serves, to be closed by another task, or None outside of one."""
    return CURRENT.get(None)


class WebSocketInFlight(Interruption):
    """One WebSocket, with the ``receive`` and the ``send`` that the app gets."""

    __slots__ = ("_code", "_gone", "_is_connecting", "_is_open", "_reason", "_receive", "_send", "_waits", "scope")

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        super().__init__()
        self.scope = scope
        self._receive = receive
        self._send = send
        self._is_connecting = True
        """Whether the handshake isn't over."""
        self._is_open = False
        self._code = 0
        self._reason = ""
        self._gone: anyio.Event | None = None
        """Set when the drain or another task has closed the connection; None before it begins to."""
        self._waits: list[Interruption] | None = None
        """The calls of ``receive`` that wait for the client; None before the app has received the connect."""

    async def receive(self) -> Message:
        """Receive the client's message; a disconnect when another task has closed the connection."""
        if self._waits is None:
            self._waits = []
            return await self._receive()
        received = None
        if self._gone is None:
            wait = Interruption()
            self._waits.append(wait)
            try:
                received = await wait.run(self._receive())
            finally:
                self._waits.remove(wait)
        if received is not None:
            return received
        assert self._gone is not None
        await self._gone.wait()
        return {"type": "websocket.disconnect", "code": self._code, "reason": self._reason}

    def send(self, message: Message) -> Awaitable[None]:
        """Send to the client, unless another task has closed the connection."""
        kind = message["type"]
        if self._gone is not None:
            return _refuse_message(kind, self._reason)
        if kind == "websocket.accept":
            self._is_connecting, self._is_open = False, True
        elif kind != "websocket.send":  # a close, or a response in place of the handshake
            self._is_connecting = self._is_open = False
        return self._send(message)

    async def go_away(self, code: int, refuse: Callable[[Scope, Send], Awaitable[object]] | None) -> None:
        """Close the connection if it is open, or let ``refuse`` answer the handshake. Returns when that is sent."""
        if self._gone is not None:
            await self._gone.wait()
        elif self._is_open or (self._is_connecting and refuse is not None):
            await self._leave(code, _REASON, partial(self._close_or_refuse, code, refuse))

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the connection, or refuse the handshake; see `WebSocketConnection`."""
        if self._gone is not None:
            await self._gone.wait()
        elif self._is_open or self._is_connecting:
            message = {"type": "websocket.close", "code": code, "reason": reason}
            await self._leave(code, reason, partial(self._send, message))

    async def _leave(self, code: int, reason: str, close: Callable[[], Awaitable[None]]) -> None:
        gone = self._gone = anyio.Event()
        self._code, self._reason = code, reason
        # granian sends no close while a receive is pending.
        for wait in self._waits or ():
            wait.interrupt()
        try:
            # Servers raise various errors for a client that has left, as wished.
            with suppress(Exception):
                await close()
        finally:
            gone.set()

    async def _close_or_refuse(self, code: int, refuse: Callable[[Scope, Send], Awaitable[object]] | None) -> None:
        if not self._is_open:
            if refuse is not None and "websocket.http.response" in (self.scope.get("extensions") or ()):
                await refuse(self.scope, self._send)
                return
            await self._send({"type": "websocket.accept"})
        await self._send({"type": "websocket.close", "code": code, "reason": _REASON})


async def _refuse_message(kind: str, reason: str) -> None:
    # An accept, a refusal or a second close is no error: the app can't know of the close.
    if kind == "websocket.send":
        raise GoneAwayError(f"the connection was closed: {reason}")
