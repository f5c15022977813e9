"""The record of a token in a token store, without the token's text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

from bandmaster.contrib.oidc.principal import Principal

_REQUIRED = frozenset(("jti", "user_id", "created_at", "expires_at"))
_NAMES = _REQUIRED | {"revoked", "issuer"}


class TokenExpired(ValueError):  # a state, which callers of `StoredToken` may expect
    """A token has expired, so that nothing can be stored about the token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredToken:
    """One token of a user.

    Times have a time zone, and are converted to UTC.

    Raises:
        ValueError: ``jti`` or ``user_id`` is blank, a time has no time zone, or the token expires before it was
            created. The message names the field.
        TokenExpired: the token has expired by now; a `ValueError` as well.
    """

    jti: str
    """The ``jti`` claim of the token."""
    user_id: str
    """The ``sub`` claim."""
    created_at: datetime
    """When the token was issued."""
    expires_at: datetime
    revoked: bool = False
    issuer: str = ""
    """The ``iss`` claim; empty where user ids are unique across issuers."""

    def __post_init__(self) -> None:
        for name in ("jti", "user_id"):
            text: object = getattr(self, name)
            if not isinstance(text, str) or not text.strip():
                raise ValueError(f"{name}: expected a text that isn't blank")
        issuer: object = self.issuer
        if not isinstance(issuer, str):
            raise ValueError(f"issuer: expected a text, got {type(issuer).__name__}")
        revoked: object = self.revoked
        if not isinstance(revoked, bool):
            raise ValueError(f"revoked: expected True or False, got {type(revoked).__name__}")
        for name in ("created_at", "expires_at"):
            object.__setattr__(self, name, _to_utc(getattr(self, name), name))
        if self.expires_at < self.created_at:
            raise ValueError(f"expires_at: {self.expires_at} is before created_at, {self.created_at}")
        if self.expires_at <= datetime.now(UTC):
            raise TokenExpired(f"expires_at: the token has expired at {self.expires_at}")

    @classmethod
    def of(cls, principal: Principal) -> Self:
        """The token that has shown who a principal is, for `TokenStore.store`.

        Raises:
            ValueError: the token has no ``jti``, no ``iat`` or no ``exp``, or has expired.
        """
        if principal.credential_id is None or principal.issued_at is None or principal.expires_at is None:
            raise ValueError("principal: expected one whose token has jti, iat and exp")
        return cls(
            jti=principal.credential_id,
            user_id=principal.subject,
            issuer=principal.issuer,
            created_at=datetime.fromtimestamp(principal.issued_at, UTC),
            expires_at=datetime.fromtimestamp(principal.expires_at, UTC),
        )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The token of `to_dict`.

        Raises:
            ValueError: a field is missing, unknown, of another form, or refused by the constructor.
        """
        if missing := _REQUIRED - values.keys():
            raise ValueError(f"{', '.join(sorted(missing))}: missing")
        if unknown := values.keys() - _NAMES:
            raise ValueError(f"{len(unknown)} unknown fields; expected {', '.join(sorted(_NAMES))}")
        times = {name: _parse_time(values[name], name) for name in ("created_at", "expires_at")}
        return cls(**{**values, **times})

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """The token of `to_json`.

        Raises:
            ValueError: the text isn't a JSON object, or as with `from_dict`.
        """
        try:
            values = json.loads(text)
        except (ValueError, RecursionError):
            raise ValueError("expected a JSON object") from None
        if not isinstance(values, dict):
            raise ValueError(f"expected a JSON object, got {type(values).__name__}")
        return cls.from_dict(values)

    def to_dict(self) -> dict[str, Any]:
        """The fields as values that JSON can express; times in ISO 8601, UTC, to the microsecond."""
        return {
            "jti": self.jti,
            "user_id": self.user_id,
            "issuer": self.issuer,
            "created_at": self.created_at.isoformat(),
            "expires_at": self.expires_at.isoformat(),
            "revoked": self.revoked,
        }

    def to_json(self) -> str:
        """The fields as a JSON object."""
        return json.dumps(self.to_dict(), separators=(",", ":"))

    def seconds_left(self, now: datetime | None = None) -> float:
        """For how many seconds the token is still valid; 0 after the expiry, and never less."""
        return max(0.0, (self.expires_at - (now or datetime.now(UTC))).total_seconds())


def _to_utc(moment: object, name: str) -> datetime:
    if not isinstance(moment, datetime):
        raise ValueError(f"{name}: expected a datetime, got {type(moment).__name__}")
    if moment.utcoffset() is None:
        raise ValueError(f"{name}: expected a datetime with a time zone")
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{name}: is outside the years that UTC has") from None


def _parse_time(value: object, name: str) -> datetime:
    if not isinstance(value, str):
        raise ValueError(f"{name}: expected a text in ISO 8601, got {type(value).__name__}")
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        raise ValueError(f"{name}: isn't a time in ISO 8601") from None
