"""Who is inside: requests and connections in flight, counted, told of the drain, waited for."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import anyio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bandmaster.kernel.errors import GoneAwayError


class Drain:
    """The notice that the application is going to stop: ``request.state.drain``.

    A long stream looks at ``begun`` between two chunks, or waits for it beside its source, and ends by itself.
    """

    __slots__ = ("_event", "begun")

    def __init__(self) -> None:
        self.begun = False
        """Whether draining has begun. Not to be set by others; that it is no property, every request feels."""
        self._event = anyio.Event()

    async def wait(self) -> None:
        """Wait until draining begins."""
        await self._event.wait()

    def begin(self) -> None:
        """Tell everybody."""
        self.begun = True
        self._event.set()


class Gate:
    """Counts what is in flight in one run of an application.

    The counter is all that an HTTP request costs here; a WebSocket has its ``send`` wrapped, so that the drain can
    close it in good order.
    """

    def __init__(self, close_code: int = 1001) -> None:
        self.drain = Drain()
        self._close_code = close_code
        self._requests = 0
        self._sockets: set[_Socket] = set()
        self._empty = anyio.Event()

    @property
    def in_flight(self) -> int:
        """How many requests and connections are inside."""
        return self._requests + len(self._sockets)

    async def request(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Let one HTTP request through."""
        self._requests += 1
        try:
            await app(scope, receive, send)
        finally:
            self._requests -= 1
            if self.drain.begun and not self.in_flight:
                self._empty.set()

    async def connection(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Let one WebSocket through."""
        socket = _Socket(send)
        self._sockets.add(socket)
        try:
            await app(scope, receive, socket)
        finally:
            self._sockets.discard(socket)
            if self.drain.begun and not self.in_flight:
                self._empty.set()

    async def tell(self) -> None:
        """Set the drain notice, and close every open WebSocket with 1001 or what the settings say."""
        self.drain.begin()
        async with anyio.create_task_group() as tasks:
            for socket in list(self._sockets):
                tasks.start_soon(socket.go_away, self._close_code)

    async def wait_empty(self) -> None:
        """Wait until nothing is in flight, once draining has begun."""
        while self.in_flight:
            if self._empty.is_set():
                self._empty = anyio.Event()
            await self._empty.wait()


class _Socket:
    """One WebSocket's ``send``, which knows whether the connection is open."""

    __slots__ = ("_open", "_send", "_told")

    def __init__(self, send: Send) -> None:
        self._send = send
        self._open = False
        self._told = False

    def __call__(self, message: Message) -> Awaitable[None]:
        kind = message["type"]
        if self._told:
            return _after_the_close(kind)
        if kind == "websocket.accept":
            self._open = True
        elif kind == "websocket.close":
            self._open = False
        return self._send(message)

    async def go_away(self, code: int) -> None:
        if not self._open:
            return
        self._open, self._told = False, True
        message: dict[str, Any] = {"type": "websocket.close", "code": code, "reason": "the server is going away"}
        try:
            await self._send(message)
        except Exception:  # noqa: BLE001, S110  # servers raise what they like for a client that has gone, which is the aim
            pass


async def _after_the_close(kind: str) -> None:
    if kind != "websocket.close":
        raise GoneAwayError("the connection was closed because the server is going away")
