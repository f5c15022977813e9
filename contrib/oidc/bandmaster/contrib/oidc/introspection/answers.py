"""Read the answers of an introspection endpoint (RFC 7662, section 2.2). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bandmaster.contrib.oidc.claim_values import check_times
from bandmaster.contrib.oidc.errors import InvalidTokenError
from bandmaster.contrib.oidc.principal import Principal
from bandmaster.contrib.oidc.settings import IssuerSettings
from bandmaster.contrib.oidc.tokens.claims import build_principal, check_audience, check_tenant

_OTHER_USES = {"token_use": ("refresh_token", "refresh", "id"), "typ": ("Refresh", "Offline", "ID", "Logout")}
"""Members by which providers (Ory Hydra, Amazon Cognito, Keycloak) tell that an active token is no access token."""
_NEVER = {"exp": 253_402_300_799}
"""The expiry of a token about which the provider tells none: the end of the year 9999."""


def read_answer(
    answer: Mapping[str, Any], settings: IssuerSettings, *, now: float, leeway: float, token_id: str
) -> Principal:
    """Who an introspected token was issued to.

    ``token_id`` stands for the token in the principal if the answer has no ``jti``. Times are in seconds since the
    epoch.

    Raises:
        InvalidTokenError: the token is inactive, has expired, or is meant for somebody else. The message is for logs,
            and says which audience came and which was expected.
    """
    # Exactly the JSON value: a provider that answers with a text means something that this package doesn't know.
    if answer.get("active") is not True:
        raise InvalidTokenError("the provider says that the token isn't active")
    given = {name: value for name, value in answer.items() if name != "active" and value is not None}
    _check_kind(given)
    issuer = given.get("iss", settings.issuer)
    if not isinstance(issuer, str) or issuer not in (settings.issuer, *settings.issuers):
        raise InvalidTokenError(f"the token is of the issuer {issuer!r}, expected {settings.issuer!r}")
    check_tenant(given, settings.issuers.get(issuer))
    expires_at = check_times({**_NEVER, **given}, now, leeway)
    check_audience(given, settings)
    # A token of the client itself, without a user, has no sub with some providers.
    subject = given.get("sub", given.get("client_id"))
    claims = {"jti": token_id, **given, "iss": issuer, "sub": subject}
    principal = build_principal(
        {name: value for name, value in claims.items() if value is not None}, expires_at, settings
    )
    return principal if "exp" in given else replace(principal, expires_at=None)


def _check_kind(given: Mapping[str, Any]) -> None:
    kind = given.get("token_type", "bearer")
    if not isinstance(kind, str) or kind.lower() not in ("bearer", "access_token"):
        raise InvalidTokenError(f"the token isn't a bearer token, but of the type {str(kind)[:40]!r}")
    if "cnf" in given:
        # RFC 7800: only the holder of a key may use the token. A bearer of it shows no key.
        raise InvalidTokenError("the token is bound to a key (cnf), and can't be used as a bearer token")
    for name, values in _OTHER_USES.items():
        if given.get(name) in values:
            raise InvalidTokenError(f"the token is no access token: its {name} is {given[name]!r}")
