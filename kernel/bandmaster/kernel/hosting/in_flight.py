"""Requests and WebSockets in flight: counted, notified of the drain, waited for."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import anyio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bandmaster.kernel.errors import GoneAwayError


class Drain:
    """The notice that the application is going to stop: ``request.state.drain``.

    A long stream reads ``begun`` between two chunks, or awaits `wait` beside its source, and then ends by itself.
    """

    __slots__ = ("_event", "begun")

    def __init__(self) -> None:
        # An attribute and not a property, since every request reads it.
        self.begun = False
        """Whether draining has begun. Read only."""
        self._event = anyio.Event()

    async def wait(self) -> None:
        """Wait until draining begins."""
        await self._event.wait()

    def begin(self) -> None:
        """Let draining begin. The application calls this."""
        self.begun = True
        self._event.set()


class InFlight:
    """The requests and WebSockets that one run of an application is serving.

    An HTTP request costs no more than a counter here. The ``send`` of a WebSocket is wrapped, so that the drain can
    close the connection in good order.
    """

    def __init__(self, close_code: int = 1001) -> None:
        self.drain = Drain()
        self._close_code = close_code
        self._requests = 0
        self._websockets: set[_WebSocketSend] = set()
        self._empty = anyio.Event()

    @property
    def count(self) -> int:
        """How many requests and WebSockets are being served."""
        return self._requests + len(self._websockets)

    async def serve_request(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the app serve one HTTP request."""
        self._requests += 1
        try:
            await app(scope, receive, send)
        finally:
            self._requests -= 1
            if self.drain.begun and not self.count:
                self._empty.set()

    async def serve_websocket(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the app serve one WebSocket."""
        websocket = _WebSocketSend(send)
        self._websockets.add(websocket)
        try:
            await app(scope, receive, websocket)
        finally:
            self._websockets.discard(websocket)
            if self.drain.begun and not self.count:
                self._empty.set()

    async def announce_drain(self) -> None:
        """Give the notice of the drain, and close every open WebSocket with the close code."""
        self.drain.begin()
        async with anyio.create_task_group() as tasks:
            for websocket in list(self._websockets):
                tasks.start_soon(websocket.go_away, self._close_code)

    async def wait_empty(self) -> None:
        """Wait until nothing is in flight, once draining has begun."""
        while self.count:
            # Set by an earlier moment without requests, before new ones came in.
            if self._empty.is_set():
                self._empty = anyio.Event()
            await self._empty.wait()


class _WebSocketSend:
    """The ``send`` of one WebSocket, which knows whether the connection is open."""

    __slots__ = ("_closed_by_drain", "_open", "_send")

    def __init__(self, send: Send) -> None:
        self._send = send
        self._open = False
        self._closed_by_drain = False

    def __call__(self, message: Message) -> Awaitable[None]:
        kind = message["type"]
        if self._closed_by_drain:
            return _refuse_message(kind)
        if kind == "websocket.accept":
            self._open = True
        elif kind == "websocket.close":
            self._open = False
        return self._send(message)

    async def go_away(self, code: int) -> None:
        if not self._open:
            return
        self._open, self._closed_by_drain = False, True
        message: dict[str, Any] = {"type": "websocket.close", "code": code, "reason": "the server is going away"}
        try:
            await self._send(message)
        except Exception:  # noqa: BLE001, S110  # servers raise various errors for a client that has left, as wished
            pass


async def _refuse_message(kind: str) -> None:
    # A second close is no error: the app can't know of the first.
    if kind != "websocket.close":
        raise GoneAwayError("the connection was closed because the server is going away")
