"""Ask the configured providers for their endpoints, and read the tokens that they have signed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from bandmaster.contrib.oidc.errors import AuthUnavailableError, InvalidTokenError, ProviderRefusedError
from bandmaster.kernel import get_logger

if TYPE_CHECKING:
    from bandmaster.contrib.oidc.issuers.provider import Provider, Providers

_MOST_BYTES = 64 * 1024
"""The most bytes of a token that comes from a provider itself, which may list many groups."""


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The endpoints of a provider, as the discovery document and the settings say."""

    authorization: str
    token: str
    userinfo: str | None = None
    end_session: str | None = None
    sends_issuer: bool = False
    """Whether the provider promises ``iss`` in authorization responses (RFC 9207, section 3)."""
    token_auth_methods: tuple[str, ...] = ("client_secret_basic",)
    """How clients may authenticate at the token endpoint."""


@dataclass(frozen=True, slots=True)
class SignedToken:
    """A JWT whose signature holds."""

    algorithm: str
    type: str
    """``typ`` in lower case, without ``application/``; empty if there is none."""
    claims: Mapping[str, Any] = field(repr=False)


class ProviderDirectory(Protocol):
    """Finds the endpoints and the keys of providers, by the names of the settings."""

    async def find_endpoints(self, provider: str) -> Endpoints:
        """The endpoints of a provider.

        Raises:
            AuthUnavailableError: the discovery document can't be had now.
        """
        ...

    async def read_token(self, provider: str, token: str) -> SignedToken:
        """A JWT that a provider has signed. Form, algorithm, key and signature are checked.

        The claims aren't checked.

        Raises:
            InvalidTokenError: the token is malformed, or isn't signed by a key of that provider.
            AuthUnavailableError: the keys can't be had now.
        """
        ...


class DiscoveredProviders:
    """The `ProviderDirectory` of the component ``identity_providers``: discovery documents and keys, cached."""

    def __init__(self, providers: Providers) -> None:
        self._providers = providers

    async def find_endpoints(self, provider: str) -> Endpoints:
        """See `ProviderDirectory.find_endpoints`."""
        found = self._find(provider)
        try:
            metadata = await found.metadata()
        except ProviderRefusedError as error:
            raise _make_unavailable(provider, error) from error
        if metadata.authorization_endpoint is None or metadata.token_endpoint is None:
            raise _make_unavailable(provider, "its discovery document names no authorization or no token endpoint")
        return Endpoints(
            authorization=metadata.authorization_endpoint,
            token=metadata.token_endpoint,
            userinfo=metadata.userinfo_endpoint,
            end_session=metadata.end_session_endpoint,
            sends_issuer=metadata.authorization_response_iss_parameter_supported,
            # OpenID Connect Discovery, 3: a provider that lists none accepts client_secret_basic.
            token_auth_methods=metadata.token_endpoint_auth_methods_supported,
        )

    async def read_token(self, provider: str, token: str) -> SignedToken:
        """See `ProviderDirectory.read_token`."""
        # Here, because it imports the library: a plan needs no cryptography.
        from bandmaster.contrib.oidc.tokens.signatures import read_token

        try:
            parsed = await read_token(self._find(provider), token, _MOST_BYTES)
        except ProviderRefusedError as error:
            raise _make_unavailable(provider, error) from error
        return SignedToken(parsed.message.header.algorithm, parsed.message.header.type, parsed.claims)

    def _find(self, provider: str) -> Provider:
        found = self._providers.get(provider)
        if found is None:
            raise InvalidTokenError(f"there is no provider {provider!r} in the settings any more")
        return found


def _make_unavailable(provider: str, reason: object) -> AuthUnavailableError:
    """The error of a provider with documents that can't be used, which is no user's mistake."""
    get_logger("bandmaster.oidc").error("a provider can't be used for logins", provider=provider, reason=str(reason))
    return AuthUnavailableError(f"the provider {provider!r} can't be used: {reason}")
