"""A stand-in for `bandmaster.contrib.oidc.access.refusals`, with the same signature."""

from __future__ import annotations

from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from bandmaster.contrib.oidc.errors import AuthUnavailableError, CredentialError


async def refuse(scope: Scope, receive: Receive, send: Send, error: CredentialError | AuthUnavailableError) -> None:
    """Answer a request, or close a WebSocket, without a word about the reason."""
    status = error.status if isinstance(error, CredentialError) else 503
    if scope["type"] == "websocket":
        await WebSocket(scope, receive, send).close(1008)
    else:
        headers = {"www-authenticate": "Bearer"} if status == 401 else {}
        await JSONResponse({"status": status}, status, headers)(HTTPConnection(scope).scope, receive, send)
