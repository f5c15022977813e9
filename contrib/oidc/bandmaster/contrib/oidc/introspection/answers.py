"""Read the answers of an introspection endpoint (RFC 7662, section 2.2). Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from bandmaster.contrib.oidc.errors import InvalidTokenError
from bandmaster.contrib.oidc.principal import Principal
from bandmaster.contrib.oidc.settings import IssuerSettings

_OTHER_USES = {"token_use": ("refresh_token", "refresh", "id"), "typ": ("Refresh", "Offline", "ID", "Logout")}
"""Members by which providers (Ory Hydra, Amazon Cognito, Keycloak) tell that an active token is no access token."""


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
    _check_kind(answer)
    issuer = answer.get("iss")
    if issuer is not None and issuer != settings.issuer:
        raise InvalidTokenError(f"the token is of the issuer {issuer!r}, expected {settings.issuer!r}")
    expires_at = _read_time(answer, "exp")
    issued_at = _read_time(answer, "iat")
    begins_at = _read_time(answer, "nbf")
    if expires_at is not None and expires_at + leeway <= now:
        raise InvalidTokenError(f"the token has expired {now - expires_at:.0f} s ago")
    if begins_at is not None and begins_at - leeway > now:
        raise InvalidTokenError(f"the token is valid only in {begins_at - now:.0f} s")
    client_id = _read_text(answer, "client_id") or _read_text(answer, "azp")
    _check_audience(answer, client_id, settings)
    # A token of the client itself, without a user, has no sub with some providers (RFC 9068, section 2.2 asks for one).
    subject = _read_text(answer, "sub") or client_id
    if subject is None:
        raise InvalidTokenError("the provider names neither a subject (sub) nor a client (client_id)")
    return Principal(
        subject=subject,
        issuer=settings.issuer,
        scopes=_read_scopes(answer),
        client_id=client_id,
        credential_id=_read_text(answer, "jti") or token_id,
        session_id=_read_text(answer, "sid"),
        issued_at=issued_at,
        expires_at=expires_at,
        claims=MappingProxyType({name: value for name, value in answer.items() if name != "active"}),
    )


def _check_kind(answer: Mapping[str, Any]) -> None:
    kind = answer.get("token_type")
    if kind is not None and (not isinstance(kind, str) or kind.lower() not in ("bearer", "access_token")):
        raise InvalidTokenError(f"the token isn't a bearer token, but of the type {str(kind)[:40]!r}")
    if "cnf" in answer:
        # Bound to a key of its client (RFC 8705, RFC 9449), which nobody has shown.
        raise InvalidTokenError("the token is bound to a key, and was sent as a bearer token")
    for name, values in _OTHER_USES.items():
        if answer.get(name) in values:
            raise InvalidTokenError(f"the token is no access token: its {name} is {answer[name]!r}")


def _check_audience(answer: Mapping[str, Any], client_id: str | None, settings: IssuerSettings) -> None:
    found = answer.get("aud")
    audiences = [found] if isinstance(found, str) else found if isinstance(found, list) else []
    if any(audience in settings.audiences for audience in audiences):
        return
    if client_id is not None and client_id in settings.authorized_parties:
        return
    raise InvalidTokenError(
        f"the token is meant for {audiences or 'no audience'} (client {client_id!r}), expected one of "
        f"{list(settings.audiences)}, or one of the clients {list(settings.authorized_parties)}; a provider that tells "
        "no audience needs AUTH_AUTHORIZED_PARTIES"
    )


def _read_time(answer: Mapping[str, Any], name: str) -> float | None:
    value = answer.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise InvalidTokenError(f"the provider answers with a {name} that isn't a number of seconds")
    return float(value)


def _read_text(answer: Mapping[str, Any], name: str) -> str | None:
    value = answer.get(name)
    return value if isinstance(value, str) and value else None


def _read_scopes(answer: Mapping[str, Any]) -> frozenset[str]:
    value = answer.get("scope")
    if isinstance(value, list):
        return frozenset(each for each in value if isinstance(each, str))
    return frozenset(value.split()) if isinstance(value, str) else frozenset()
