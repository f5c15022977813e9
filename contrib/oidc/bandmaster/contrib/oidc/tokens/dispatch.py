"""Hand each token to the verifier of its own issuer."""

from __future__ import annotations

from collections.abc import Mapping

from joserfc.util import urlsafe_b64decode

from bandmaster.contrib.oidc.claim_values import quote
from bandmaster.contrib.oidc.errors import InvalidTokenError
from bandmaster.contrib.oidc.principal import Principal
from bandmaster.contrib.oidc.tokens.jwt_verifier import JwtVerifier
from bandmaster.contrib.oidc.tokens.parsing import parse_token
from bandmaster.contrib.oidc.verifier import TokenVerifier


class TokenDispatcher:
    """A `TokenVerifier` for the tokens of several providers.

    ``verifiers`` are by the exact issuers. ``opaque`` takes the tokens that don't tell their issuer, those that aren't
    JWTs; if there is none, they are refused. A JWT of an unknown issuer is refused, and shown to nobody.
    """

    def __init__(
        self, verifiers: Mapping[str, TokenVerifier], max_bytes: int, opaque: TokenVerifier | None = None
    ) -> None:
        self._verifiers = dict(verifiers)
        self._max_bytes = max_bytes
        self._opaque = opaque

    async def verify(self, token: str) -> Principal:
        """Who the token was issued to.

        Raises:
            InvalidTokenError: the token doesn't hold.
            AuthUnavailableError: the keys or the provider can't be had now.
        """
        if self._opaque is not None and len(token) <= self._max_bytes and not _is_jwt(token):
            return await self._opaque.verify(token)
        parsed = parse_token(token, self._max_bytes)
        issuer = parsed.claims.get("iss")
        verifier = self._verifiers.get(issuer) if isinstance(issuer, str) else None
        if verifier is None:
            raise InvalidTokenError(f"the token is of an unknown issuer, {quote(issuer)}")
        if isinstance(verifier, JwtVerifier):
            return await verifier.verify_parsed(parsed)
        return await verifier.verify(token)


def _is_jwt(token: str) -> bool:
    """Whether a token is meant to be a signed JWT: three parts, of which the first is a JSON object.

    Also one with a header that is refused: its own provider may accept it, so no other one may see it.
    """
    if token.count(".") != 2:
        return False
    try:
        return urlsafe_b64decode(token.partition(".")[0].encode("ascii")).lstrip().startswith(b"{")
    except ValueError:
        return False
