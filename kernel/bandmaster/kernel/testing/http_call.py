"""One HTTP request, from the server's side."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable

import anyio.lowlevel
from starlette.types import ASGIApp, Message, Scope

from bandmaster.kernel.testing.calls import ASGIViolationError, Call, ClientGoneError
from bandmaster.kernel.testing.mailbox import Closed, Mailbox

_BODILESS = frozenset((204, 304))

BODY_EXTENSION = "bandmaster_body"
"""The extension of a response that holds the body, for `read_chunk`."""


class HTTPCall(Call):
    """One HTTP request."""

    def __init__(self, name: str, app: ASGIApp, scope: Scope) -> None:
        super().__init__(name, app, scope)
        # One byte is the limit, so that a chunk of the request is made only when the application has the one before.
        self.inbox = Mailbox(1)
        self.body_error: Exception | None = None
        """The exception that the body of the request raised."""
        self.status: int | None = None
        self.complete = False
        """Whether the whole response has been sent."""
        self._declared: int | None = None
        self._sent = 0
        self._trailers = False

    async def feed(self, chunks: AsyncIterable[bytes]) -> None:
        """Send a body chunk by chunk, each when the application has received the one before."""
        iterator = aiter(chunks)
        try:
            async for chunk in iterator:
                self.inbox.put({"type": "http.request", "body": chunk, "more_body": True}, len(chunk))
                await self.inbox.wait_for_room()
                if self.inbox.closed:
                    break
            self.inbox.put({"type": "http.request", "body": b"", "more_body": False})
        except Exception as error:  # noqa: BLE001  # raised where the client waits
            self.body_error = error
            self.leave()
        finally:
            if isinstance(iterator, AsyncGenerator):
                await iterator.aclose()

    async def receive(self) -> Message:
        """The body, then the disconnect: when the client has disconnected, or has the whole response."""
        await anyio.lowlevel.checkpoint()
        try:
            return await self.inbox.get()
        except Closed:
            return {"type": "http.disconnect"}

    def leave(self) -> None:
        """Disconnect the client."""
        if not self.complete:
            self.client_left = True
        self.inbox.close(discard=True)
        self.outbox.close()

    def send_after_disconnect(self, message: Message) -> None:
        """Drop the message, or raise for an application that knows version 2.4 of the specification."""
        if _spec_version(self.scope) >= (2, 4):
            raise ClientGoneError("the client has disconnected")

    def check(self, message: Message) -> None:
        """Refuse a message out of turn, and a body that differs from its declared length."""
        kind = message["type"]
        extensions = self.scope.get("extensions") or {}
        if self.complete:
            raise ASGIViolationError(f"{self.name}: the application sent {kind!r} after the response had ended")
        if kind == "http.response.start" and self.status is None:
            self._check_start(message)
        elif kind == "http.response.body" and self.status is not None:
            self._check_body(message)
        elif kind == "http.response.trailers" and self._trailers:
            self.complete = not message.get("more_trailers", False)
        elif kind == "http.response.pathsend" and kind in extensions and self.status is not None:
            self.complete = True
        elif kind not in extensions:
            expected = "http.response.start" if self.status is None else "http.response.body"
            raise ASGIViolationError(f"{self.name}: the application sent {kind!r}, expected {expected!r}")
        if self.complete:
            self.inbox.close(discard=True)

    def check_complete(self) -> None:
        """Refuse a return without a whole response."""
        if not (self.complete or self.client_left or self.cancelled):
            missing = "the end of its response" if self.status is not None else "a response"
            raise ASGIViolationError(f"{self.name}: the application returned without {missing}")

    def _check_start(self, message: Message) -> None:
        headers = list(message.get("headers", ()))
        for name, value in headers:
            if not isinstance(name, bytes) or not isinstance(value, bytes):
                raise ASGIViolationError(f"{self.name}: headers must be bytes, got {(name, value)!r}")
        lengths = {value for name, value in headers if name.lower() == b"content-length"}
        if len(lengths) > 1:
            raise ASGIViolationError(f"{self.name}: more than one content-length: {sorted(lengths)}")
        self.status = message["status"]
        self._trailers = bool(message.get("trailers"))
        bodiless = self.scope["method"] == "HEAD" or self.status in _BODILESS
        self._declared = int(lengths.pop()) if lengths and not bodiless else None

    def _check_body(self, message: Message) -> None:
        body = message.get("body", b"")
        more = bool(message.get("more_body", False))
        self._sent += len(body)
        if self.status in _BODILESS and body:
            raise ASGIViolationError(f"{self.name}: a {self.status} has no body, got {len(body)} bytes")
        if self._declared is not None and (self._sent > self._declared or (self._sent < self._declared and not more)):
            raise ASGIViolationError(
                f"{self.name}: the body has {self._sent} bytes, but its content-length says {self._declared}"
            )
        if not more and not self._trailers:
            self.complete = True


def _spec_version(scope: Scope) -> tuple[int, ...]:
    return tuple(int(part) for part in scope["asgi"].get("spec_version", "2.0").split("."))
