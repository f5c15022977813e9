"""The client's end of a WebSocket."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, Literal

import anyio
import anyio.lowlevel
from starlette.types import Message

from bandmaster.kernel.testing.calls import SocketCall, within
from bandmaster.kernel.testing.mailbox import Closed
from bandmaster.kernel.testing.messages import Headers, Response

_LOST = 1006
"""RFC 6455, 7.1.5: the connection ended without a close frame."""


class WebSocketRefused(Exception):
    """The application refused the WebSocket, as a client sees it."""

    def __init__(self, response: Response, code: int | None = None, reason: str = "") -> None:
        how = f"closed with {code}{f', {reason}' if reason else ''}" if code is not None else f"answered {response!r}"
        super().__init__(f"the WebSocket was refused: the application {how}")
        self.response = response
        """What the client sees: 403 with no body where the application only closed."""
        self.code = code
        """What it was closed with; servers don't tell it to the client."""
        self.reason = reason

    @property
    def status(self) -> int:
        """The response's status."""
        return self.response.status


class WebSocketClosed(Exception):
    """The WebSocket is closed, and no more messages come."""

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(f"the WebSocket was closed with {code}{f': {reason}' if reason else ''}")
        self.code = code
        self.reason = reason


class WebSocket:
    """An open WebSocket: ``async for message in socket`` until the application closes it."""

    def __init__(self, call: SocketCall, timeout: float | None, *, raise_app_exceptions: bool) -> None:
        self.subprotocol: str | None = None
        """What the application has chosen."""
        self.headers = Headers()
        """What the application has accepted with."""
        self.close_code: int | None = None
        """What it was closed with, by whichever side; none while it is open."""
        self.close_reason = ""
        self._call = call
        self._timeout = timeout
        self._raise = raise_app_exceptions

    async def handshake(self) -> None:
        """Wait until the application has accepted.

        Raises:
            WebSocketRefused: it hasn't.
        """
        message = await self._next("neither accepted nor refused")
        match message["type"]:
            case "websocket.accept":
                self.subprotocol = message.get("subprotocol")
                self.headers = Headers(message.get("headers", ()))
            case "websocket.close":
                code, reason = message.get("code", 1000), message.get("reason") or ""
                self._is_closed(code, reason)
                raise WebSocketRefused(Response(403, Headers(), b""), code, reason)
            case "lost":
                self._is_closed(_LOST, "")
                raise WebSocketRefused(Response(500, Headers(), b"Internal Server Error"))
            case _:
                raise WebSocketRefused(await self._denial(message))

    async def _denial(self, start: Message) -> Response:
        messages, more = [start], True
        while more:
            messages.append(await self._next("did not end its answer"))
            more = messages[-1].get("more_body", False)
        self._is_closed(_LOST, "")
        body = b"".join(message.get("body", b"") for message in messages)
        return Response(start["status"], Headers(start.get("headers", ())), body, tuple(messages))

    async def send_text(self, text: str) -> None:
        """Send a text message.

        Raises:
            WebSocketClosed: it is closed.
        """
        await self._send({"type": "websocket.receive", "text": text})

    async def send_bytes(self, data: bytes) -> None:
        """Send a binary message.

        Raises:
            WebSocketClosed: it is closed.
        """
        await self._send({"type": "websocket.receive", "bytes": data})

    async def send_json(self, value: Any, mode: Literal["text", "binary"] = "text") -> None:
        """Send a value as JSON.

        Raises:
            WebSocketClosed: it is closed.
        """
        text = json.dumps(value)
        await (self.send_text(text) if mode == "text" else self.send_bytes(text.encode()))

    async def receive(self) -> str | bytes:
        """The next message.

        Raises:
            WebSocketClosed: there is none any more.
            TimeoutError: none came.
        """
        if self.close_code is not None:
            raise WebSocketClosed(self.close_code, self.close_reason)
        message = await self._next("sent nothing")
        if message["type"] == "websocket.send":
            text: str | None = message.get("text")
            return text if text is not None else message["bytes"]
        if message["type"] == "websocket.close":
            self._is_closed(message.get("code", 1000), message.get("reason") or "")
        else:
            # RFC 6455, 7.4.1: 1011 is a server that met something unexpected, which is what servers send here.
            self._is_closed(1011 if self._call.error is not None else 1000, "")
        assert self.close_code is not None
        raise WebSocketClosed(self.close_code, self.close_reason)

    async def receive_text(self) -> str:
        """The next message, which is text.

        Raises:
            WebSocketClosed: there is none any more.
            TimeoutError: none came.
            TypeError: it is binary.
        """
        message = await self.receive()
        if not isinstance(message, str):
            raise TypeError(f"expected a text message, got {message!r}")
        return message

    async def receive_bytes(self) -> bytes:
        """The next message, which is binary.

        Raises:
            WebSocketClosed: there is none any more.
            TimeoutError: none came.
            TypeError: it is text.
        """
        message = await self.receive()
        if isinstance(message, str):
            raise TypeError(f"expected a binary message, got {message!r}")
        return message

    async def receive_json(self) -> Any:
        """The next message, read as JSON.

        Raises:
            WebSocketClosed: there is none any more.
            TimeoutError: none came.
            ValueError: it is no JSON.
        """
        return json.loads(await self.receive())

    async def wait_closed(self) -> int:
        """Wait until the application closes; messages that come before are dropped. The answer is the close code.

        Raises:
            TimeoutError: it goes on for longer than the timeout without a message.
        """
        async for _ in self:
            pass
        assert self.close_code is not None
        return self.close_code

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close it, unless it is closed."""
        if self.close_code is None and self._call.state == "open":
            self._is_closed(code, reason)
            self._call.leave(code, reason)
        await anyio.lowlevel.checkpoint()

    async def drop(self) -> None:
        """Lose the connection: the application hears of 1006."""
        await self.close(_LOST)

    def __aiter__(self) -> AsyncIterator[str | bytes]:
        return self._messages()

    async def _messages(self) -> AsyncGenerator[str | bytes, None]:
        while True:
            try:
                message = await self.receive()
            except WebSocketClosed:
                return
            yield message

    async def _send(self, message: Message) -> None:
        await anyio.lowlevel.checkpoint()
        if self._call.state != "open" or self._call.over.is_set():
            await self._find_out_the_close()
        self._call.inbox.put(message)

    async def _find_out_the_close(self) -> None:
        # What the application sent before it closed is lost to one who sends instead of receiving.
        await self.wait_closed()
        assert self.close_code is not None
        raise WebSocketClosed(self.close_code, self.close_reason)

    def _is_closed(self, code: int, reason: str) -> None:
        self.close_code, self.close_reason = code, reason

    async def _next(self, missing: str) -> Message:
        call = self._call
        try:
            with within(self._timeout, lambda: f"{call.what}: the application {missing}{call.where()}"):
                return await call.outbox.get()
        except Closed:
            error = call.take_error() if self._raise else None
            if error is None:
                return {"type": "lost"}
            try:
                raise error
            finally:
                del error
