"""A token store in the memory of one process."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple

from bandmaster.contrib.oidc.errors import TokenStoreError
from bandmaster.contrib.oidc.principal import Principal
from bandmaster.contrib.oidc.token_store.stored_token import StoredToken, TokenExpired

LONGEST_LIFE = 2_592_000
"""Seconds that a revocation of tokens with an unknown expiry is kept: 30 days."""


class _Epoch(NamedTuple):
    """A revocation of all tokens of a user. Times are in seconds since the epoch of Unix."""

    until: float
    """Tokens issued until then are revoked."""
    ends: float
    """When the last of them has expired."""


class MemoryTokenStore:
    """A `TokenStore` for development and for a single process: a restart forgets every revocation.

    The store holds the newest ``max_tokens`` tokens. Revocations are kept apart, so that none is lost to a newer token:
    each of them until the revoked tokens have expired. ``max_tokens`` further ones are refused with `TokenStoreError`.
    """

    def __init__(
        self,
        *,
        max_tokens: int = 100_000,
        longest_life: float = LONGEST_LIFE,
        clock_skew: float = 0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if max_tokens < 1:
            raise ValueError(f"max_tokens: expected a number from 1 up, got {max_tokens}")
        self._max = max_tokens
        self._longest_life = longest_life
        self._clock_skew = clock_skew
        self._clock = clock
        # In the order in which tokens were stored last.
        self._tokens: dict[tuple[str, str], StoredToken] = {}
        self._by_user: dict[str, set[str]] = {}
        self._revoked: dict[tuple[str, str], float] = {}
        """When each revocation of a token ends, in seconds since the epoch."""
        self._revoked_before: dict[tuple[str, str], _Epoch] = {}
        """By user and issuer."""

    def __len__(self) -> int:
        return len(self._tokens)

    async def store(self, token: StoredToken) -> None:
        """See `TokenStore.store`."""
        key = (token.user_id, token.jti)
        expires_at = token.expires_at.timestamp()
        if expires_at <= self._clock():
            return
        if token.revoked or self._is_revoked(key, token.issuer, token.created_at.timestamp()):
            self._add_revocation(key, expires_at)
        self._forget(key)
        # Whether a token is revoked is kept apart.
        self._tokens[key] = replace(token, revoked=False) if token.revoked else token
        self._by_user.setdefault(token.user_id, set()).add(token.jti)
        while len(self._tokens) > self._max:
            self._forget(next(iter(self._tokens)))

    async def get(self, user_id: str, jti: str) -> StoredToken | None:
        """See `TokenStore.get`."""
        return self._find((user_id, jti))

    async def list_tokens(self, user_id: str) -> tuple[StoredToken, ...]:
        """See `TokenStore.list_tokens`."""
        return tuple(sorted(self._list(user_id), key=lambda token: (token.expires_at, token.jti)))

    async def revoke(self, user_id: str, jti: str, *, expires_at: datetime | None = None) -> bool:
        """See `TokenStore.revoke`."""
        key = (user_id, jti)
        token = self._find(key)
        if self._revoked.get(key, 0) > self._clock() or (token is not None and token.revoked):
            return False
        if token is not None:
            expires_at = token.expires_at
        self._add_revocation(key, self._clock() + self._longest_life if expires_at is None else expires_at.timestamp())
        return True

    async def revoke_all(self, user_id: str, *, issuer: str = "") -> int:
        """See `TokenStore.revoke_all`."""
        tokens = [token for token in self._list(user_id) if not issuer or token.issuer == issuer]
        valid = [token for token in tokens if not token.revoked]
        now = self._clock()
        until = now + self._clock_skew
        # Before anything is written, so that a refusal revokes nothing rather than some.
        later = [token for token in valid if token.created_at.timestamp() > until]
        self._make_room(self._revoked, len(later))
        if (user_id, issuer) not in self._revoked_before:
            self._make_room(self._revoked_before, 1)
        ends = max([now + self._longest_life, *(token.expires_at.timestamp() for token in tokens)])
        before = self._revoked_before.get((user_id, issuer), _Epoch(until, ends))
        self._revoked_before[user_id, issuer] = _Epoch(max(until, before.until), max(ends, before.ends))
        for token in later:
            self._add_revocation((user_id, token.jti), token.expires_at.timestamp())
        return len(valid)

    async def is_revoked(self, principal: Principal) -> bool:
        """See `TokenStore.is_revoked`."""
        if principal.kind != "token":
            return False
        return self._is_revoked(
            (principal.subject, principal.credential_id or ""), principal.issuer, principal.issued_at
        )

    def _is_revoked(self, key: tuple[str, str], issuer: str, issued_at: float | None) -> bool:
        now = self._clock()
        if self._revoked.get(key, 0) > now:
            return True
        epochs = (self._revoked_before.get((key[0], each)) for each in {issuer, ""})
        return any(
            epoch is not None and epoch.ends > now and (issued_at is None or issued_at <= epoch.until)
            for epoch in epochs
        )

    def _list(self, user_id: str) -> list[StoredToken]:
        found = (self._find((user_id, jti)) for jti in tuple(self._by_user.get(user_id, ())))
        return [token for token in found if token is not None]

    def _find(self, key: tuple[str, str]) -> StoredToken | None:
        token = self._tokens.get(key)
        if token is None:
            return None
        if token.expires_at.timestamp() <= self._clock():
            self._forget(key)
            return None
        if not self._is_revoked(key, token.issuer, token.created_at.timestamp()):
            return token
        try:
            return replace(token, revoked=True)
        except TokenExpired:  # just now
            return None

    def _forget(self, key: tuple[str, str]) -> None:
        if self._tokens.pop(key, None) is None:
            return
        user_id, jti = key
        tokens = self._by_user[user_id]
        tokens.discard(jti)
        if not tokens:
            del self._by_user[user_id]

    def _add_revocation(self, key: tuple[str, str], ends: float) -> None:
        if key not in self._revoked:
            self._make_room(self._revoked, 1)
        self._revoked[key] = max(ends, self._revoked.get(key, 0))

    def _make_room(self, revocations: dict[tuple[str, str], Any], count: int) -> None:
        """Check that more revocations fit in, without those that have ended.

        Raises:
            TokenStoreError: they don't.
        """
        if len(revocations) + count <= self._max:
            return
        now = self._clock()
        for key in [key for key, entry in revocations.items() if _end_of(entry) <= now]:
            del revocations[key]
        if len(revocations) + count > self._max:
            raise TokenStoreError(
                f"the token store in memory keeps {self._max} revocations, and none of them has ended: set "
                "AUTH_TOKEN_STORE_MAX_TOKENS higher, or AUTH_TOKEN_STORE to redis"
            )


def _end_of(entry: float | _Epoch) -> float:
    return entry.ends if isinstance(entry, _Epoch) else entry
