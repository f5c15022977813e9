"""The component that verifies opaque tokens, for the provider whose tokens are opaque."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

from httpx2 import AsyncClient

from bandmaster.contrib.oidc.errors import AuthUnavailableError
from bandmaster.contrib.oidc.introspection.settings import IntrospectionSettings
from bandmaster.contrib.oidc.issuers.provider import Provider, Providers
from bandmaster.contrib.oidc.settings import AuthSettings, IssuerSettings
from bandmaster.contrib.oidc.verifier import OpaqueTokenVerifier
from bandmaster.kernel import LifespanBand, Problem, lifespan


def has_opaque_tokens(settings: AuthSettings) -> bool:
    """Whether the tokens of a provider are opaque."""
    return bool(_list_opaque(settings))


def find_introspection_problems(settings: AuthSettings) -> Iterator[Problem | str]:
    """The provider with opaque tokens that has no client to ask with (RFC 7662, section 2.1)."""
    for provider in _list_opaque(settings):
        if provider.client_id is None:
            yield Problem(
                f"the provider {provider.name!r} has opaque tokens, and no client that may ask about them.",
                f"Set {settings.variable('client_id')} and {settings.variable('client_secret')}.",
            )
        elif provider.client_secret is None:
            yield (
                f"the client {provider.client_id!r} of the provider {provider.name!r} asks about tokens without a "
                f"secret ({settings.variable('client_secret')}), which most providers refuse"
            )


@lifespan(
    band=LifespanBand.SERVICES,
    name="introspection",
    when=has_opaque_tokens,
    roles={"web"},
    check=find_introspection_problems,
)
async def introspection(
    auth: AuthSettings, settings: IntrospectionSettings, providers: Providers, client: AsyncClient
) -> AsyncIterator[OpaqueTokenVerifier]:
    """The verifier of opaque tokens, which asks their provider."""
    # Here, because the reading of claims imports the library: applications without a provider need no cryptography.
    from bandmaster.contrib.oidc.introspection.verifier import IntrospectionVerifier

    (own,) = _list_opaque(auth)
    provider = providers[own.name]

    async def find_address() -> str:
        return await find_endpoint(provider)

    yield IntrospectionVerifier(own, client, find_address, settings, leeway=auth.leeway)


async def find_endpoint(provider: Provider) -> str:
    """The address of the introspection endpoint: that of the settings, else that of discovery.

    Raises:
        AuthUnavailableError: discovery can't be had now, or names none.
    """
    own = provider.settings.introspection_url
    if own is not None:
        return own
    found = (await provider.metadata()).introspection_endpoint
    if found is None:
        raise AuthUnavailableError(
            f"the discovery document of {provider.name!r} names no introspection endpoint; set introspection_url"
        )
    return found


def _list_opaque(settings: AuthSettings) -> list[IssuerSettings]:
    # `AuthSettings` refuses several: opaque tokens don't tell whose they are.
    return [one for one in settings.providers if one.takes_opaque_tokens]
