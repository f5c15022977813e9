"""One call of an ASGI application in a task of its own, seen from the server's side."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import anyio
import anyio.lowlevel
from starlette.types import ASGIApp, Message, Scope

from bandmaster.kernel.lifecycle.coroutine_stacks import where
from bandmaster.kernel.testing.mailbox import Closed, Mailbox

HIGH_WATER = 65536
"""Bytes that an application may send ahead of its client, as with uvicorn."""

_BODILESS = frozenset((204, 304))


class ClientGoneError(OSError):
    """The client has gone, as the ASGI specification has it for ``send`` (2.4)."""


class ASGIViolationError(RuntimeError):
    """The application sent what a server would refuse."""


@contextmanager
def within(seconds: float | None, expectation: Callable[[], str]) -> Iterator[None]:
    """Bound a wait, and say what was waited for when the time is over.

    Raises:
        TimeoutError: the time is over.
    """
    with anyio.move_on_after(seconds) as scope:
        yield
    if scope.cancelled_caught:
        raise TimeoutError(f"{expectation()} within {seconds:g} s")


class Call:
    """One call: the application's task with its ``receive`` and ``send``, and what the client does at the other end.

    ``what`` names it in errors.
    """

    def __init__(self, what: str, app: ASGIApp, scope: Scope) -> None:
        self.what = what
        self.scope = scope
        self.inbox: Mailbox[Message] = Mailbox()
        self.outbox: Mailbox[Message] = Mailbox(HIGH_WATER)
        self.over = anyio.Event()
        """The application has returned or raised."""
        self.error: BaseException | None = None
        """What it raised."""
        self.left = False
        """Whether the client has gone."""
        self._app = app
        self._cut = False
        self._cancel = anyio.CancelScope()
        self._awaited: Any = None

    async def run(self) -> None:
        """Serve it. What the application raises is kept for whoever waits."""
        try:
            with self._cancel:
                self._awaited = self._app(self.scope, self.receive, self.send)
                await self._awaited
            self.check_complete()
        except BaseException as error:  # raised where the client waits
            if isinstance(error, anyio.get_cancelled_exc_class()):
                raise
            self.error = error
        finally:
            self._awaited = None
            self.inbox.close()
            self.outbox.close()
            self.over.set()

    async def receive(self) -> Message:
        """What the application calls."""
        raise NotImplementedError

    async def send(self, message: Message) -> None:
        """What the application calls."""
        # A server's write may give way, so no application may rely on its not doing so.
        await anyio.lowlevel.checkpoint()
        if self.left:
            self.sent_to_nobody(message)
            return
        self.check(message)
        self.outbox.put(message, size_of(message))
        await self.outbox.wait_for_room()

    def leave(self) -> None:
        """The client goes away."""
        raise NotImplementedError

    def check(self, message: Message) -> None:
        """Refuse what a server would refuse."""
        raise NotImplementedError

    def check_complete(self) -> None:
        """Refuse a return that a server would refuse."""
        raise NotImplementedError

    def sent_to_nobody(self, message: Message) -> None:
        """What a server does with a message when the client has gone."""
        raise NotImplementedError

    def cancel(self) -> None:
        """End the application's task."""
        self._cut = True
        self._cancel.cancel()

    @property
    def was_cut(self) -> bool:
        """Whether the kit has ended it."""
        return self._cut

    def where(self) -> str:
        """Where the application stands, for errors."""
        stack = where(self._awaited)
        return f"; the application stands at\n{stack}\n" if stack else ""

    def take_error(self) -> BaseException | None:
        """What the application raised, if anybody should hear of it: that the client has gone is no news."""
        error, self.error = self.error, None
        return None if error is None or (self.left and _says_that_the_client_has_gone(error)) else error


class HTTPCall(Call):
    """One HTTP request."""

    def __init__(self, what: str, app: ASGIApp, scope: Scope) -> None:
        super().__init__(what, app, scope)
        self.inbox = Mailbox(1)
        self.feeding_failed: Exception | None = None
        """What the client's body raised."""
        self.status: int | None = None
        self.complete = False
        """Whether the whole response has been sent."""
        self._declared: int | None = None
        self._sent = 0
        self._trailers = False

    async def feed(self, content: Iterable[bytes] | AsyncIterable[bytes]) -> None:
        """Send a body item by item, each when the application has taken the one before."""
        chunks = content if isinstance(content, AsyncIterable) else _each(content)
        try:
            async for chunk in chunks:
                self.inbox.put({"type": "http.request", "body": chunk, "more_body": True}, len(chunk))
                await self.inbox.wait_for_room()
                if self.inbox.closed:
                    break
            self.inbox.put({"type": "http.request", "body": b"", "more_body": False})
        except Exception as error:  # noqa: BLE001  # raised where the client waits
            self.feeding_failed = error
            self.leave()
        finally:
            if isinstance(chunks, AsyncGenerator):
                await chunks.aclose()

    async def receive(self) -> Message:
        """The body, then the disconnect: when the client leaves, or has all it wanted."""
        await anyio.lowlevel.checkpoint()
        try:
            return await self.inbox.get()
        except Closed:
            return {"type": "http.disconnect"}

    def leave(self) -> None:
        """The client goes away."""
        if not self.complete:
            self.left = True
        self.inbox.close(discard=True)
        self.outbox.close()

    def sent_to_nobody(self, message: Message) -> None:
        """Nothing, or an error for those who know of it."""
        if _spec_version(self.scope) >= (2, 4):
            raise ClientGoneError("the client has gone")

    def check(self, message: Message) -> None:
        """Refuse a message out of turn, and a body that isn't as long as was said."""
        kind = message["type"]
        extension = self.scope.get("extensions") or {}
        if self.complete:
            raise ASGIViolationError(f"{self.what}: the application sent {kind!r} after the response had ended")
        if kind == "http.response.start" and self.status is None:
            self._check_start(message)
        elif kind == "http.response.body" and self.status is not None:
            self._check_body(message)
        elif kind == "http.response.trailers" and self._trailers:
            self.complete = not message.get("more_trailers", False)
        elif kind == "http.response.pathsend" and kind in extension and self.status is not None:
            self.complete = True
        elif kind not in extension:
            expected = "http.response.start" if self.status is None else "http.response.body"
            raise ASGIViolationError(f"{self.what}: the application sent {kind!r}, expected {expected!r}")
        if self.complete:
            self.inbox.close(discard=True)

    def _check_start(self, message: Message) -> None:
        headers = list(message.get("headers", ()))
        for name, value in headers:
            if not isinstance(name, bytes) or not isinstance(value, bytes):
                raise ASGIViolationError(f"{self.what}: headers must be bytes, got {(name, value)!r}")
        lengths = {value for name, value in headers if name.lower() == b"content-length"}
        if len(lengths) > 1:
            raise ASGIViolationError(f"{self.what}: more than one content-length: {sorted(lengths)}")
        self.status = message["status"]
        self._trailers = bool(message.get("trailers"))
        bodiless = self.scope["method"] == "HEAD" or self.status in _BODILESS
        self._declared = int(lengths.pop()) if lengths and not bodiless else None

    def _check_body(self, message: Message) -> None:
        body = message.get("body", b"")
        more = bool(message.get("more_body", False))
        self._sent += len(body)
        if self.status in _BODILESS and body:
            raise ASGIViolationError(f"{self.what}: a {self.status} has no body, got {len(body)} bytes")
        if self._declared is not None and (self._sent > self._declared or (self._sent < self._declared and not more)):
            raise ASGIViolationError(
                f"{self.what}: the body has {self._sent} bytes, but its content-length says {self._declared}"
            )
        if not more and not self._trailers:
            self.complete = True

    def check_complete(self) -> None:
        """Refuse a return without a whole response."""
        if not (self.complete or self.left or self.was_cut):
            missing = "the end of its response" if self.status is not None else "a response"
            raise ASGIViolationError(f"{self.what}: the application returned without {missing}")


class SocketCall(Call):
    """One WebSocket."""

    def __init__(self, what: str, app: ASGIApp, scope: Scope) -> None:
        super().__init__(what, app, scope)
        self.state = "connecting"
        """``connecting``, ``open``, ``answering`` (with a response in place of the WebSocket), ``closed``."""
        self._disconnect: Message = {"type": "websocket.disconnect", "code": 1005, "reason": ""}
        self.inbox.put({"type": "websocket.connect"})

    async def receive(self) -> Message:
        """The connect, the messages, then the disconnect."""
        await anyio.lowlevel.checkpoint()
        try:
            return await self.inbox.get()
        except Closed:
            return dict(self._disconnect)

    def leave(self, code: int = 1006, reason: str = "") -> None:
        """The client closes, or goes away without a word: 1006."""
        if self.state != "closed":
            self.left = True
            self._close(code, reason)
        self.outbox.close()

    def _close(self, code: int, reason: str) -> None:
        self.state = "closed"
        self._disconnect = {"type": "websocket.disconnect", "code": code, "reason": reason}
        self.inbox.close()

    def sent_to_nobody(self, message: Message) -> None:
        """An error, unless it only closes what is closed."""
        if message["type"] == "websocket.send":
            raise ClientGoneError("the client has gone")

    def check(self, message: Message) -> None:
        """Refuse a message out of turn."""
        kind = message["type"]
        match self.state, kind:
            case "connecting", "websocket.accept":
                self.state = "open"
            case "connecting" | "open", "websocket.close":
                self._close(message.get("code", 1000), message.get("reason") or "")
            case "connecting", "websocket.http.response.start" if self._can_answer:
                self.state = "answering"
            case "answering", "websocket.http.response.body":
                if not message.get("more_body", False):
                    self._close(1006, "")
            case "open", "websocket.send":
                if (message.get("text") is None) == (message.get("bytes") is None):
                    raise ASGIViolationError(f"{self.what}: expected either text or bytes, got {message!r}")
            case _:
                raise ASGIViolationError(f"{self.what}: the application sent {kind!r} while it was {self.state}")

    @property
    def _can_answer(self) -> bool:
        return "websocket.http.response" in (self.scope.get("extensions") or {})

    def check_complete(self) -> None:
        """Refuse a return that leaves the client without an answer."""
        if self.state in ("connecting", "answering") and not self.was_cut:
            raise ASGIViolationError(f"{self.what}: the application returned without accepting or refusing")


def size_of(message: Mapping[str, Any]) -> int:
    """How many bytes, or characters, a message carries."""
    return len(message.get("body") or message.get("bytes") or message.get("text") or b"")


async def _each(items: Iterable[bytes]) -> AsyncGenerator[bytes, None]:
    for item in items:
        yield item


def _spec_version(scope: Scope) -> tuple[int, ...]:
    return tuple(int(part) for part in scope["asgi"].get("spec_version", "2.0").split("."))


def _says_that_the_client_has_gone(error: BaseException) -> bool:
    from starlette.requests import ClientDisconnect
    from starlette.websockets import WebSocketDisconnect

    if isinstance(error, BaseExceptionGroup):
        return all(map(_says_that_the_client_has_gone, error.exceptions))
    return isinstance(error, (OSError, ClientDisconnect, WebSocketDisconnect))
