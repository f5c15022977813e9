"""The components of authentication by tokens: the providers with their keys, and the verifier of bearer tokens."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from functools import partial

import anyio
from httpx2 import AsyncClient

from bandmaster.contrib.oidc.errors import AuthUnavailableError, ProviderRefusedError
from bandmaster.contrib.oidc.issuers.provider import Provider, Providers, open_providers
from bandmaster.contrib.oidc.settings import AuthSettings, find_address_problems, has_providers
from bandmaster.contrib.oidc.verifier import OpaqueTokenVerifier, TokenVerifier
from bandmaster.kernel import Context, KernelSettings, LifespanBand, Problem, get_logger, lifespan


def find_provider_problems(settings: AuthSettings, kernel: KernelSettings) -> Iterator[Problem | str]:
    """The problems of settings with which the providers can't be used."""
    yield from find_address_problems(settings, kernel)
    for provider in settings.providers:
        if provider.client_secret is not None and provider.client_id is None:
            yield f"The provider {provider.name!r} has a client_secret and no client_id, so nothing uses the secret."


@lifespan(band=LifespanBand.SERVICES, name="identity_providers", when=has_providers, check=find_provider_problems)
async def identity_providers(settings: AuthSettings, client: AsyncClient, context: Context) -> AsyncIterator[Providers]:
    """The configured providers: their addresses, and their keys, which are fetched when they are needed."""
    async with open_providers(settings, client, allow_loopback=not context.settings.is_production) as providers:
        yield providers


def find_token_problems(settings: AuthSettings) -> Iterator[Problem | str]:
    """The problems of settings with which bearer tokens can't be judged."""
    for provider in settings.providers:
        if provider.takes_tokens and not (provider.audiences or provider.authorized_parties):
            yield Problem(
                f"{settings.variable('audiences')} is empty for the provider {provider.name!r}, so that any of its "
                "tokens would be accepted, also those for other applications.",
                "Set it to the audience (aud) of this application's tokens. Tokens that have none are accepted by "
                f"their client ({settings.variable('authorized_parties')}); a provider that is for login only has "
                f"{settings.variable('access_token_type')}=refused.",
            )


@lifespan(
    band=LifespanBand.SERVICES, name="token_verifier", when=has_providers, roles={"web"}, check=find_token_problems
)
async def token_verifier(
    settings: AuthSettings, providers: Providers, opaque: OpaqueTokenVerifier | None, context: Context
) -> AsyncIterator[TokenVerifier]:
    """The verifier of bearer tokens. The start fetches the keys of all providers."""
    verified = [one for one in providers.values() if one.settings.takes_tokens and not one.settings.takes_opaque_tokens]
    context.extend_timeout(settings.start_timeout + 1)
    await _warm(verified, settings)
    for provider in verified:
        name = context.name if len(verified) == 1 else f"{context.name}:{provider.name}"
        context.add_probe(name, partial(_probe, provider), critical=False)
    yield build_verifier(settings, providers, opaque)


def build_verifier(
    settings: AuthSettings, providers: Providers, opaque: OpaqueTokenVerifier | None = None
) -> TokenVerifier:
    """A verifier of the bearer tokens of all providers. ``opaque`` takes those of the provider with opaque tokens.

    Raises:
        ValueError: a provider has neither an audience nor a client whose tokens are accepted.
        ProviderRefusedError: a provider has opaque tokens, and nothing verifies them.
    """
    # Here, because they import the library: applications without a provider need no cryptography.
    from bandmaster.contrib.oidc.tokens.dispatch import TokenDispatcher
    from bandmaster.contrib.oidc.tokens.jwt_verifier import JwtVerifier

    verifiers: dict[str, TokenVerifier] = {}
    for provider in providers.values():
        one = provider.settings
        if not one.takes_tokens:
            continue
        verifier: TokenVerifier
        if not one.takes_opaque_tokens:
            verifier = JwtVerifier(one, settings, provider.keys)
        elif opaque is not None:
            verifier = opaque
        else:
            raise ProviderRefusedError(
                f"the provider {one.name!r} has opaque tokens, and no component provides an OpaqueTokenVerifier"
            )
        verifiers |= dict.fromkeys(one.issuers, verifier)
    return TokenDispatcher(verifiers, settings.max_token_bytes, opaque)


async def _warm(providers: list[Provider], settings: AuthSettings) -> None:
    """Fetch the keys of all providers at once.

    Raises:
        AuthUnavailableError: a provider is away, and the settings have the start fail then.
        ProviderRefusedError: the documents of a provider can't be used, which waiting doesn't mend.
    """
    errors: dict[str, AuthUnavailableError | ProviderRefusedError] = {}

    async def warm(provider: Provider) -> None:
        try:
            await provider.keys.warm()
        except (AuthUnavailableError, ProviderRefusedError) as error:
            errors[provider.name] = error

    with anyio.move_on_after(settings.start_timeout):
        async with anyio.create_task_group() as tasks:
            for provider in providers:
                tasks.start_soon(warm, provider)
    for provider in providers:
        if provider.keys.value is None and provider.name not in errors:
            errors[provider.name] = AuthUnavailableError(
                f"nothing came from {provider.settings.discovery_address} within {settings.start_timeout:g} s"
            )
    refused = [error for error in errors.values() if isinstance(error, ProviderRefusedError)]
    text = "; ".join(f"the provider {name!r} can't be used: {error}" for name, error in errors.items())
    if refused:
        raise ProviderRefusedError(text) from refused[0]
    if errors and settings.provider_away == "fail":
        hint = f"{settings.variable('provider_away')}=degrade starts without"
        raise AuthUnavailableError(f"{text}. {hint}") from next(iter(errors.values()))
    if errors:
        get_logger("bandmaster.oidc").warning(
            "the start goes on without the keys of a provider", providers=list(errors), error=text
        )


async def _probe(provider: Provider) -> None:
    """Raises while a provider's keys can't be fetched, and has them fetched when the next attempt is due."""
    await provider.keys.get()
    outage = provider.keys.outage
    if outage is not None:
        raise AuthUnavailableError(str(outage.error))
