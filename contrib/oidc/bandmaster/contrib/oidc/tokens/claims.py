"""Check the claims of a token (RFC 7519, section 4; RFC 9068, section 4). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from bandmaster.contrib.oidc.claim_values import is_of_tenant, quote, read_audiences, read_name, read_time
from bandmaster.contrib.oidc.errors import InvalidTokenError
from bandmaster.contrib.oidc.principal import Principal
from bandmaster.contrib.oidc.settings import IssuerSettings
from bandmaster.contrib.oidc.tokens.parsing import TokenHeader

_TYPES = ("", "jwt", "at+jwt")
"""The types (``typ``) of tokens that may be access tokens. Others, such as logout tokens, never are."""
_REQUIRED = ("aud", "client_id", "iat", "jti")
"""The claims that RFC 9068 (section 2.2) requires besides ``iss``, ``exp`` and ``sub``."""
_OF_OTHER_TOKENS = ("events", "at_hash", "c_hash", "s_hash")
"""Claims of logout tokens and of ID tokens."""
_OTHER_USES = {
    "typ": ("ID", "Refresh", "Offline", "Logout", "Serialized-ID"),  # Keycloak
    "token_use": ("id", "refresh"),  # Amazon Cognito
}
"""The values of claims by which providers mark tokens that aren't access tokens."""


def check_type(header: TokenHeader, claims: Mapping[str, Any], settings: IssuerSettings) -> None:
    """Check that a token is an access token of the kind that the settings expect.

    Raises:
        InvalidTokenError: the token is of another kind.
    """
    expected = settings.access_token_type
    if header.type not in _TYPES or (expected == "at+jwt" and header.type != "at+jwt"):
        raise InvalidTokenError(f"the token has the type {quote(header.type)}")
    if expected == "at+jwt" and (missing := [name for name in _REQUIRED if name not in claims]):
        raise InvalidTokenError(f"the token lacks {' and '.join(missing)}, which RFC 9068 requires")
    if expected != "id_token":
        for name in _OF_OTHER_TOKENS:
            if name in claims:
                raise InvalidTokenError(f"the token has the claim {name!r}, so it isn't an access token")
        for name, uses in _OTHER_USES.items():
            if claims.get(name) in uses:
                raise InvalidTokenError(f"the token has the use {quote(claims[name])}, so it isn't an access token")
        # An ID token of a login has a nonce, and with some providers (Microsoft Entra) no at_hash.
        if "nonce" in claims and header.type != "at+jwt" and not _is_marked_as_access_token(claims):
            raise InvalidTokenError("the token has a nonce, so it isn't an access token")
    if "cnf" in claims:
        # RFC 7800: only the holder of a key may use the token. A bearer of it shows no key.
        raise InvalidTokenError("the token is bound to a key (cnf), and can't be used as a bearer token")


def _is_marked_as_access_token(claims: Mapping[str, Any]) -> bool:
    # Older versions of Keycloak put the nonce of the login into access tokens as well.
    return claims.get("typ") == "Bearer" or claims.get("token_use") == "access"


def check_audience(claims: Mapping[str, Any], settings: IssuerSettings) -> None:
    """Check that a token is meant for this application, or issued to a client whose tokens are accepted.

    Raises:
        InvalidTokenError: neither is so. The message says which audience came and which was expected.
    """
    given = read_audiences(claims)
    if any(each in settings.audiences for each in given):
        return
    party = _find_client(claims)
    if party is not None and party in settings.authorized_parties:
        return
    clients = f" or a client (azp) of {list(settings.authorized_parties)}" if settings.authorized_parties else ""
    raise InvalidTokenError(
        f"the token is meant for {quote(given)} and was issued to {quote(party)}; expected was an audience of "
        f"{list(settings.audiences)}{clients}"
    )


def check_tenant(claims: Mapping[str, Any], tenant: str | None) -> None:
    """Check that the token's own tenant is the one that its issuer names.

    Raises:
        InvalidTokenError: the token has another one, or none.
    """
    if not is_of_tenant(claims, tenant):
        raise InvalidTokenError(f"the token is of the tenant {quote(claims.get('tid'))}, and its issuer of {tenant!r}")


def build_principal(claims: dict[str, Any], expires_at: float, settings: IssuerSettings) -> Principal:
    """Who a verified token was issued to.

    Raises:
        InvalidTokenError: the token names nobody, or a name is malformed.
    """
    subject = read_name(claims, "sub")
    if subject is None:
        raise InvalidTokenError("the token names nobody: it has no sub")
    return Principal(
        subject=subject,
        issuer=claims["iss"],
        scopes=read_scopes(claims, settings.scope_claims),
        client_id=_find_client(claims),
        credential_id=read_name(claims, "jti"),
        session_id=read_name(claims, "sid"),
        issued_at=read_time(claims, "iat"),
        expires_at=expires_at,
        claims=MappingProxyType(claims),
    )


def read_scopes(claims: Mapping[str, Any], names: tuple[str, ...]) -> frozenset[str]:
    """The scopes in some claims: a text with blanks between them, or a list.

    >>> sorted(read_scopes({"scope": "a b", "realm_access": {"roles": ["c"]}}, ("scope", "realm_access.roles")))
    ['a', 'b', 'c']
    """
    found: list[str] = []
    for name in names:
        value = claims.get(name)
        if value is None and "." in name:
            value = _follow(claims, name)
        if isinstance(value, str):
            found += value.split()
        elif isinstance(value, list):
            found += [each for each in value if isinstance(each, str)]
    return frozenset(found)


def _follow(claims: Mapping[str, Any], path: str) -> object:
    value: object = claims
    for step in path.split("."):
        value = value.get(step) if isinstance(value, Mapping) else None
    return value


def _find_client(claims: Mapping[str, Any]) -> str | None:
    # RFC 9068 has client_id, OpenID Connect azp, and version 1 of Microsoft's tokens appid.
    return read_name(claims, "azp") or read_name(claims, "client_id") or read_name(claims, "appid")
