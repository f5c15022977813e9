"""The messages of HTTP and of WebSockets, watched between an application and its server.

Messages of unknown types pass as they are, as the same object. A message that is changed is copied first, and so is the
list of headers: an application may use the same objects again.
"""

from __future__ import annotations

from collections.abc import Awaitable
from functools import cache
from time import perf_counter
from typing import cast

from starlette.types import Message, Scope

from bandmaster.kernel.errors import BodyTooLarge
from bandmaster.kernel.stack.exchange import WebSocketInfo
from bandmaster.kernel.stack.frame_exchange import Close, FrameExchange, Response

_DENIAL = "websocket.http.response"
"""The ASGI extension by which a server refuses a WebSocket with a response, and the prefix of the messages for that."""


class HTTPExchange(FrameExchange):
    """A request and the response."""

    __slots__ = ()

    def send_for_app(self, message: Message) -> Awaitable[None]:
        """The application's ``send``."""
        kind = message["type"]
        if kind == "http.response.body":
            # First, and without get(): streams send this message over and over, and hardly ever without a body.
            try:
                self.bytes_sent += len(message["body"])
            except KeyError:
                pass
            if ("more_body" not in message or not message["more_body"]) and not self.trailers:
                self.finished = perf_counter()
            return self.send(message)
        if kind == "http.response.start":
            if not self.started:
                self.trailers = message.get("trailers", False)
                message = self.start_response(message)
        elif kind == "http.response.trailers":
            if not message.get("more_trailers"):
                self.finished = perf_counter()
        elif not self.trailers and (
            kind == "http.response.pathsend" or (kind == "http.response.zerocopysend" and not message.get("more_body"))
        ):
            self.finished = perf_counter()
        return self.send(message)

    async def receive_for_app(self) -> Message:
        """The application's ``receive``.

        Raises:
            BodyTooLarge: the body is longer than the limit.
        """
        message = await self.receive()
        kind = message["type"]
        if kind == "http.request":
            self.bytes_received += len(message.get("body") or b"")
            if self.body_limit is not None and self.bytes_received > self.body_limit:
                raise _get_body_too_large()(self.body_limit)
        elif kind == "http.disconnect" and self.finished is None:
            self.disconnected = True
        return message

    async def send_answer(self) -> None:
        """Send the answer that a hook has given."""
        await self.send_response(cast("Response", self.answer), "http.response")


class WebSocketExchange(FrameExchange):
    """A WebSocket, from the handshake to the end."""

    __slots__ = ("message_limit",)

    socket: WebSocketInfo  # pyright: ignore[reportIncompatibleVariableOverride]

    def __init__(self, scope: Scope) -> None:
        super().__init__(scope)
        self.socket = WebSocketInfo()
        self.message_limit: int | None = None
        """Bytes that a message from the client may have."""

    def limit_message(self, max_bytes: int) -> None:
        """Keep the lowest limit."""
        super().limit_message(max_bytes)
        if self.message_limit is None or max_bytes < self.message_limit:
            self.message_limit = max_bytes

    def send_for_app(self, message: Message) -> Awaitable[None]:
        """The application's ``send``."""
        kind = message["type"]
        if kind == "websocket.send":
            self.socket.messages_sent += 1
            self.bytes_sent += len(message.get("bytes") or message.get("text") or b"")
        elif kind == "websocket.accept":
            if not self.started:
                message = self._start_accept(message)
        elif kind == "websocket.close":
            if self.status is None:
                self.status = 403
            self._note_close(message, 1000)
        elif kind == "websocket.http.response.start":
            if not self.started:
                message = self.start_response(message)
                self.socket.closed = True
        elif kind == "websocket.http.response.body":
            self.bytes_sent += len(message.get("body") or b"")
            if not message.get("more_body"):
                self.finished = perf_counter()
        return self.send(message)

    async def receive_for_app(self) -> Message:
        """The application's ``receive``."""
        message = await self.receive()
        kind = message["type"]
        if kind == "websocket.receive":
            content = message.get("bytes") or message.get("text") or b""
            self.socket.messages_received += 1
            self.bytes_received += len(content)
            if self.message_limit is not None and _exceeds(content, self.message_limit):
                await self.send_for_app({"type": "websocket.close", "code": 1009, "reason": ""})
                return {"type": "websocket.disconnect", "code": 1009, "reason": ""}
        elif kind == "websocket.disconnect":
            self.disconnected = self.disconnected or self.finished is None
            self._note_close(message, 1005)
        return message

    async def send_answer(self) -> None:
        """Send the answer that a hook has given."""
        answer = cast("Response | Close", self.answer)
        if isinstance(answer, Response):
            if _DENIAL in (self.scope.get("extensions") or ()):
                await self.send_response(answer, _DENIAL)
                return
            answer = Close(_choose_close_code(answer.status), "")
        await self.send_for_app({"type": "websocket.close", "code": answer.code, "reason": answer.reason})

    def _start_accept(self, message: Message) -> Message:
        accepted = self.start_response({**message, "status": 101})
        self.status = 101
        del accepted["status"]
        # Servers from before ASGI 2.1 take no headers here, not even an empty list.
        if not self._response_headers and "headers" not in message:
            del accepted["headers"]
        return accepted

    def _note_close(self, message: Message, default: int) -> None:
        socket = self.socket
        if not socket.closed:
            socket.closed = True
            socket.close_code = message.get("code") or default
            socket.close_reason = message.get("reason") or ""
            self.finished = perf_counter()


@cache
def _get_body_too_large() -> type[BodyTooLarge]:
    # Imported when it is needed: it takes longer than all of the kernel's own modules.
    from starlette.exceptions import HTTPException

    # Starlette and FastAPI answer their own exception with its status, and make 500 or 400 of any other.
    class HTTPBodyTooLarge(BodyTooLarge, HTTPException):
        def __init__(self, limit: int) -> None:
            BodyTooLarge.__init__(self, limit)
            self.detail = "Content Too Large"
            self.headers = None

    return HTTPBodyTooLarge


def _exceeds(content: bytes | str, limit: int) -> bool:
    # A character takes at most four bytes, so most texts are long enough, or short enough, without being encoded.
    if isinstance(content, str) and len(content) <= limit < 4 * len(content):
        content = content.encode("utf-8", "surrogatepass")
    return len(content) > limit


def _choose_close_code(status: int) -> int:
    if status == 503:
        return 1013
    return 1011 if status >= 500 else 1008
