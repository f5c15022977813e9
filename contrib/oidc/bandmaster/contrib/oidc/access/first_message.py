"""A WebSocket that is accepted before the app is called, so that the first message can be the token."""

from __future__ import annotations

import json

import anyio
from starlette.types import Message, Receive, Send

from bandmaster.contrib.oidc.access.bearer_token import check_form
from bandmaster.contrib.oidc.errors import InvalidRequestError, MissingCredentialError
from bandmaster.contrib.oidc.refusals import choose_close_code

MEMBER = "access_token"
"""The member of the first message that is the token: ``{"access_token": "..."}``."""
_MAX_CHARACTERS = 64 * 1024


async def receive_token(receive: Receive, seconds: float) -> str | None:
    """Receive the first message, and return the token in it; None if the client leaves.

    Raises:
        MissingCredentialError: no message comes in time.
        InvalidRequestError: the message has no well-formed token.
    """
    message: Message | None = None
    with anyio.move_on_after(seconds):
        message = await receive()
    if message is None:
        raise MissingCredentialError(f"the WebSocket sent no token within {seconds:g} s")
    return _read_token(message) if message["type"] == "websocket.receive" else None


def _read_token(message: Message) -> str:
    text = message.get("text")
    if not isinstance(text, str) or len(text) > _MAX_CHARACTERS:
        raise InvalidRequestError("the first message is no text, or too long")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidRequestError("the first message is no JSON") from None
    token = content.get(MEMBER) if isinstance(content, dict) else None
    if not isinstance(token, str):
        raise InvalidRequestError(f"the first message has no {MEMBER}")
    return check_form(token, "the first message")


class AcceptedWebSocket:
    """A WebSocket that is accepted already, for an app that expects to accept it.

    The app receives a connect. The app's accept isn't sent again, and a response in its place becomes a close.
    """

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._has_connected = False
        self._is_accepted_by_app = False

    async def accept(self, subprotocol: str) -> None:
        """Accept, in place of the app."""
        await self._receive()
        await self._send({"type": "websocket.accept", "subprotocol": subprotocol, "headers": []})

    async def receive(self) -> Message:
        """The app's ``receive``."""
        if self._has_connected:
            return await self._receive()
        self._has_connected = True
        return {"type": "websocket.connect"}

    async def send(self, message: Message) -> None:
        """The app's ``send``."""
        kind = message["type"]
        if self._is_accepted_by_app or kind == "websocket.close":
            await self._send(message)
        elif kind == "websocket.accept":
            self._is_accepted_by_app = True
        elif kind == "websocket.http.response.start":
            await self._send({"type": "websocket.close", "code": choose_close_code(message["status"]), "reason": ""})
