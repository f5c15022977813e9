"""The interfaces of verifiers of bearer tokens."""

from __future__ import annotations

from typing import Protocol

from bandmaster.contrib.oidc.principal import Principal


class TokenVerifier(Protocol):
    """Checks bearer tokens. The component ``token_verifier`` provides one; an override replaces it."""

    async def verify(self, token: str) -> Principal:
        """Who the token was issued to.

        Raises:
            InvalidTokenError: the token doesn't hold.
            AuthUnavailableError: the keys or the provider can't be had now.
        """
        ...


class OpaqueTokenVerifier(TokenVerifier, Protocol):
    """Checks the tokens of the provider whose ``access_token_type`` is ``opaque``, by asking the provider (RFC 7662).

    The component ``token_verifier`` hands tokens that aren't JWTs, and JWTs of that provider, to the component that
    provides this type.
    """
