"""Verify that a provider has signed a message."""

from __future__ import annotations

import re

from bandmaster.contrib.oidc.errors import InvalidTokenError
from bandmaster.contrib.oidc.issuers.key_cache import KeyCache
from bandmaster.contrib.oidc.issuers.keys import KeySet
from bandmaster.contrib.oidc.issuers.provider import Provider
from bandmaster.contrib.oidc.settings import IssuerSettings
from bandmaster.contrib.oidc.tokens.parsing import ParsedToken, SignedMessage, parse_token

_GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


async def read_token(provider: Provider, token: str, max_bytes: int = 16 * 1024) -> ParsedToken:
    """A JWT that a provider has signed, of any type, such as an ID token or a logout token.

    Form, algorithm, key and signature are checked, and the claims aren't.

    Raises:
        InvalidTokenError: the token is malformed, or isn't signed by a key of the provider.
        AuthUnavailableError: the keys can't be had now.
    """
    parsed = parse_token(token, max_bytes)
    algorithm = parsed.message.header.algorithm
    if algorithm not in provider.settings.accepted_algorithms:
        raise InvalidTokenError(f"the token has the algorithm {algorithm[:20]!r}, which isn't allowed")
    issuer = parsed.claims.get("iss")
    tenant = find_key_tenants(provider.settings).get(issuer) if isinstance(issuer, str) else None
    await check_signature(parsed.message, provider.keys, tenant)
    return parsed


def find_key_tenants(settings: IssuerSettings) -> dict[str, str | None]:
    """The tenant of each issuer of a provider, for whose tokens a key must serve; None where any key does.

    An issuer without ``{tenantid}`` may be that of one tenant of Microsoft Entra, whose keys are also those of others.
    """
    return {issuer: tenant or _find_tenant(issuer) for issuer, tenant in settings.issuers.items()}


def _find_tenant(issuer: str) -> str | None:
    return next((segment for segment in issuer.split("/") if _GUID.fullmatch(segment)), None)


async def check_signature(message: SignedMessage, cache: KeyCache, tenant: str | None = None) -> None:
    """Check that a key of a provider has signed a message. A key that isn't known yet is fetched.

    Raises:
        InvalidTokenError: no key of the provider has.
        AuthUnavailableError: the keys can't be had now.
    """
    keys = cache.peek() or await cache.get()
    if not _is_signed(message, keys, tenant) and not await _is_signed_by_newer(message, keys, cache, tenant):
        raise InvalidTokenError("the token isn't signed by a key of its issuer")


async def _is_signed_by_newer(message: SignedMessage, seen: KeySet, cache: KeyCache, tenant: str | None) -> bool:
    """Whether a key that the provider has published meanwhile signed the message."""
    header = message.header
    while header.kid is None or seen.find(header.kid, header.algorithm) is None:
        newer = await cache.newer(seen)
        if newer is None:
            return False
        if _is_signed(message, newer, tenant):
            return True
        seen = newer
    return False


def _is_signed(message: SignedMessage, keys: KeySet, tenant: str | None) -> bool:
    header = message.header
    return any(
        key.verify(header.algorithm, message.signed, message.signature)
        for key in keys.find(header.kid, header.algorithm) or ()
        if key.serves(tenant)
    )
