"""The client's end of a WebSocket."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Literal

import anyio
import anyio.lowlevel
from starlette.types import Message

from bandmaster.kernel.testing.calls import Calls, add_notes, raise_first
from bandmaster.kernel.testing.mailbox import Closed
from bandmaster.kernel.testing.timeouts import fail_after
from bandmaster.kernel.testing.websocket_call import WebSocketCall

if TYPE_CHECKING:
    import httpx2

_LOST = 1006
"""RFC 6455, 7.1.5: the connection ended without a close frame."""
_SHOWN = 200
"""The characters of a body in an error text."""
_HANDSHAKE = {
    "connection": "Upgrade",
    "upgrade": "websocket",
    "sec-websocket-version": "13",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
}


class WebSocketRefused(Exception):
    """The application refused the WebSocket."""

    def __init__(self, response: httpx2.Response, code: int | None = None, reason: str = "") -> None:
        answer = f"answered {response.status_code} {response.reason_phrase}: {response.text[:_SHOWN]}"
        close = f"closed with {code}{f', {reason}' if reason else ''}"
        super().__init__(f"the WebSocket was refused: the application {answer if code is None else close}")
        self.response = response
        """The response that a client receives: 403 without a body where the application only closed."""
        self.code = code
        """The code with which the application closed. Servers don't send it to the client."""
        self.reason = reason

    @property
    def status_code(self) -> int:
        """The status of the response."""
        return self.response.status_code


class WebSocketClosed(Exception):
    """The WebSocket is closed, and no more messages come."""

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(f"the WebSocket was closed with {code}{f': {reason}' if reason else ''}")
        self.code = code
        self.reason = reason


class WebSocket:
    """An open WebSocket: ``async for message in socket`` until the application closes it."""

    headers: httpx2.Headers
    """The headers with which the application accepted."""

    def __init__(
        self,
        call: WebSocketCall,
        request: httpx2.Request,
        timeout: float | None,
        *,
        raise_app_exceptions: bool,
    ) -> None:
        self.subprotocol: str | None = None
        """The subprotocol that the application chose."""
        self.close_code: int | None = None
        """The code of the close, by either side; none while the WebSocket is open."""
        self.close_reason = ""
        self._call = call
        self._request = request
        self._timeout = timeout
        self._raise = raise_app_exceptions

    async def handshake(self) -> None:
        """Wait until the application has accepted.

        Raises:
            WebSocketRefused: the application hasn't accepted.
        """
        message = await self._next("neither accepted nor refused")
        match message["type"]:
            case "websocket.accept":
                self.subprotocol = message.get("subprotocol")
                self.headers = self._make_response([{"status": 101, **message}]).headers
            case "websocket.close":
                code, reason = message.get("code", 1000), message.get("reason") or ""
                self._set_close(code, reason)
                raise WebSocketRefused(self._make_response([{"status": 403}]), code, reason)
            case "lost":
                self._set_close(_LOST, "")
                raise WebSocketRefused(self._make_response([{"status": 500, "body": b"Internal Server Error"}]))
            case _:
                raise WebSocketRefused(await self._receive_response(message))

    async def _receive_response(self, start: Message) -> httpx2.Response:
        messages, more = [start], True
        while more:
            messages.append(await self._next("did not end its answer"))
            more = messages[-1].get("more_body", False)
        self._set_close(_LOST, "")
        return self._make_response(messages)

    def _make_response(self, messages: list[Message]) -> httpx2.Response:
        import httpx2

        start = messages[0]
        return httpx2.Response(
            start["status"],
            headers=list(start.get("headers", ())),
            content=b"".join(message.get("body", b"") for message in messages),
            request=self._request,
        )

    async def send_text(self, text: str) -> None:
        """Send a text message.

        Raises:
            WebSocketClosed: the WebSocket is closed.
        """
        await self._send({"type": "websocket.receive", "text": text})

    async def send_bytes(self, data: bytes) -> None:
        """Send a binary message.

        Raises:
            WebSocketClosed: the WebSocket is closed.
        """
        await self._send({"type": "websocket.receive", "bytes": data})

    async def send_json(self, value: Any, mode: Literal["text", "binary"] = "text") -> None:
        """Send a value as JSON.

        Raises:
            WebSocketClosed: the WebSocket is closed.
        """
        text = json.dumps(value)
        await (self.send_text(text) if mode == "text" else self.send_bytes(text.encode()))

    async def receive(self) -> str | bytes:
        """The next message.

        Raises:
            WebSocketClosed: the WebSocket is closed.
            TimeoutError: no message came.
        """
        if self.close_code is not None:
            raise WebSocketClosed(self.close_code, self.close_reason)
        message = await self._next("sent nothing")
        if message["type"] == "websocket.send":
            text: str | None = message.get("text")
            return text if text is not None else message["bytes"]
        if message["type"] == "websocket.close":
            self._set_close(message.get("code", 1000), message.get("reason") or "")
        else:
            # RFC 6455, 7.4.1: 1011 is a server that met something unexpected, which is what servers send here.
            self._set_close(1011 if self._call.error is not None else 1000, "")
        assert self.close_code is not None
        raise WebSocketClosed(self.close_code, self.close_reason)

    async def receive_text(self) -> str:
        """The next message, as text.

        Raises:
            WebSocketClosed: the WebSocket is closed.
            TimeoutError: no message came.
            TypeError: the message is binary.
        """
        message = await self.receive()
        if not isinstance(message, str):
            raise TypeError(f"expected a text message, got {message!r}")
        return message

    async def receive_bytes(self) -> bytes:
        """The next message, as bytes.

        Raises:
            WebSocketClosed: the WebSocket is closed.
            TimeoutError: no message came.
            TypeError: the message is text.
        """
        message = await self.receive()
        if isinstance(message, str):
            raise TypeError(f"expected a binary message, got {message!r}")
        return message

    async def receive_json(self) -> Any:
        """The next message, read as JSON.

        Raises:
            WebSocketClosed: the WebSocket is closed.
            TimeoutError: no message came.
            ValueError: the message isn't JSON.
        """
        return json.loads(await self.receive())

    async def wait_closed(self) -> int:
        """Wait until the application closes, and return the close code. Messages that come before are dropped.

        Raises:
            TimeoutError: neither a message nor the close came in time.
        """
        async for _ in self:
            pass
        assert self.close_code is not None
        return self.close_code

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the WebSocket, unless it is closed already."""
        if self.close_code is None and self._call.state == "open":
            self._set_close(code, reason)
            self._call.leave(code, reason)
        await anyio.lowlevel.checkpoint()

    async def drop(self) -> None:
        """Lose the connection: the application receives a disconnect with code 1006."""
        await self.close(_LOST)

    def __aiter__(self) -> AsyncIterator[str | bytes]:
        return self._iterate()

    async def _iterate(self) -> AsyncGenerator[str | bytes, None]:
        while True:
            try:
                message = await self.receive()
            except WebSocketClosed:
                return
            yield message

    async def _send(self, message: Message) -> None:
        await anyio.lowlevel.checkpoint()
        if self._call.state != "open" or self._call.ended.is_set():
            await self._raise_close()
        self._call.inbox.put(message)

    async def _raise_close(self) -> None:
        # A sender doesn't read the messages that the application sent before the close.
        await self.wait_closed()
        assert self.close_code is not None
        raise WebSocketClosed(self.close_code, self.close_reason)

    def _set_close(self, code: int, reason: str) -> None:
        self.close_code, self.close_reason = code, reason

    async def _next(self, missing: str) -> Message:
        call = self._call
        try:
            with fail_after(self._timeout, lambda: f"{call.name}: the application {missing}{call.describe_position()}"):
                return await call.outbox.get()
        except Closed:
            error = call.take_error() if self._raise else None
            if error is None:
                return {"type": "lost"}
            try:
                raise error
            finally:
                del error


@asynccontextmanager
async def open_websocket(
    calls: Calls,
    client: httpx2.AsyncClient,
    url: str,
    subprotocols: Iterable[str],
    headers: Any,
    options: Any,
) -> AsyncGenerator[WebSocket, None]:
    """Open a WebSocket with the URL, headers and cookies of a client, and close it at the end of the block."""
    import httpx2

    from bandmaster.kernel.testing.transport import build_scope, read_timeout

    offered = list(subprotocols)
    offer = {"sec-websocket-protocol": ", ".join(offered)} if offered else {}
    given = httpx2.Headers({**_HANDSHAKE, **offer})
    given.update(headers)
    request = client.build_request("GET", url, headers=given, **options)
    scope = build_scope(
        request,
        calls,
        type="websocket",
        scheme="wss" if request.url.scheme == "https" else "ws",
        subprotocols=offered,
        asgi={"version": "3.0", "spec_version": "2.4"},
        extensions={"websocket.http.response": {}},
    )
    # The keys that only requests have.
    del scope["method"]
    call = WebSocketCall(f"WebSocket {scope['path']}", calls.app, scope)
    timeout = read_timeout(request)
    calls.start(call)
    socket = WebSocket(call, request, timeout, raise_app_exceptions=calls.raise_app_exceptions)
    try:
        await socket.handshake()
        yield socket
        await socket.close()
        call.leave()
        await calls.wait_end(call, timeout)
    except BaseException as error:
        call.leave()
        add_notes(error, calls.take_errors(call))
        raise
    raise_first(calls.take_errors(call))
