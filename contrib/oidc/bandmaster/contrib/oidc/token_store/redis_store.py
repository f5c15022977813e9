"""A token store in Redis, shared by all processes."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any

from bandmaster.contrib.oidc.errors import TokenStoreError
from bandmaster.contrib.oidc.extras import naming_extra
from bandmaster.contrib.oidc.principal import Principal
from bandmaster.contrib.oidc.store_errors import store_errors
from bandmaster.contrib.oidc.token_store.memory import LONGEST_LIFE
from bandmaster.contrib.oidc.token_store.scripts import GET, IS_REVOKED, LIST, REVOKE, REVOKE_ALL, STORE
from bandmaster.contrib.oidc.token_store.stored_token import StoredToken, TokenExpired

with naming_extra("redis"):
    from redis.asyncio import Redis

    from bandmaster.contrib.redis import redis_errors


class RedisTokenStore:
    """A `TokenStore` in Redis. The client is one of `bandmaster.contrib.redis`.

    All keys of a user have one hash tag, so that the scripts run in a cluster. Keys hold a hash of the user's id.
    """

    def __init__(
        self,
        client: Redis,
        *,
        prefix: str = "ts:",
        longest_life: float = LONGEST_LIFE,
        clock_skew: float = 0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._prefix = prefix
        self._longest_life = longest_life
        self._clock_skew = clock_skew
        self._clock = clock
        self._store, self._get, self._list = map(client.register_script, (STORE, GET, LIST))
        self._revoke, self._revoke_all, self._is_revoked = map(client.register_script, (REVOKE, REVOKE_ALL, IS_REVOKED))

    async def store(self, token: StoredToken) -> None:
        """See `TokenStore.store`."""
        expires_at = _to_milliseconds(token.expires_at.timestamp())
        if expires_at <= _to_milliseconds(self._clock()):
            return
        await self._run(
            self._store,
            token.user_id,
            token.jti,
            token.to_json(),
            expires_at,
            _to_milliseconds(self._clock()),
            _to_microseconds(token.created_at.timestamp()),
            token.issuer,
            int(token.revoked),
        )

    async def get(self, user_id: str, jti: str) -> StoredToken | None:
        """See `TokenStore.get`."""
        found = await self._run(self._get, user_id, jti)
        return None if found is None else self._load(*found)

    async def list_tokens(self, user_id: str) -> tuple[StoredToken, ...]:
        """See `TokenStore.list_tokens`."""
        found = await self._run(self._list, user_id, _to_milliseconds(self._clock()))
        tokens = (self._load(text, revoked) for text, revoked in found)
        return tuple(
            sorted((token for token in tokens if token is not None), key=lambda token: (token.expires_at, token.jti))
        )

    async def revoke(self, user_id: str, jti: str, *, expires_at: datetime | None = None) -> bool:
        """See `TokenStore.revoke`."""
        now = self._clock()
        ends = now + self._longest_life if expires_at is None else expires_at.timestamp()
        # A time to live is never negative, also for a token that has expired.
        ends = max(ends, now + 0.001)
        return bool(await self._run(self._revoke, user_id, jti, _to_milliseconds(ends)))

    async def revoke_all(self, user_id: str, *, issuer: str = "") -> int:
        """See `TokenStore.revoke_all`."""
        now = self._clock()
        return int(
            await self._run(
                self._revoke_all,
                user_id,
                issuer,
                _to_milliseconds(now),
                _to_microseconds(now + self._clock_skew),
                _to_milliseconds(now + self._longest_life),
            )
        )

    async def is_revoked(self, principal: Principal) -> bool:
        """See `TokenStore.is_revoked`."""
        if principal.kind != "token":
            return False
        issued_at = principal.issued_at
        return bool(
            await self._run(
                self._is_revoked,
                principal.subject,
                principal.credential_id or "",
                "" if issued_at is None else _to_microseconds(issued_at),
                principal.issuer,
            )
        )

    async def _run(self, script: Any, user_id: str, *arguments: str | int) -> Any:
        # Hashed, so that neither a brace in an id breaks the hash tag nor keys show who a user is.
        base = f"{self._prefix}{{{hashlib.sha256(_encode(user_id)).hexdigest()[:40]}}}:"
        given = [_encode(each) if isinstance(each, str) else each for each in arguments]
        with _errors():
            return await script(keys=[f"{base}idx", f"{base}ep"], args=[f"{base}t:", *given])

    def _load(self, text: str | bytes, revoked: Any) -> StoredToken | None:
        """The token of a record; None for one that has expired just now.

        Raises:
            TokenStoreError: the record isn't a token.
        """
        try:
            return replace(StoredToken.from_json(text), revoked=bool(int(revoked)))
        except TokenExpired:
            return None
        except ValueError as error:
            raise TokenStoreError(f"the Redis of tokens holds something that isn't a token: {error}") from error


def _encode(text: str) -> bytes:
    # JSON may hold half of a surrogate pair, which UTF-8 can't express.
    return text.encode(errors="surrogatepass")


def _to_milliseconds(seconds: float) -> int:
    return int(seconds * 1000)


def _to_microseconds(seconds: float) -> int:
    return round(seconds * 1_000_000)


@contextmanager
def _errors() -> Iterator[None]:
    with store_errors("the Redis of tokens", TokenStoreError), redis_errors():
        yield
