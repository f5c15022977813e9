"""The codes and refresh tokens that the provider for development has issued."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from hmac import compare_digest
from typing import Any

from bandmaster.contrib.oidc.devprovider.settings import DevUser

_MOST = 1000
"""The most codes, and the most refresh tokens, that are kept; the oldest go first."""
_CODE_SECONDS = 60
_REFRESH_SECONDS = 12 * 3600


@dataclass(frozen=True, slots=True)
class Grant:
    """The rights that a user has granted to an application by logging in."""

    user: DevUser
    client_id: str
    scopes: tuple[str, ...]
    resource: str | None
    """The audience that the application has asked for (RFC 8707)."""
    nonce: str | None = field(repr=False)
    logged_in_at: float
    session: str
    """The id of this login, the ``sid`` claim."""


@dataclass(frozen=True, slots=True)
class PendingCode:
    """An authorization code that hasn't been spent."""

    grant: Grant
    redirect_uri: str
    challenge: str = field(repr=False)
    expires_at: float


class Codes:
    """Authorization codes, each good once and for a minute."""

    def __init__(self) -> None:
        self._pending: dict[str, PendingCode] = {}

    def issue(self, grant: Grant, redirect_uri: str, challenge: str, now: float) -> str:
        """Make a code for a login that has just happened."""
        _make_room(self._pending)
        code = secrets.token_urlsafe(32)
        self._pending[code] = PendingCode(grant, redirect_uri, challenge, now + _CODE_SECONDS)
        return code

    def spend(self, code: str, now: float) -> PendingCode | None:
        """Use up a code and return its login; None if the code is unknown, spent or expired."""
        found = self._pending.pop(code, None)
        return None if found is None or found.expires_at <= now else found


@dataclass(frozen=True, slots=True)
class _Refreshable:
    grant: Grant
    secret: str = field(repr=False)
    expires_at: float


class RefreshTokens:
    """Refresh tokens, one for each login. A token that is spent again ends its login (RFC 9700, section 4.14.2)."""

    def __init__(self) -> None:
        self._by_session: dict[str, _Refreshable] = {}

    def issue(self, grant: Grant, now: float) -> str:
        """Make the token of a login. The login's token before is spent."""
        self._by_session.pop(grant.session, None)
        _make_room(self._by_session)
        secret = secrets.token_urlsafe(32)
        self._by_session[grant.session] = _Refreshable(grant, secret, now + _REFRESH_SECONDS)
        return f"{grant.session}.{secret}"

    def find(self, token: str, now: float) -> Grant | None:
        """Find the grant of a token; None if the token is spent, expired or revoked."""
        session, _, secret = token.partition(".")
        found = self._by_session.get(session)
        if found is None or found.expires_at <= now or not compare_digest(secret.encode(), found.secret.encode()):
            return None
        return found.grant

    def spend(self, token: str, now: float) -> Grant | None:
        """Find the grant of a token; the login of a token that isn't good ends."""
        grant = self.find(token, now)
        if grant is None:
            self._by_session.pop(token.partition(".")[0], None)
        return grant

    def revoke(self, token: str, now: float) -> None:
        """End the login of a token that is good."""
        if self.find(token, now) is not None:
            del self._by_session[token.partition(".")[0]]


def _make_room(kept: dict[str, Any]) -> None:
    while len(kept) >= _MOST:
        del kept[next(iter(kept))]
