"""A small application with a login, run with providers in the same process."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio
import httpx2
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from tests.contrib.oidc.clock import Clock
from tests.contrib.oidc.login.browser import Browser
from tests.contrib.oidc.login.openid_provider import OpenIDProvider

from bandmaster.contrib.oidc import (
    Login,
    LoginSettings,
    MemorySessionStore,
    SessionAuth,
    SessionStore,
    get_session,
    identity_providers,
    login_routes,
)
from bandmaster.contrib.oidc.issuers.provider import Providers
from bandmaster.contrib.oidc.login.addresses import DEVELOPMENT_URL, find_origin
from bandmaster.contrib.oidc.login.component import find_login_problems, make_login
from bandmaster.contrib.oidc.login.providers import DiscoveredProviders
from bandmaster.contrib.oidc.principal import get_principal
from bandmaster.contrib.oidc.sessions.settings import SessionSettings
from bandmaster.contrib.oidc.settings import AuthSettings, IssuerSettings
from bandmaster.contrib.web import ProblemDetails, problem_response
from bandmaster.kernel import Context, KernelSettings, LifespanBand, lifespan
from bandmaster.kernel.testing import Running, run

APP = "https://app.example"


async def show_home(request: Request) -> Response:
    principal, session = get_principal(request.scope), get_session(request.scope)
    return JSONResponse(
        {
            "user": None if principal is None else principal.subject,
            "issuer": None if principal is None else principal.issuer,
            "token": None if session is None else session.access_token,
        }
    )


async def show_private(request: Request) -> Response:
    """Answer as a route under ``require()`` does."""
    if get_principal(request.scope) is None:
        problem = ProblemDetails(status=401, detail="This needs authentication.")
        return problem_response(request, problem, {"www-authenticate": "Bearer"})
    return await show_home(request)


async def change(request: Request) -> Response:
    await request.body()
    return await show_private(request)


async def serve_socket(socket: WebSocket) -> None:
    principal = get_principal(socket.scope)
    await socket.accept()
    await socket.send_text("nobody" if principal is None else principal.subject)
    async for text in socket.iter_text():
        await socket.send_text(text)


def make_host() -> Starlette:
    return Starlette(
        routes=[
            Route("/", show_home),
            Route("/private", show_private, methods=["GET", "HEAD"]),
            Route("/private/{rest:path}", show_private),
            Route("/change", change, methods=["POST", "PUT", "DELETE"]),
            WebSocketRoute("/socket", serve_socket),
        ]
    )


class Sites(httpx2.AsyncBaseTransport):
    """The providers, by origin, in place of the network."""

    def __init__(self, sites: dict[str, httpx2.ASGITransport]) -> None:
        self._sites = sites

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        return await self._sites[f"{request.url.scheme}://{request.url.host}"].handle_async_request(request)


@dataclass
class Shop:
    """The running application, and what it runs with."""

    running: Running
    provider: OpenIDProvider
    store: SessionStore
    clock: Clock
    login: Login
    sites: dict[str, httpx2.AsyncClient]
    home: str

    def browser(self) -> Browser:
        """Another browser, without cookies."""
        return Browser(self.sites, self.home)

    async def log_in(self, return_to: str = "/", browser: Browser | None = None) -> Browser:
        """A browser that has logged in."""
        browser = browser or self.browser()
        response = await browser.visit(f"/auth/login?return_to={return_to}")
        assert response.status_code == 200, response.text
        return browser

    async def wait_refreshed(self) -> None:
        """Wait until no refresh is under way."""
        while not self.login.refresher.is_idle:
            await anyio.sleep(0.001)


@asynccontextmanager
async def open_shop(
    provider: OpenIDProvider | None = None,
    *,
    others: Sequence[OpenIDProvider] = (),
    store: SessionStore | None = None,
    clock: Clock | None = None,
    public_url: str | None = APP,
    settings: dict[str, Any] | None = None,
    issuer: dict[str, Any] | None = None,
    auth: dict[str, Any] | None = None,
    sessions: dict[str, Any] | None = None,
    kernel: KernelSettings | None = None,
    contributions: Sequence[Any] = (),
) -> AsyncGenerator[Shop, None]:
    """Run the application: ``provider`` is the one called "default", ``others`` are "second", "third" and so on."""
    clock = clock or Clock()
    first = provider or OpenIDProvider()
    providers = dict(zip(("default", "second", "third"), (first, *others), strict=False))
    for one in providers.values():
        one.clock = clock
    store = store or MemorySessionStore(clock=clock)
    auth_settings = AuthSettings(
        public_url=public_url,
        issuers=tuple(make_issuer(name, one, issuer or {}) for name, one in providers.items()),
        **(auth or {}),
    )
    async with AsyncExitStack() as stack:
        sites = Sites({one.issuer: httpx2.ASGITransport(one) for one in providers.values()})
        outgoing = await stack.enter_async_context(httpx2.AsyncClient(transport=sites))
        running = await stack.enter_async_context(
            run(
                make_host(),
                contributions=[identity_providers, make_component(clock), SessionAuth, login_routes, *contributions],
                overrides={
                    AuthSettings: auth_settings,
                    LoginSettings: LoginSettings(**(settings or {})),
                    SessionSettings: SessionSettings(**(sessions or {})),
                    SessionStore: store,
                    httpx2.AsyncClient: outgoing,
                },
                settings=kernel or KernelSettings(environment="test"),
                base_url=find_origin(public_url or DEVELOPMENT_URL) or "",
            )
        )
        login = running.resources[Login]
        home = login.addresses.origin
        visited = await stack.enter_async_context(httpx2.AsyncClient(transport=sites))
        clients = {home: running.client, **dict.fromkeys([one.issuer for one in providers.values()], visited)}
        yield Shop(running, first, store, clock, login, clients, home)


def make_issuer(name: str, provider: OpenIDProvider, changes: dict[str, Any]) -> IssuerSettings:
    """The settings of a provider."""
    values = {
        "issuer": provider.issuer,
        "name": name,
        "client_id": provider.client_id,
        "client_secret": provider.client_secret,
        "audiences": (provider.client_id,),
        **changes,
    }
    return IssuerSettings(**values)


def make_component(clock: Clock) -> Any:
    """The login's component, with a clock of the test."""

    @lifespan(band=LifespanBand.SERVICES, name="login", roles={"web"}, check=find_login_problems)
    async def login(
        auth: AuthSettings,
        settings: LoginSettings,
        sessions: SessionSettings,
        store: SessionStore,
        providers: Providers,
        client: httpx2.AsyncClient,
        context: Context,
    ) -> AsyncIterator[Login]:
        async with anyio.create_task_group() as tasks:
            yield make_login(auth, settings, sessions, store, DiscoveredProviders(providers), client, tasks, clock)

    return login
