"""The frame's side of an exchange: the hooks' answer and limits, and the server's receive and send."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from time import perf_counter
from typing import NamedTuple, TypeAlias

from starlette.types import Message, Receive, Scope, Send

from bandmaster.kernel.stack.exchange import Exchange, Headers
from bandmaster.kernel.stack.headers import NO_HEADERS

Hook: TypeAlias = Callable[[Exchange], None]

# RFC 6455, 7.4.1, and the later ones of the IANA registry; 1004 to 1006 and 1015 are never sent.
_CLOSE_CODES = frozenset((1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014))


class Response(NamedTuple):
    """A whole response that a hook has given."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class Close(NamedTuple):
    """The end of a WebSocket that a hook has asked for."""

    code: int
    reason: str


class FrameExchange(Exchange):
    """An exchange with all that the frame keeps for HTTP requests and for WebSockets.

    The application gets the methods `receive_for_app` and `send_for_app`. Their being methods of the exchange itself,
    and `send_for_app` a plain function that returns the server's awaitable, is most of why a frame costs so little.
    """

    __slots__ = ("answer", "answerable", "body_limit", "outer", "receive", "send", "start_hooks", "trailers")

    receive: Receive
    """The server's ``receive``. Set by the frame."""
    send: Send
    """The server's ``send``. Set by the frame."""
    start_hooks: tuple[Hook, ...]
    """The hooks that see the start of a response, innermost first. Set by the frame."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        headers: Headers = scope.get("headers") or ()
        index = dict(headers)
        self.repeats = len(index) != len(headers)
        if self.repeats:
            # A dictionary keeps the last of several values; the first is to win.
            index = dict(reversed(headers))
        self.header = index.get
        self.data = {}
        self.socket = None
        self.status = None
        self.started = False
        self.began = perf_counter()
        self.finished = None
        self.bytes_sent = 0
        self.bytes_received = 0
        self.disconnected = False
        self.error = None
        self._response_headers = NO_HEADERS
        self._counted = -1
        self.answer: Response | Close | None = None
        """The answer of a hook, until it is sent."""
        self.answerable = True
        """Whether a hook can answer now."""
        self.body_limit: int | None = None
        """Bytes of body that the application may read."""
        self.trailers = False
        """Whether trailers end the response, instead of the body."""
        self.outer: Exchange | None = None
        """The same request's exchange in the next frame further out, if there is one."""

    def respond(self, status: int, headers: Iterable[tuple[bytes, bytes]] = (), body: bytes = b"") -> None:
        """Keep a hook's response for the frame to send."""
        if not 200 <= status <= 599:
            raise ValueError(f"status: expected a final HTTP status, 200 to 599, got {status!r}")
        if not self.answerable or self.started or (self.socket is not None and self.socket.closed):
            raise RuntimeError(
                f"respond({status}): only on_request can answer, and on_error while the response has not started"
            )
        answer = Response(status, [(name.lower(), value) for name, value in headers], body)
        # RFC 9110, 8.6: a 204 must not have it, and in a 304 it would be the length of a body that isn't sent.
        if status not in (204, 304) and not any(name == b"content-length" for name, _ in answer.headers):
            answer.headers.append((b"content-length", b"%d" % len(body)))
        self.answer = answer

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Keep a hook's close for the frame to send."""
        if not (code in _CLOSE_CODES or 3000 <= code <= 4999):
            raise ValueError(f"code: expected a close code that may be sent (RFC 6455, 7.4), got {code!r}")
        if self.socket is None:
            raise RuntimeError(f"close({code}): only a WebSocket can be closed; use respond()")
        if not self.answerable:
            raise RuntimeError(f"close({code}): only on_request and on_error can close")
        # Nothing can be sent any more to a closed WebSocket: the exception goes on to the server, unanswered.
        if not self.socket.closed:
            self.answer = Close(code, reason)

    def limit_body(self, max_bytes: int) -> None:
        """Keep the lowest limit."""
        _check_limit(max_bytes)
        if self.body_limit is None or max_bytes < self.body_limit:
            self.body_limit = max_bytes

    def limit_message(self, max_bytes: int) -> None:
        """Check the limit, which has no effect on HTTP."""
        _check_limit(max_bytes)

    def send_for_app(self, message: Message) -> Awaitable[None]:
        """The application's ``send``."""
        raise NotImplementedError

    async def receive_for_app(self) -> Message:
        """The application's ``receive``."""
        raise NotImplementedError

    async def send_answer(self) -> None:
        """Send the answer that a hook has given."""
        raise NotImplementedError

    def start_response(self, message: Message) -> Message:
        """Call the hooks for the start of a response; the answer is the message to send in place of the given one."""
        self.status = message["status"]
        headers: list[tuple[bytes, bytes]] = [*message["headers"]] if "headers" in message else []
        for name, _ in headers:
            if not name.islower():
                headers = [(name.lower(), value) for name, value in headers]
                break
        self._response_headers = headers
        self._counted = -1
        for on_response_start in self.start_hooks:
            on_response_start(self)
        self.started = True
        message = dict(message)
        message["status"] = self.status
        message["headers"] = self._response_headers
        return message

    async def send_response(self, response: Response, kind: str) -> None:
        """Send a whole response, in messages of that kind."""
        await self.send_for_app({"type": f"{kind}.start", "status": response.status, "headers": response.headers})
        await self.send_for_app({"type": f"{kind}.body", "body": response.body})


def _check_limit(max_bytes: int) -> None:
    if max_bytes < 0:
        raise ValueError(f"max_bytes: expected 0 or more, got {max_bytes!r}")
