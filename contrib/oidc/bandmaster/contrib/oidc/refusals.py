"""Refuse a request or a WebSocket: constant texts for the client, the reason for the log."""

from __future__ import annotations

import math
from collections.abc import Mapping

from starlette.requests import Request
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from bandmaster.contrib.oidc.auth_events import report_auth_event
from bandmaster.contrib.oidc.errors import (
    AuthUnavailableError,
    CredentialError,
    InsufficientScopeError,
    MissingCredentialError,
)
from bandmaster.contrib.oidc.principal import get_principal
from bandmaster.contrib.web import ProblemDetails, log_fields, problem_response, refuse_websocket
from bandmaster.kernel import current_exchange, get_logger

UNAUTHORIZED = 3000
"""The code that a WebSocket is closed with when the credential is missing, doesn't hold, or has ended (IANA's registry
of close codes)."""
FORBIDDEN = 3003
"""The code that a WebSocket is closed with when the credential lacks a scope (IANA's registry of close codes)."""
TRY_AGAIN_LATER = 1013
"""The code that a WebSocket is closed with when the credential can't be checked now (IANA's registry)."""
_POLICY_VIOLATION = 1008

_DETAILS = {
    "": "This needs authentication.",
    "invalid_token": "The credential is invalid, has expired or was revoked.",
    "invalid_request": "The request has credentials in several places, or in a form that can't be read.",
    "insufficient_scope": "The credential doesn't allow this.",
}
_UNAVAILABLE = "The credential can't be checked at the moment. Try again later."


async def refuse(scope: Scope, receive: Receive, send: Send, error: CredentialError | AuthUnavailableError) -> None:
    """Answer a request, or refuse or close a WebSocket, and log the reason.

    The client gets a status, a problem (RFC 9457) with a constant text, and ``WWW-Authenticate`` as RFC 6750 (section
    3) defines it. The error's own text is logged. A WebSocket that is accepted already is closed with `UNAUTHORIZED`,
    `FORBIDDEN` or `TRY_AGAIN_LATER`; an earlier refusal is a response where the server can send one, and otherwise a
    close, which the client sees as 403.
    """
    problem, headers = describe_refusal(error)
    log_refusal(scope, error, problem.status)
    if scope["type"] != "websocket":
        await problem_response(Request(scope, receive), problem, headers)(scope, receive, send)
        return
    await refuse_open_websocket(WebSocket(scope, receive, send), problem, headers)


async def refuse_open_websocket(websocket: WebSocket, problem: ProblemDetails, headers: Mapping[str, str]) -> bool:
    """Refuse a WebSocket, or close an accepted one. Returns whether there was something to refuse or to close."""
    exchange = current_exchange()
    # Not from the object: it may be a new one, which knows nothing of the messages that others have sent.
    if exchange is not None and exchange.socket is not None and exchange.started and not exchange.socket.closed:
        await websocket.close(choose_close_code(problem.status))
        return True
    return await refuse_websocket(websocket, problem, headers)


def describe_refusal(error: CredentialError | AuthUnavailableError) -> tuple[ProblemDetails, dict[str, str]]:
    """The problem and the headers for an error. Neither says more than RFC 6750 (section 3.1) allows."""
    if isinstance(error, AuthUnavailableError):
        seconds = max(1, math.ceil(error.retry_after or 1))
        return ProblemDetails(status=503, detail=_UNAVAILABLE), {"retry-after": str(seconds)}
    detail = _DETAILS.get(error.code)
    members = {"error": error.code} if error.code else {}
    if isinstance(error, InsufficientScopeError) and error.scopes:
        members["scope"] = " ".join(error.scopes)  # pages of other origins can't read the header
    return ProblemDetails(status=error.status, detail=detail, members=members), _make_challenge(error)


def _make_challenge(error: CredentialError) -> dict[str, str]:
    if isinstance(error, MissingCredentialError):
        # RFC 6750, 3.1: a request without any credential is told no error code.
        return {"www-authenticate": "Bearer"}
    if error.code not in _DETAILS:
        return {}
    parameters = [f'error="{error.code}"']
    if isinstance(error, InsufficientScopeError) and error.scopes:
        parameters.append(f'scope="{" ".join(error.scopes)}"')
    return {"www-authenticate": f"Bearer {', '.join(parameters)}"}


def choose_close_code(status: int) -> int:
    """The code with which an accepted WebSocket is closed in place of a response with this status."""
    return {401: UNAUTHORIZED, 403: FORBIDDEN, 503: TRY_AGAIN_LATER}.get(status, _POLICY_VIOLATION)


def log_refusal(scope: Scope, error: CredentialError | AuthUnavailableError, status: int) -> None:
    """Log a refusal with the reason, which the client isn't told, and report it as an event."""
    log = get_logger("bandmaster.oidc")
    # A WebSocket has no method.
    fields = {name: value for name, value in (("method", scope.get("method")), ("path", scope["path"])) if value}
    fields |= {"status": status, "error": type(error).__name__, "reason": str(error), **log_fields()}
    if isinstance(error, AuthUnavailableError):
        log.warning("a credential can't be checked", **fields)
    else:
        log.info("request refused", **fields)
    principal = get_principal(scope)
    report_auth_event(scope, "request.refused", succeeded=False, principal=principal, reason=str(error), status=status)
