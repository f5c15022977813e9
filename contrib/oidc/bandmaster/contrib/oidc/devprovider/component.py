"""The component of the provider for development, which listens before others ask for keys."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from functools import partial
from urllib.parse import urlsplit

import anyio
from anyio import to_thread
from anyio.abc import SocketStream
from anyio.streams.stapled import MultiListener

from bandmaster.contrib.oidc.devprovider.provider import DevProvider
from bandmaster.contrib.oidc.devprovider.settings import DevProviderSettings
from bandmaster.contrib.oidc.devprovider.signing import SigningKey
from bandmaster.contrib.oidc.environments import describe_environment, is_for_development
from bandmaster.contrib.oidc.settings import AuthSettings, IssuerSettings
from bandmaster.kernel import (
    Context,
    KernelSettings,
    LifespanBand,
    PermanentError,
    Problem,
    get_logger,
    lifespan,
)


class DevProviderError(PermanentError):
    """The provider for development can't listen at its address."""


def is_wanted(settings: DevProviderSettings) -> bool:
    """Whether a setting asks for the provider for development."""
    return settings.dev_provider is not None


def find_start_problems(
    settings: DevProviderSettings, auth: AuthSettings, kernel: KernelSettings
) -> Iterator[Problem | str]:
    """The reasons why the provider can't run here, or would have no effect."""
    variable = settings.variable("dev_provider")
    if not is_for_development(kernel):
        yield Problem(
            f"{variable} lets anyone log in as anyone, and {describe_environment(kernel)}.",
            f"Unset {variable}; on a developer's machine set {kernel.variable('environment')}=development.",
        )
    if kernel.processes > 1:
        yield Problem(
            f"{variable} is one process' provider, and {kernel.processes} processes would listen at its address.",
            "Run one process in development, or a provider of its own.",
        )
    if find_issuer(settings, auth) is None:
        yield (
            f"{variable} is {settings.dev_provider}, which is no issuer of this application, so that nothing uses it. "
            f"Set {auth.variable('issuer')}={settings.dev_provider}"
        )


def find_issuer(settings: DevProviderSettings, auth: AuthSettings) -> IssuerSettings | None:
    """The application's settings for this provider; None if the application uses others only."""
    return next((issuer for issuer in auth.providers if issuer.issuer == settings.dev_provider), None)


# Ahead of every component that asks a provider for its keys at the start, as a database is ahead of its clients.
@lifespan(
    band=LifespanBand.OBSERVABILITY,
    name="dev_provider",
    when=is_wanted,
    check=find_start_problems,
    roles={"web"},
)
async def dev_provider(
    settings: DevProviderSettings, auth: AuthSettings, context: Context
) -> AsyncIterator[DevProvider]:
    """An OpenID provider for development, at an address of its own: anyone may log in as any of its users."""
    from bandmaster.contrib.oidc.devprovider.http_server import serve_http

    issuer = settings.dev_provider or ""
    known = find_issuer(settings, auth)
    provider = DevProvider(
        issuer,
        settings.dev_provider_users,
        audiences=() if known is None else known.audiences,
        token_seconds=settings.dev_provider_token_seconds,
        key=await to_thread.run_sync(SigningKey),
    )
    async with await _listen(issuer, settings) as listener:
        context.supervise(partial(serve_http, listener, provider.answer), name="dev_provider")
        get_logger("bandmaster.oidc").warning(
            "anyone can log in as anyone: the provider for development runs",
            issuer=issuer,
            users=list(provider.users),
            hint=f"unset {settings.variable('dev_provider')} to use a real provider",
        )
        yield provider


async def _listen(issuer: str, settings: DevProviderSettings) -> MultiListener[SocketStream]:
    address = urlsplit(issuer)
    try:
        listener = await anyio.create_tcp_listener(local_host=address.hostname, local_port=address.port or 0)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise DevProviderError(
            f"the provider for development can't listen at {issuer}: {reason}; another process may listen there, "
            f"such as one of this application. Choose another port in {settings.variable('dev_provider')}, and in the "
            "issuer with it"
        ) from error
    return listener
