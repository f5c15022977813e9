"""Requests and WebSockets in flight: counted, notified of the drain, waited for, cancelled."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress

import anyio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bandmaster.kernel.hosting.interruption import Interruption
from bandmaster.kernel.hosting.responses import EVENT_STREAM, add_close, find_header
from bandmaster.kernel.hosting.websockets_in_flight import CURRENT, WebSocketInFlight

_DISCONNECT = "http.disconnect"
_PAUSE = 0.05
"""Seconds between two attempts to cancel a request."""


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

    Each of them passes this gate, which can therefore end each: WebSockets are closed, streams are disconnected, and
    the rest is cancelled.
    """

    def __init__(
        self,
        close_code: int = 1001,
        is_stopping: Callable[[], bool] = bool,
        note_ended_stream: Callable[[], object] = bool,
    ) -> None:
        self.drain = Drain()
        self.is_stopping = is_stopping
        """Whether a stop has been requested. The drain begins a moment later."""
        self.streams_disconnected = False
        """Whether `disconnect_streams` has been called."""
        self._note_ended_stream = note_ended_stream
        """Called in the task of a stream that `disconnect_streams` has ended, before the server learns of the end."""
        self._close_code = close_code
        self._requests: set[_Request] = set()
        self._websockets: set[WebSocketInFlight] = set()
        self._empty = anyio.Event()

    @property
    def count(self) -> int:
        """How many requests and WebSockets are being served."""
        return len(self._requests) + len(self._websockets)

    async def serve_request(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> bool:
        """Let the app serve one HTTP request. Returns false after a cancellation before the start of the answer."""
        request = _Request(self, scope, receive, send)
        self._requests.add(request)
        try:
            await request.run(app(scope, request.receive, request.send))
            if not request.is_over:
                await request.end_event_stream()
                if request.was_disconnected:
                    self._note_ended_stream()
        finally:
            self._requests.discard(request)
            if self.drain.begun and not self.count:
                self._empty.set()
        return request.has_begun or not request.requested

    async def serve_websocket(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the app serve one WebSocket."""
        websocket = WebSocketInFlight(scope, receive, send)
        self._websockets.add(websocket)
        token = CURRENT.set(websocket)
        try:
            await websocket.run(app(scope, websocket.receive, websocket.send))
        finally:
            self._websockets.discard(websocket)
            with suppress(ValueError):  # a coroutine that is garbage collected is closed in another context
                CURRENT.reset(token)
            if self.drain.begun and not self.count:
                self._empty.set()

    async def announce_drain(self, refuse: Callable[[Scope, Send], Awaitable[object]] | None = None) -> None:
        """Give the notice of the drain, and close every open WebSocket with the close code.

        ``refuse`` answers the handshakes that aren't over yet. Without it they go on, and are closed by a later call.
        """
        self.drain.begin()
        async with anyio.create_task_group() as tasks:
            for websocket in list(self._websockets):
                tasks.start_soon(websocket.go_away, self._close_code, refuse)

    def disconnect_streams(self) -> None:
        """Let ``receive()`` of each response that is streaming answer ``http.disconnect``, as if the client had left.

        A response with a Content-Length goes on, since it has an end.
        """
        self.streams_disconnected = True
        for request in self._requests:
            request.disconnect_stream()

    async def cancel_all(self, patience: float) -> list[str]:
        """Cancel all that is in flight, and wait for the clean-up, ``patience`` seconds at most.

        Returns a description of each request and WebSocket that is still there, with its stack.
        """
        self.drain.begin()
        until = anyio.current_time() + patience
        while self.count and anyio.current_time() < until:
            for each in self._list_all():
                each.interrupt()
            with anyio.move_on_after(_PAUSE, shield=True):
                await self.wait_empty()
        return [
            f"{each.scope['type']} {each.scope['path']}; it stood at\n{each.render_stack()}"
            for each in self._list_all()
        ]

    def _list_all(self) -> list[_Request | WebSocketInFlight]:
        return [*self._requests, *self._websockets]

    async def wait_empty(self) -> None:
        """Wait until nothing is in flight, once draining has begun."""
        while self.count:
            # Set by an earlier moment without requests, before new ones came in.
            if self._empty.is_set():
                self._empty = anyio.Event()
            await self._empty.wait()


class _Request(Interruption):
    """One HTTP request, with the ``receive`` and the ``send`` that the app gets."""

    __slots__ = (
        "_body_is_read",
        "_in_flight",
        "_receive",
        "_send",
        "_start",
        "_waits",
        "is_over",
        "scope",
        "was_disconnected",
    )

    def __init__(self, in_flight: InFlight, scope: Scope, receive: Receive, send: Send) -> None:
        super().__init__()
        self.scope = scope
        self._in_flight = in_flight
        self._receive = receive
        self._send = send
        self._body_is_read = False
        self._start: Message | None = None
        """The message with which the response has begun."""
        self.is_over = False
        """Whether the response is complete."""
        self.was_disconnected = False
        """Whether ``receive`` has answered with a disconnect that isn't the client's."""
        self._waits: list[Interruption] | None = None
        """The calls of ``receive`` that wait for the client to leave."""

    @property
    def has_begun(self) -> bool:
        """Whether the response has begun."""
        return self._start is not None

    @property
    def _is_disconnected(self) -> bool:
        return (
            self._in_flight.streams_disconnected
            and self._start is not None
            and not self.is_over
            and find_header(self._start, b"content-length") is None
        )

    async def receive(self) -> Message:
        """Receive the request, then the client's disconnect, or the drain's."""
        if not self._body_is_read:
            message = await self._receive()
            self._body_is_read = not message.get("more_body", False)
            return message
        if self._is_disconnected:
            return self._disconnect()
        wait = Interruption()
        waits = self._waits = self._waits or []
        waits.append(wait)
        try:
            received = await wait.run(self._receive())
        finally:
            waits.remove(wait)
        return self._disconnect() if received is None else received

    def _disconnect(self) -> Message:
        self.was_disconnected = True
        return {"type": _DISCONNECT}

    def send(self, message: Message) -> Awaitable[None]:
        """Send the response; after the drain has begun, the connection is to be closed."""
        kind = message["type"]
        if kind == "http.response.start":
            if self._in_flight.drain.begun:
                message = add_close(self.scope, message)
            self._start = message
        elif kind == "http.response.pathsend" or (kind == "http.response.body" and not message.get("more_body", False)):
            self.is_over = True
        return self._send(message)

    def disconnect_stream(self) -> None:
        """Wake the calls of ``receive`` that wait, if the response is a stream."""
        if self._is_disconnected:
            for wait in self._waits or ():
                wait.interrupt()

    async def end_event_stream(self) -> None:
        """Complete an event stream that the stop has ended. Any other stream would look whole, but be cut off."""
        if self._start is not None:
            kind = find_header(self._start, b"content-type") or b""
            if kind.startswith(EVENT_STREAM) and (self._in_flight.drain.begun or self._in_flight.is_stopping()):
                with suppress(Exception):  # servers raise various errors for a client that has left
                    await self._send({"type": "http.response.body", "body": b"", "more_body": False})
