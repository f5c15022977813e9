"""Give FastAPI's docs pages and OpenAPI documents the login and the requirements of the application.

Replaces the ``openapi`` method of FastAPI apps and the apps of their docs routes. ``test_docs_page.py`` fails if a new
version of FastAPI doesn't allow that.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bandmaster.contrib.oidc.access.openapi import Document, describe_security, make_docs_login
from bandmaster.contrib.oidc.access.route_reading import list_apps, read_required_routes
from bandmaster.contrib.oidc.access.security_schemes import DocumentedSecurity, SecurityDescription
from bandmaster.contrib.oidc.access.settings import AccessSettings
from bandmaster.contrib.oidc.errors import AuthError
from bandmaster.contrib.oidc.settings import AuthSettings
from bandmaster.kernel import PermanentError, RouteContribution, current_exchange, load_settings

_EQUIPPED = "_bandmaster_documented_security"
"""The attribute of an app that says that the app is equipped."""
_OPENER_POLICY = "cross-origin-opener-policy"


class LostRequirementError(AuthError, PermanentError):
    """A requirement of a route has no effect, so that anybody may call the route."""


class SecuredOpenAPI:
    """Replaces an app's ``openapi`` method, and adds the requirements to the document."""

    def __init__(self, app: Any, make: Callable[[], Document], mounted_at: str) -> None:
        self._app = app
        self._make = make
        self._mounted_at = mounted_at
        self._made: Document | None = None
        self._security: DocumentedSecurity | None = None
        self._described: Document = {}

    def __call__(self) -> Document:
        """The document, with the requirements."""
        document, security = self._make(), _find_security()
        # FastAPI makes the document once and returns the same object from then on.
        if document is not self._made or security != self._security:
            routes = read_required_routes(self._app, mounts=False)
            self._described = describe_security(document, routes, security, self._mounted_at)
            self._made, self._security = document, security
        return self._described


class DocsRoute:
    """Serves a docs page, an OpenAPI document, or the page to which a provider redirects."""

    def __init__(self, route_app: ASGIApp, host: Any, *, logs_in: bool = False, opener_policy: str = "") -> None:
        self._route_app = route_app
        self._host = host
        self._own_login = host.swagger_ui_init_oauth
        self._logs_in = logs_in
        self._opener_policy = opener_policy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        description = _find_description(scope)
        if description is not None:
            await description.discover()
            if self._logs_in and self._own_login is None:
                # The page is rendered with this attribute, and settings aren't known before the start.
                self._host.swagger_ui_init_oauth = make_docs_login(description.describe())

        async def send_policy(message: Message) -> None:
            # The login opens a window at the provider, which must find the page that has opened it again.
            if message["type"] == "http.response.start" and self._opener_policy:
                message.setdefault("headers", [])
                MutableHeaders(scope=message).setdefault(_OPENER_POLICY, self._opener_policy)
            await send(message)

        await self._route_app(scope, receive, send_policy)


def _find_security() -> DocumentedSecurity:
    exchange = current_exchange()
    description = None if exchange is None else _find_description(exchange.scope)
    if description is None:  # a program that writes the document to a file
        description = SecurityDescription(load_settings(AuthSettings), load_settings(AccessSettings))
    return description.describe()


def _find_description(scope: Scope) -> SecurityDescription | None:
    resources = (scope.get("state") or {}).get("resources")
    return None if resources is None else resources.get(SecurityDescription)


def _install(host: Any) -> list[Any]:
    """Equip the FastAPI apps: the host, and those mounted there.

    Raises:
        LostRequirementError: a requirement has no effect.
    """
    fastapi = sys.modules.get("fastapi")
    if fastapi is None:
        return []
    for route in read_required_routes(host):
        for mistake in route.mistakes:
            raise LostRequirementError(f"{route.path}: {mistake}")
    for mounted_at, app in list_apps(host):
        # An app may be composed several times, as tests do, and others may have replaced its method since.
        if isinstance(app, fastapi.FastAPI) and _EQUIPPED not in vars(app):
            setattr(app, _EQUIPPED, True)
            app.openapi = SecuredOpenAPI(app, app.openapi, mounted_at)
            _equip_docs(app)
    return []


def _equip_docs(app: Any) -> None:
    allows_popups = partial(DocsRoute, logs_in=True, opener_policy="same-origin-allow-popups")
    pages: dict[str | None, Callable[[ASGIApp, Any], DocsRoute]] = {
        app.openapi_url: DocsRoute,
        app.docs_url: allows_popups,
        app.swagger_ui_oauth2_redirect_url: partial(DocsRoute, opener_policy="unsafe-none"),
    }
    for route in app.routes:
        path = getattr(route, "path", None)  # a route by host name has none, and neither has a page that is off
        make = None if path is None else pages.get(path)
        if make is not None and getattr(route, "dependant", None) is None:
            route.app = make(route.app, app)


documented_security = RouteContribution(
    name="documented_security",
    routes=_install,
    description="Adds no routes: describes in FastAPI's OpenAPI documents who may call, and lets docs pages log in.",
)
