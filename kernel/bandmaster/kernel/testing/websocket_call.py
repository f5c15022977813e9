"""One WebSocket, from the server's side."""

from __future__ import annotations

import anyio.lowlevel
from starlette.types import ASGIApp, Message, Scope

from bandmaster.kernel.testing.calls import ASGIViolationError, Call, ClientGoneError
from bandmaster.kernel.testing.mailbox import Closed


class WebSocketCall(Call):
    """One WebSocket."""

    def __init__(self, name: str, app: ASGIApp, scope: Scope) -> None:
        super().__init__(name, app, scope)
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
        """Close the client's end; 1006 is a lost connection."""
        if self.state != "closed":
            self.client_left = True
            self._close(code, reason)
        self.outbox.close()

    def send_after_disconnect(self, message: Message) -> None:
        """Raise, unless the message only closes the closed WebSocket."""
        if message["type"] == "websocket.send":
            raise ClientGoneError("the client has disconnected")

    def check(self, message: Message) -> None:
        """Refuse a message out of turn."""
        kind = message["type"]
        match self.state, kind:
            case "connecting", "websocket.accept":
                self.state = "open"
            case "connecting" | "open", "websocket.close":
                self._close(message.get("code", 1000), message.get("reason") or "")
            case "connecting", "websocket.http.response.start" if self._may_answer:
                self.state = "answering"
            case "answering", "websocket.http.response.body":
                if not message.get("more_body", False):
                    self._close(1006, "")
            case "open", "websocket.send":
                if (message.get("text") is None) == (message.get("bytes") is None):
                    raise ASGIViolationError(f"{self.name}: expected either text or bytes, got {message!r}")
            case _:
                raise ASGIViolationError(f"{self.name}: the application sent {kind!r} while it was {self.state}")

    def check_complete(self) -> None:
        """Refuse a return that leaves the client without an answer."""
        if self.state in ("connecting", "answering") and not self.cancelled:
            raise ASGIViolationError(f"{self.name}: the application returned without accepting or refusing")

    @property
    def _may_answer(self) -> bool:
        return "websocket.http.response" in (self.scope.get("extensions") or {})

    def _close(self, code: int, reason: str) -> None:
        self.state = "closed"
        self._disconnect = {"type": "websocket.disconnect", "code": code, "reason": reason}
        self.inbox.close()
