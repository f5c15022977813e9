"""Applications of these tests: some handlers, and the parts of oidc and web around them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from bandmaster.contrib.oidc import AccessSettings, AuthSettings, BearerAuth, current_principal, get_principal
from bandmaster.contrib.oidc.access.context_layer import PrincipalContextLayer
from bandmaster.contrib.oidc.access.error_handlers import credential_error
from bandmaster.contrib.oidc.access.open_websockets import WebSocketEndLayer, open_websockets
from bandmaster.contrib.oidc.testing import ActingUsers
from bandmaster.contrib.web import (
    CORSLayer,
    ProblemsLayer,
    RequestContextLayer,
    http_exception,
    log_fields,
    transient_error,
    unhandled_error,
)
from bandmaster.kernel.testing import Running, run

WEB = (RequestContextLayer, ProblemsLayer, CORSLayer, http_exception, transient_error, unhandled_error)
OIDC = (PrincipalContextLayer, BearerAuth, WebSocketEndLayer, open_websockets, credential_error)


async def describe_caller(request: Request) -> JSONResponse:
    """Who calls, as the request, the context and the log say."""
    found, current = get_principal(request.scope), current_principal()
    return JSONResponse(
        {
            "request": found and found.subject,
            "state": getattr(request.state, "principal", None) and request.state.principal.subject,
            "context": current and current.subject,
            "user": log_fields().get("user"),
        }
    )


async def echo(websocket: WebSocket) -> None:
    """Say who calls, then send every message back."""
    await websocket.accept()
    principal = current_principal()
    await websocket.send_text(principal.subject if principal else "nobody")
    async for text in websocket.iter_text():
        await websocket.send_text(text)


ROUTES = (Route("/", describe_caller), WebSocketRoute("/ws", echo))


def serve(
    app: Any = None,
    *,
    users: ActingUsers | None = None,
    routes: Iterable[Any] = ROUTES,
    parts: Iterable[Any] = (),
    overrides: Mapping[Any, Any] | None = None,
    access: Mapping[str, Any] | None = None,
    auth: Mapping[str, Any] | None = None,
    **options: Any,
) -> AbstractAsyncContextManager[Running]:
    """Run an app with the parts of oidc and web. ``access`` and ``auth`` are settings."""
    given = {
        AccessSettings: AccessSettings(**(access or {})),
        AuthSettings: AuthSettings(**(auth or {})),
        **(users.overrides if users is not None else {}),
        **(overrides or {}),
    }
    return run(
        app if app is not None else Starlette(routes=list(routes)),
        contributions=[*WEB, *OIDC, *parts],
        overrides=given,
        **options,
    )
