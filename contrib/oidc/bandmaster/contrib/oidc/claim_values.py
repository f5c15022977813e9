"""Read the values of claims, which whoever has made the token has written (RFC 7519, section 4.1). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bandmaster.contrib.oidc.errors import InvalidTokenError

_LATEST = 253_402_300_799
"""The last second of the year 9999. Later times don't fit into dates, and mean that a token never expires."""
_LONGEST_NAME = 1024
_LONGEST_QUOTE = 200


def check_times(claims: Mapping[str, Any], now: float, leeway: float, *, needs_issue: bool = False) -> float:
    """Check the times of a token; returns the expiry, in seconds since the epoch.

    With ``needs_issue`` the token must say when it was issued, as ID tokens do (OpenID Connect Core, section 2).

    Raises:
        InvalidTokenError: the token has expired, isn't valid yet, or doesn't tell.
    """
    expires_at = read_time(claims, "exp")
    if expires_at is None:
        raise InvalidTokenError("the token never expires: it has no exp")
    if now >= expires_at + leeway:
        raise InvalidTokenError(f"the token has expired {now - expires_at:.0f} s ago")
    for name in ("nbf", "iat"):
        begins_at = read_time(claims, name)
        if begins_at is not None and begins_at > now + leeway:
            raise InvalidTokenError(f"the token is valid only in {begins_at - now:.0f} s ({name})")
    if needs_issue and "iat" not in claims:
        raise InvalidTokenError("the token doesn't say when it was issued: it has no iat")
    return expires_at


def read_time(claims: Mapping[str, Any], name: str) -> float | None:
    """A time, in seconds since the epoch; None where the token has none.

    Raises:
        InvalidTokenError: the value isn't a time.
    """
    if name not in claims:
        return None
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LATEST:
        raise InvalidTokenError(f"the token's {name} isn't a time in seconds")
    return value


def read_name(claims: Mapping[str, Any], name: str) -> str | None:
    """A short text; None where the token has none.

    Raises:
        InvalidTokenError: the value is something else.
    """
    value = claims.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_NAME or not value.isprintable():
        raise InvalidTokenError(f"the token's {name} isn't a short text")
    return value


def read_audiences(claims: Mapping[str, Any]) -> list[str]:
    """Who a token is meant for: a text, or a list of texts; nobody where the token doesn't say.

    Raises:
        InvalidTokenError: the value is something else.
    """
    audience = claims.get("aud", [])
    given = [audience] if isinstance(audience, str) else audience
    if not isinstance(given, list) or not all(isinstance(each, str) for each in given):
        raise InvalidTokenError("the token's audience (aud) isn't a text or a list of texts")
    return given


def is_of_tenant(claims: Mapping[str, Any], tenant: str | None) -> bool:
    """Whether the token's own tenant is the one that its issuer names; None: the issuer has no tenants."""
    return tenant is None or claims.get("tid") == tenant


def quote(value: object) -> str:
    """A foreign value as messages for logs show it, cut."""
    text = repr(value)
    return text if len(text) <= _LONGEST_QUOTE else f"{text[:_LONGEST_QUOTE]}..."
