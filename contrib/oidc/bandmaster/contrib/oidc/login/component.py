"""The component of the login: checks the settings, and makes the object that the layer and the routes share."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator

import anyio
import httpx2
from anyio.abc import TaskGroup
from pydantic import SecretStr

from bandmaster.contrib.oidc.issuers.provider import Providers
from bandmaster.contrib.oidc.login.addresses import DEVELOPMENT_URL, Addresses
from bandmaster.contrib.oidc.login.authorization import list_scopes
from bandmaster.contrib.oidc.login.cookies import CookieWriter
from bandmaster.contrib.oidc.login.id_token import read_max_age
from bandmaster.contrib.oidc.login.providers import DiscoveredProviders, ProviderDirectory
from bandmaster.contrib.oidc.login.service import Login
from bandmaster.contrib.oidc.login.settings import LoginSettings, is_login_on
from bandmaster.contrib.oidc.request_params import reveal
from bandmaster.contrib.oidc.sessions.settings import SessionSettings
from bandmaster.contrib.oidc.sessions.store import SessionStore
from bandmaster.contrib.oidc.settings import AuthSettings, IssuerSettings
from bandmaster.kernel import Context, KernelSettings, LifespanBand, Problem, lifespan

_OFFLINE = "offline_access"
_STORING = 35
"""Seconds at the stop in which new tokens are stored, after the provider's answer."""


def find_login_problems(
    auth: AuthSettings, settings: LoginSettings, sessions: SessionSettings, kernel: KernelSettings
) -> Iterator[Problem | str]:
    """The settings with which a login can't work, or isn't safe."""
    yield from _find_address_problems(auth, kernel)
    if not sessions.keys:
        yield from kernel.refuse_in_production(
            f"{sessions.variable('keys')} isn't set, so logins under way are lost with the process, and can't be "
            "finished in another one",
            "Set it to JSON with a key of 32 characters or more by its id.",
        )
    for provider in auth.providers:
        if not provider.has_login:
            continue
        if not sessions.is_server_side and _asks_for_refresh_token(provider):
            yield Problem(
                f"the provider {provider.name!r} is asked for a refresh token, and sessions in cookies can't hold one, "
                "since a late response would put a used one back.",
                f"Set {sessions.variable('store')} to memory, redis or sql, or ask for no refresh token.",
            )
        try:
            read_max_age(provider)
        except ValueError as error:
            yield Problem(f"the provider {provider.name!r}: {error}.", "Correct its authorize_params.")


def _asks_for_refresh_token(provider: IssuerSettings) -> bool:
    # access_type is Google's own way to ask.
    return _OFFLINE in list_scopes(provider) or reveal(provider.authorize_params).get("access_type") == "offline"


def _find_address_problems(auth: AuthSettings, kernel: KernelSettings) -> Iterator[Problem | str]:
    variable = auth.variable("public_url")
    if auth.public_url is None:
        yield from kernel.refuse_in_production(
            f"{variable} isn't set, so providers would send browsers to {DEVELOPMENT_URL}",
            f"Set {variable} to the address at which browsers reach this application.",
        )
        return
    try:
        addresses = Addresses(auth.public_url)
    except ValueError as error:
        yield Problem(f"{variable} is wrong: {str(error).removeprefix('public_url: ')}.")
        return
    if not addresses.is_secure:
        yield from kernel.refuse_in_production(
            f"{variable} isn't https, so session cookies would travel in the clear", "Set it to an https address."
        )


def list_addresses(auth: AuthSettings, sessions: SessionSettings) -> Iterator[str]:
    """The addresses that have to be registered at the providers, for the plan."""
    try:
        addresses = Addresses(auth.public_url or DEVELOPMENT_URL)
    except ValueError:
        return  # which the check reports
    for provider in auth.providers:
        if provider.has_login:
            yield f"redirect address to register at {provider.name!r}: {addresses.callback(provider.name)}"
    yield f"address after a logout to register: {addresses.logged_out}"
    if sessions.is_server_side:
        yield f"address for back-channel logouts to register: {addresses.backchannel_logout}"


@lifespan(
    band=LifespanBand.SERVICES,
    name="login",
    roles={"web"},
    when=is_login_on,
    check=find_login_problems,
    facts=list_addresses,
)
async def login_service(
    auth: AuthSettings,
    settings: LoginSettings,
    sessions: SessionSettings,
    store: SessionStore,
    providers: Providers,
    client: httpx2.AsyncClient,
    context: Context,
) -> AsyncIterator[Login]:
    """Lets people log in at OpenID providers, and keeps their sessions alive."""
    async with anyio.create_task_group() as tasks:
        made = make_login(auth, settings, sessions, store, DiscoveredProviders(providers), client, tasks)
        context.supervise(made.sockets.check_forever, name="session_sockets")
        yield made
        # The block ends when the refreshes under way have ended: a provider may have used up their refresh tokens.
        if not made.refresher.is_idle:
            context.extend_timeout(settings.token_timeout + _STORING)


def make_login(
    auth: AuthSettings,
    settings: LoginSettings,
    sessions: SessionSettings,
    store: SessionStore,
    directory: ProviderDirectory,
    client: httpx2.AsyncClient,
    tasks: TaskGroup,
    clock: Callable[[], float] = time.time,
) -> Login:
    """The login of these settings. ``clock`` gives the seconds since the epoch."""
    # Imported here: a plan needs none of this, and cryptography takes a while.
    from bandmaster.contrib.oidc.login.http_calls import HttpCalls
    from bandmaster.contrib.oidc.login.logout import Logout
    from bandmaster.contrib.oidc.login.pending import PURPOSE, PendingLogins
    from bandmaster.contrib.oidc.login.refresh import SessionRefresher
    from bandmaster.contrib.oidc.login.relying_party import RelyingParty
    from bandmaster.contrib.oidc.login.session_sockets import SessionSockets
    from bandmaster.contrib.oidc.login.single_use import SingleUse
    from bandmaster.contrib.oidc.login.token_endpoint import TokenEndpoint
    from bandmaster.contrib.oidc.login.userinfo import UserinfoEndpoint
    from bandmaster.contrib.oidc.sessions.cipher import Cipher

    providers = {provider.name: provider for provider in auth.providers if provider.has_login}
    addresses = Addresses(auth.public_url or DEVELOPMENT_URL)
    cookies = CookieWriter(addresses.is_secure)
    calls = HttpCalls(client, timeout=settings.token_timeout)
    token_endpoint = TokenEndpoint(calls, clock)
    sockets = SessionSockets(store, check_every=settings.websocket_check)
    single_use = SingleUse(store, clock)
    keys = sessions.keys or {"process": SecretStr(secrets.token_urlsafe(32))}
    return Login(
        settings=settings,
        addresses=addresses,
        cookies=cookies,
        store=store,
        relying_party=RelyingParty(
            providers,
            directory,
            token_endpoint,
            UserinfoEndpoint(calls, directory),
            PendingLogins(Cipher(keys, PURPOSE), cookies, settings, clock),
            single_use,
            addresses,
            settings,
            leeway=auth.leeway,
            clock=clock,
        ),
        refresher=SessionRefresher(
            store, providers, directory, token_endpoint, sockets, settings, tasks, leeway=auth.leeway, clock=clock
        ),
        sockets=sockets,
        logout=Logout(store, sockets, providers, directory, single_use, addresses, leeway=auth.leeway, clock=clock),
    )
