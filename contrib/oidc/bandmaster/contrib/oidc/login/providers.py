"""What a login asks of a provider: its endpoints, and the tokens that it has signed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The endpoints of a provider, as its discovery document and the settings say."""

    authorization: str
    token: str
    userinfo: str | None = None
    end_session: str | None = None
    sends_issuer: bool = False
    """Whether the provider promises ``iss`` in its authorization responses (RFC 9207, section 3)."""
    token_auth_methods: tuple[str, ...] = ("client_secret_basic",)
    """How clients may authenticate at the token endpoint."""


@dataclass(frozen=True, slots=True)
class SignedToken:
    """A JWT whose signature holds."""

    header: Mapping[str, Any] = field(repr=False)
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
        """A JWT that a provider has signed: its form, its algorithm, its key and its signature are checked.

        The claims aren't checked.

        Raises:
            InvalidTokenError: the token is malformed, or isn't signed by a key of that provider.
            AuthUnavailableError: the keys can't be had now.
        """
        ...
