"""Check the claims of an ID token (OpenID Connect Core, sections 3.1.3.7 and 12.2). Pure."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bandmaster.contrib.oidc.claim_values import check_times, is_of_tenant, read_audiences, read_time
from bandmaster.contrib.oidc.errors import InvalidTokenError
from bandmaster.contrib.oidc.login.providers import SignedToken
from bandmaster.contrib.oidc.request_params import reveal
from bandmaster.contrib.oidc.settings import IssuerSettings

_MOST_SUBJECT = 255
# OpenID Connect Core, 3.1.3.6: the hash of the signature's algorithm. Ed25519 signs with SHA-512 inside (RFC 8032).
_HASHES = {"256": "sha256", "384": "sha384", "512": "sha512"}
_EDWARDS = ("EdDSA", "Ed25519")


@dataclass(frozen=True, slots=True)
class Expectation:
    """The values that an ID token must fit."""

    provider: IssuerSettings
    now: float
    leeway: float
    nonce: str | None = None
    """The nonce of the login; None for a token from a refresh, which needs none."""
    access_token: str | None = None
    """The access token that came with the ID token."""


def check_id_token(token: SignedToken, expected: Expectation) -> Mapping[str, Any]:
    """Check the claims of an ID token whose signature holds, and return them.

    Raises:
        InvalidTokenError: a claim is missing, malformed, or doesn't fit.
    """
    claims, provider = token.claims, expected.provider
    if not is_issued_by(provider, claims):
        raise InvalidTokenError(f"the ID token's issuer isn't that of {provider.name!r}")
    check_audience(provider, claims)
    subject = claims.get("sub")
    if not isinstance(subject, str) or not subject.strip() or len(subject) > _MOST_SUBJECT:
        raise InvalidTokenError("the ID token has no subject")
    check_times(claims, expected.now, expected.leeway, needs_issue=True)
    if expected.nonce is not None:
        _check_nonce(claims.get("nonce"), expected.nonce)
    if expected.access_token is not None and "at_hash" in claims:
        _check_hash(claims["at_hash"], expected.access_token, token.algorithm)
    if expected.nonce is not None and (max_age := read_max_age(provider)) is not None:
        _check_age(claims, max_age, expected)
    return claims


def is_issued_by(provider: IssuerSettings, claims: Mapping[str, Any]) -> bool:
    """Whether the issuer of claims is the provider's, character for character.

    Of an issuer with a tenant, the tenant must be the token's own, and one that the settings list.
    """
    issuer, known = claims.get("iss"), provider.issuers
    if not isinstance(issuer, str) or issuer not in known:
        return False
    return is_of_tenant(claims, known[issuer])


def check_audience(provider: IssuerSettings, claims: Mapping[str, Any]) -> None:
    """Check that a token is meant for our client.

    Raises:
        InvalidTokenError: the audience is malformed or isn't our client, or the token was issued to another one.
    """
    audiences = read_audiences(claims)
    if provider.client_id not in audiences:
        raise InvalidTokenError("the token is meant for another client")
    party = claims.get("azp")
    if party is None and len(set(audiences)) > 1:
        raise InvalidTokenError("the token has several audiences, and doesn't say which client it was issued to")
    if party is not None and party != provider.client_id:
        raise InvalidTokenError("the token was issued to another client")


def compute_hash(text: str, algorithm: object) -> str | None:
    """The left half of a token's hash, base64url (``at_hash``); None for an algorithm without a known hash."""
    name = str(algorithm)
    known = "sha512" if name in _EDWARDS else _HASHES.get(name[-3:])
    if known is None:
        return None
    digest = hashlib.new(known, text.encode()).digest()
    return base64.urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=").decode("ascii")


def _check_nonce(sent: object, expected: str) -> None:
    if not isinstance(sent, str) or not hmac.compare_digest(sent.encode(), expected.encode()):
        raise InvalidTokenError("the ID token's nonce isn't that of this login")


def _check_hash(sent: object, access_token: str, algorithm: object) -> None:
    expected = compute_hash(access_token, algorithm)
    if expected is None or not isinstance(sent, str) or not hmac.compare_digest(sent.encode(), expected.encode()):
        raise InvalidTokenError("the ID token's at_hash isn't that of the access token")


def read_max_age(provider: IssuerSettings) -> float | None:
    """The ``max_age`` that logins ask for, in seconds; None if they ask for none.

    Raises:
        ValueError: the setting isn't a number.
    """
    value = reveal(provider.authorize_params).get("max_age")
    if value is None:
        return None
    if not value.isdigit():
        raise ValueError(f"max_age: expected seconds, got {value!r}")
    return float(value)


def _check_age(claims: Mapping[str, Any], max_age: float, expected: Expectation) -> None:
    authenticated = read_time(claims, "auth_time")
    if authenticated is None or authenticated + max_age + expected.leeway < expected.now:
        raise InvalidTokenError("the user's login at the provider is older than max_age allows")
