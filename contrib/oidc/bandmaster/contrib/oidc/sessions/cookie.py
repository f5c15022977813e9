"""Sessions that browsers keep, encrypted in a cookie."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from bandmaster.contrib.oidc.errors import SessionTooLargeError
from bandmaster.contrib.oidc.local_locks import LocalLocks
from bandmaster.contrib.oidc.sessions.cipher import Cipher
from bandmaster.contrib.oidc.sessions.records import Records, dump_session, without_refresh_token
from bandmaster.contrib.oidc.sessions.store import Session, check_logout, hash_id

PURPOSE = "session cookie"
_PLACE = "cookie"


class CookieSessionStore:
    """A `SessionStore` without a store: the handle of a session is the session, encrypted.

    Only the browser ends such a session early: `delete` and `delete_by` find nothing, so that back-channel logout has
    no effect. A copy of the cookie stays valid after a logout. A refresh token is left out: two
    responses at once would put a used one back into the cookie.
    """

    is_server_side = False

    def __init__(
        self, cipher: Cipher, *, limit: int = 3900, lock_wait: float = 60, clock: Callable[[], float] = time.time
    ) -> None:
        self._records = Records(cipher, clock)
        self._limit = limit
        self._locks = LocalLocks(lock_wait)

    async def get(self, handle: str) -> Session | None:
        """See `SessionStore.get`."""
        # What a browser sends costs nothing to refuse if no cookie of ours is as long.
        return None if len(handle) > self._limit else self._records.read(handle, _PLACE, trusted=False)

    async def put(self, session: Session) -> str:
        """See `SessionStore.put`.

        Raises:
            SessionTooLargeError: the handle would have more bytes than ``limit``. The message names the largest parts.
        """
        kept = without_refresh_token(session)
        handle = self._records.write(kept, _PLACE)
        if len(handle) > self._limit:
            raise SessionTooLargeError(
                f"a session has {len(handle)} bytes as a cookie, and browsers drop what is above {self._limit} "
                f"({_describe_parts(kept)}): ask the provider for fewer claims, or set AUTH_SESSION_STORE to redis or "
                "sql",
                size=len(handle),
                limit=self._limit,
            )
        return handle

    async def replace(self, handle: str, session: Session) -> str | None:
        """See `SessionStore.replace`."""
        return None if await self.get(handle) is None else await self.put(session)

    async def delete(self, handle: str) -> bool:
        """Return False: whoever removes the cookie ends the session."""
        return False

    async def delete_by(self, issuer: str, *, sid: str | None = None, subject: str | None = None) -> int:
        """Return 0: no session but those that browsers send is known."""
        check_logout(sid, subject)
        return 0

    @asynccontextmanager
    async def lock(self, session_id: str) -> AsyncGenerator[None, None]:
        """See `SessionStore.lock`. The lock holds in this process."""
        async with self._locks.hold(hash_id(session_id)):
            yield


def _describe_parts(session: Session) -> str:
    tokens = {"access token": len(session.access_token or ""), "id token": len(session.id_token or "")}
    parts = {"claims": len(dump_session(session)) - sum(tokens.values()), **tokens}
    return ", ".join(f"{name} {size}" for name, size in sorted(parts.items(), key=lambda part: -part[1]) if size)
