"""An application with every part of authentication, whose users log in at a real provider."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import distribution
from typing import Any
from urllib.parse import urlsplit

import httpx2
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from tests.contrib.oidc.providers.browser import Browser, Callback
from tests.contrib.oidc.providers.certified import Client, OidcProvider
from tests.contrib.oidc.providers.hostile import HostileProvider

from bandmaster.contrib.oidc import AuthSettings, get_principal, require
from bandmaster.kernel import KernelSettings, create_app
from bandmaster.kernel.testing import Running, run

PUBLIC_URL = "http://127.0.0.1:8000"
API = "https://shop.example"
GROUPS = {f"bandmaster.{kind}" for kind in ("lifespan", "values", "middleware", "routes", "error_handlers")}
PARTS = [
    point.load()
    for name in ("http", "web", "oidc")
    for point in distribution(f"bandmaster-{name}").entry_points
    if point.group in GROUPS
]
NAVIGATION = {"sec-fetch-mode": "navigate", "sec-fetch-dest": "document", "sec-fetch-site": "same-origin"}


async def show_caller(request: Request) -> Response:
    """Say who calls."""
    principal = get_principal(request.scope)
    assert principal is not None
    return JSONResponse({"sub": principal.subject, "kind": principal.kind, "scopes": sorted(principal.scopes)})


def add_client(provider: OidcProvider, **metadata: Any) -> Client:
    """Register the shop at the certified provider."""
    return provider.add_client(
        f"{PUBLIC_URL}/auth/callback", post_logout_redirect_uris=[f"{PUBLIC_URL}/auth/logged-out"], **metadata
    )


@asynccontextmanager
async def run_shop(issuer: str, client: Client | None = None, **settings: Any) -> AsyncIterator[Running]:
    """The shop while it runs. ``settings`` are those of `AuthSettings`."""
    known: dict[str, Any] = {"issuer": issuer, "audiences": (API,), "public_url": PUBLIC_URL}
    if client is not None:
        known |= {"client_id": client.client_id, "client_secret": client.client_secret}
    host = Starlette(
        routes=[
            Route("/me", show_caller, middleware=[require()]),
            Route("/orders", show_caller, middleware=[require("read")]),
        ]
    )
    auth = AuthSettings(**{**known, **settings})
    app = create_app(
        host,
        contributions=PARTS,
        discover=False,
        overrides={AuthSettings: auth},
        settings=KernelSettings(environment="test"),
    )
    async with run(app, base_url=PUBLIC_URL, timeout=60) as running:
        yield running


async def begin_login(running: Running) -> str:
    """The address at the provider to which the login sends the browser."""
    response = await running.client.get("/auth/login", headers=NAVIGATION)
    assert response.is_redirect, response.text
    return response.headers["location"]


async def finish_login(running: Running, callback: Callback) -> httpx2.Response:
    """Bring the provider's answer to the shop. The response of the callback."""
    assert callback.url.startswith(f"{PUBLIC_URL}/")
    if callback.form is not None:
        return await running.client.post(callback.url, data=callback.form, headers={"sec-fetch-site": "cross-site"})
    return await running.client.get(callback.url, headers={**NAVIGATION, "sec-fetch-site": "cross-site"})


async def log_in(
    running: Running, provider: OidcProvider | HostileProvider, user: str | None = None, browser: Browser | None = None
) -> httpx2.Response:
    """Go through a whole login. The response of the callback."""
    url = await begin_login(running)
    if browser is not None:
        return await finish_login(running, await browser.follow(url, user=user))
    return await finish_login(running, await provider.authorize(url, user=user))


async def ask(running: Running, path: str = "/me", token: str | None = None) -> httpx2.Response:
    """Call a route as a script of the page does, or with a bearer token."""
    headers = {"sec-fetch-mode": "cors", "sec-fetch-site": "same-origin"}
    return await running.client.get(path, headers=headers if token is None else {"authorization": f"Bearer {token}"})


def list_cookies(running: Running) -> set[str]:
    """The names of the browser's cookies at the shop."""
    return {cookie.name for cookie in running.client.cookies.jar}


def path_of(url: str) -> str:
    """The path of an address."""
    return urlsplit(url).path
