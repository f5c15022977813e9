"""Refuse a request that no handler shall see: a stand-in for `access.refusals` until both are in one branch."""

from __future__ import annotations

import math

from starlette.requests import Request
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from bandmaster.contrib.oidc.errors import AuthUnavailableError, CredentialError
from bandmaster.contrib.web import ProblemDetails, problem_response, refuse_websocket


async def refuse(scope: Scope, receive: Receive, send: Send, error: CredentialError | AuthUnavailableError) -> None:
    """Answer a request, or refuse a WebSocket."""
    headers: dict[str, str] = {}
    if isinstance(error, AuthUnavailableError):
        problem = ProblemDetails(status=503, detail="The credential can't be checked at the moment. Try again later.")
        headers = {"retry-after": str(max(1, math.ceil(error.retry_after or 1)))}
    else:
        problem = ProblemDetails(status=error.status, detail=_DETAILS.get(error.code), members={"error": error.code})
    if scope["type"] == "websocket":
        await refuse_websocket(WebSocket(scope, receive, send), problem, headers)
        return
    await problem_response(Request(scope, receive), problem, headers)(scope, receive, send)


_DETAILS = {"invalid_token": "The credential is invalid, has expired or was revoked."}
