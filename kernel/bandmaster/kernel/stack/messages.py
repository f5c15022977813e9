"""Exchanges that watch the messages between an application and its server.

Whatever they don't know passes as it is, as the same object. What they change is a copy: an application may use its
messages and header lists again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import cache
from time import perf_counter
from traceback import walk_tb
from types import CodeType
from typing import TypeAlias, cast

from starlette.types import Message, Receive, Scope, Send

from bandmaster.kernel.errors import BodyTooLarge
from bandmaster.kernel.stack.exchange import Close, Exchange, Response, Socket

Hook: TypeAlias = Callable[[Exchange], None]


class Traffic(Exchange):
    """What both kinds have in common.

    The frame gives it the server's side and the hooks, before the application gets `receiving` and `sending`. Their
    being methods of the exchange itself, and `sending` a plain function that returns the server's awaitable, is most of
    why a frame costs so little.
    """

    __slots__ = ("receive", "send", "starts")

    receive: Receive
    """The server's."""
    send: Send
    """The server's."""
    starts: tuple[Hook, ...]
    """What sees the start of a response, innermost first."""

    def sending(self, message: Message) -> Awaitable[None]:
        """The application's ``send``."""
        raise NotImplementedError

    async def receiving(self) -> Message:
        """The application's ``receive``."""
        raise NotImplementedError

    async def deliver(self) -> None:
        """Send the answer that a hook has given."""
        raise NotImplementedError

    def says_that_the_client_has_gone(self, error: Exception) -> bool:
        """Whether what the application raised means just that."""
        if any((base.__module__, base.__name__) in _DISCONNECTS for base in type(error).__mro__):
            return True
        # ASGI lets send raise any OSError for it. A database's looks the same, so it must have come through send.
        if not isinstance(error, OSError):
            return False
        codes = {frame.f_code for frame, _ in walk_tb(error.__traceback__)}
        return _code(self.send) in codes

    def begin(self, message: Message) -> Message:
        """Let the hooks see the start of a response; what goes out in place of the application's message."""
        self.status = message["status"]
        headers: list[tuple[bytes, bytes]] = [*message["headers"]] if "headers" in message else []
        for name, _ in headers:
            if not name.islower():
                headers = [(name.lower(), value) for name, value in headers]
                break
        self._response_headers = headers
        self._counted = -1
        for on_response_start in self.starts:
            on_response_start(self)
        self.started = True
        message = dict(message)
        message["status"] = self.status
        message["headers"] = self._response_headers
        return message

    async def respond_with(self, response: Response, kind: str) -> None:
        """Send a whole response, in messages of that kind."""
        await self.sending({"type": f"{kind}.start", "status": response.status, "headers": response.headers})
        await self.sending({"type": f"{kind}.body", "body": response.body})


class HTTPTraffic(Traffic):
    """A request and its response."""

    __slots__ = ()

    def sending(self, message: Message) -> Awaitable[None]:
        """The application's ``send``."""
        kind = message["type"]
        if kind == "http.response.body":
            # Streams live here, and hardly any piece of one comes without a body.
            try:
                self.bytes_sent += len(message["body"])
            except KeyError:
                pass
            if "more_body" not in message or not message["more_body"]:
                self.finished = perf_counter()
            return self.send(message)
        if kind == "http.response.start":
            if not self.started:
                message = self.begin(message)
        elif kind == "http.response.pathsend" or (
            kind == "http.response.zerocopysend" and not message.get("more_body")
        ):
            self.finished = perf_counter()
        return self.send(message)

    async def receiving(self) -> Message:
        """The application's ``receive``.

        Raises:
            BodyTooLarge: the body has grown beyond the limit.
        """
        message = await self.receive()
        kind = message["type"]
        if kind == "http.request":
            self.bytes_received += len(message.get("body") or b"")
            if self.body_limit is not None and self.bytes_received > self.body_limit:
                raise _body_too_large()(self.body_limit)
        elif kind == "http.disconnect" and self.finished is None:
            self.disconnected = True
        return message

    async def deliver(self) -> None:
        """Send the answer that a hook has given."""
        await self.respond_with(cast("Response", self.answer), "http.response")


class WebSocketTraffic(Traffic):
    """A WebSocket, from its handshake to its end."""

    __slots__ = ()

    def __init__(self, scope: Scope) -> None:
        super().__init__(scope)
        self.socket: Socket = Socket()  # pyright: ignore[reportIncompatibleVariableOverride]

    def sending(self, message: Message) -> Awaitable[None]:
        """The application's ``send``."""
        kind = message["type"]
        if kind == "websocket.send":
            self.socket.messages_sent += 1
            self.bytes_sent += len(message.get("bytes") or message.get("text") or b"")
        elif kind == "websocket.accept":
            if not self.started:
                message = self._accept(message)
        elif kind == "websocket.close":
            if self.status is None:
                self.status = 403
            self._close(message, 1000)
        elif kind == "websocket.http.response.start":
            if not self.started:
                message = self.begin(message)
                self.socket.closed = True
        elif kind == "websocket.http.response.body":
            self.bytes_sent += len(message.get("body") or b"")
            if not message.get("more_body"):
                self.finished = perf_counter()
        return self.send(message)

    async def receiving(self) -> Message:
        """The application's ``receive``."""
        message = await self.receive()
        kind = message["type"]
        if kind == "websocket.receive":
            content = message.get("bytes") or message.get("text") or b""
            self.socket.messages_received += 1
            self.bytes_received += len(content)
            if self.socket.message_limit is not None and _exceeds(content, self.socket.message_limit):
                await self.sending({"type": "websocket.close", "code": 1009, "reason": ""})
                return {"type": "websocket.disconnect", "code": 1009, "reason": ""}
        elif kind == "websocket.disconnect":
            self.disconnected = self.disconnected or not self.socket.closed
            self._close(message, 1005)
        return message

    async def deliver(self) -> None:
        """Send the answer that a hook has given."""
        answer = cast("Response | Close", self.answer)
        if isinstance(answer, Response):
            if _DENIAL in (self.scope.get("extensions") or ()):
                await self.respond_with(answer, _DENIAL)
                return
            answer = Close(_close_code(answer.status), "")
        if not self.socket.closed:
            await self.sending({"type": "websocket.close", "code": answer.code, "reason": answer.reason})

    def _accept(self, message: Message) -> Message:
        accepted = self.begin({**message, "status": 101})
        self.status = 101
        del accepted["status"]
        # Servers from before ASGI 2.1 take no headers here, not even none.
        if not self._response_headers and "headers" not in message:
            del accepted["headers"]
        return accepted

    def _close(self, message: Message, default: int) -> None:
        socket = self.socket
        if not socket.closed:
            socket.closed = True
            socket.close_code = message.get("code") or default
            socket.close_reason = message.get("reason") or ""
            self.finished = perf_counter()


_DENIAL = "websocket.http.response"
_DISCONNECTS = frozenset(
    (
        ("starlette.requests", "ClientDisconnect"),
        ("starlette.websockets", "WebSocketDisconnect"),
    )
)


def _code(send: Send) -> CodeType | None:
    # A frame further out hands the server's awaitable on, and so leaves no trace of its own.
    outer = getattr(send, "__self__", None)
    if isinstance(outer, Traffic):
        return _code(outer.send)
    function = getattr(send, "__func__", send)
    return getattr(function, "__code__", None) or getattr(type(send).__call__, "__code__", None)


@cache
def _body_too_large() -> type[BodyTooLarge]:
    # Imported when it is needed: it takes longer than all of the kernel's own modules.
    from starlette.exceptions import HTTPException

    # Starlette and FastAPI answer what their own exception says, and make 500 or 400 of any other.
    class HTTPBodyTooLarge(BodyTooLarge, HTTPException):
        def __init__(self, limit: int) -> None:
            BodyTooLarge.__init__(self, limit)
            self.detail = "Content Too Large"
            self.headers = None

    return HTTPBodyTooLarge


def _exceeds(content: bytes | str, limit: int) -> bool:
    # No character takes more than four bytes: most texts needn't be encoded to know.
    if isinstance(content, str) and len(content) <= limit < 4 * len(content):
        content = content.encode("utf-8", "surrogatepass")
    return len(content) > limit


def _close_code(status: int) -> int:
    if status == 503:
        return 1013
    return 1011 if status >= 500 else 1008
