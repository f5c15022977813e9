"""Verify the JWTs of one provider."""

from __future__ import annotations

import time
from collections.abc import Callable

from bandmaster.contrib.oidc.claim_values import check_times
from bandmaster.contrib.oidc.errors import InvalidTokenError
from bandmaster.contrib.oidc.issuers.key_cache import KeyCache
from bandmaster.contrib.oidc.principal import Principal
from bandmaster.contrib.oidc.settings import AuthSettings, IssuerSettings
from bandmaster.contrib.oidc.tokens.claims import (
    build_principal,
    check_audience,
    check_tenant,
    check_type,
)
from bandmaster.contrib.oidc.tokens.parsing import ParsedToken, parse_token
from bandmaster.contrib.oidc.tokens.signatures import check_signature, find_key_tenants


class JwtVerifier:
    """A `TokenVerifier` for the JWTs of one provider.

    The cheap checks stand first: a token that its own claims refute costs neither a signature nor a fetch.

    Raises:
        ValueError: the settings name neither an audience nor a client, so that any token of the provider would do.
    """

    def __init__(
        self, settings: IssuerSettings, auth: AuthSettings, keys: KeyCache, clock: Callable[[], float] = time.time
    ) -> None:
        if not settings.audiences and not settings.authorized_parties:
            raise ValueError(f"audiences: empty for the provider {settings.name!r}; any token of it would be accepted")
        self._settings = settings
        self._algorithms = settings.accepted_algorithms
        self._issuers = settings.issuers
        self._key_tenants = find_key_tenants(settings)
        self._leeway = auth.leeway
        self._max_bytes = auth.max_token_bytes
        self._keys = keys
        self._clock = clock

    async def verify(self, token: str) -> Principal:
        """Who the token was issued to.

        Raises:
            InvalidTokenError: the token doesn't hold.
            AuthUnavailableError: the keys can't be had now.
        """
        return await self.verify_parsed(parse_token(token, self._max_bytes))

    async def verify_parsed(self, token: ParsedToken) -> Principal:
        """Like `verify`, for a token that is parsed already."""
        message, claims, settings = token.message, token.claims, self._settings
        header = message.header
        if header.algorithm not in self._algorithms:
            raise InvalidTokenError(f"the token has the algorithm {header.algorithm[:20]!r}, which isn't allowed")
        issuer = claims.get("iss")
        if not isinstance(issuer, str) or issuer not in self._issuers:
            raise InvalidTokenError("the token is of another issuer")
        tenant = self._issuers[issuer]
        check_tenant(claims, tenant)
        check_type(header, claims, settings)
        expires_at = check_times(claims, self._clock(), self._leeway)
        check_audience(claims, settings)
        principal = build_principal(claims, expires_at, settings)
        await check_signature(message, self._keys, self._key_tenants[issuer])
        return principal
