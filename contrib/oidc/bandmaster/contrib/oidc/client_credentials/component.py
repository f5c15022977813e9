"""The source of access tokens for one service, as a component."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial

import anyio
import httpx2

from bandmaster.contrib.oidc.client_credentials.settings import ClientCredentialsSettings, find_address_problems
from bandmaster.contrib.oidc.client_credentials.source import ClientCredentials
from bandmaster.contrib.oidc.client_credentials.token_endpoint import fetch_token
from bandmaster.kernel import Context, LifespanBand, LifespanContribution, lifespan, named_settings


@lifespan(band=LifespanBand.SERVICES, check=find_address_problems)
async def _tokens(
    settings: ClientCredentialsSettings, client: httpx2.AsyncClient, context: Context
) -> AsyncIterator[ClientCredentials]:
    """Access tokens for calls to another service, fetched when the first call needs one."""
    async with anyio.create_task_group() as tasks:
        credentials = ClientCredentials(partial(fetch_token, client, settings), settings, tasks, name=context.name)
        yield credentials
        credentials.close()
        tasks.cancel_scope.cancel()


def client_credentials_for(
    name: str, *, prefix: str | None = None, settings: type[ClientCredentialsSettings] | None = None
) -> LifespanContribution:
    """A component that provides access tokens for one service: ``Annotated[ClientCredentials, Named(name)]``.

    The settings are those of `ClientCredentialsSettings`, read from variables that begin with ``prefix``; the default
    for the name ``billing`` is ``BILLING_OAUTH_``. A subclass of `ClientCredentialsSettings` may be given instead, so
    that tests can override the settings by their type. Tokens are fetched through the application's shared HTTP client.

    Raises:
        ValueError: ``name`` can't name a component, or both ``prefix`` and ``settings`` are given.
    """
    if settings is not None and prefix is not None:
        raise ValueError("prefix: can't be given with settings, which have a prefix of their own")
    about = f"the access tokens for {name!r}"
    kind = settings or named_settings(ClientCredentialsSettings, name, about=about, prefix=prefix)
    return _tokens.named(name, settings=kind, description=f"Access tokens for calls to {name!r}.")
