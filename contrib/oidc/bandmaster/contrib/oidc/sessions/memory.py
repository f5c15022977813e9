"""Login sessions in the memory of one process."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from bandmaster.contrib.oidc.local_locks import LocalLocks
from bandmaster.contrib.oidc.sessions.store import Session, check_logout, hash_id
from bandmaster.kernel import get_logger


class MemorySessionStore:
    """A `SessionStore` for development and for a single process: a restart ends every session.

    The store holds the newest ``max_sessions``: a further one ends the session that was stored first.
    """

    is_server_side = True

    def __init__(
        self, *, max_sessions: int = 10_000, lock_wait: float = 60, clock: Callable[[], float] = time.time
    ) -> None:
        if max_sessions < 1:
            raise ValueError(f"max_sessions: expected a number from 1 up, got {max_sessions}")
        self._max = max_sessions
        self._clock = clock
        self._locks = LocalLocks(lock_wait)
        # By the hash of the id, in the order in which sessions were first stored.
        self._sessions: dict[str, Session] = {}
        self._is_full = False

    def __len__(self) -> int:
        return len(self._sessions)

    async def get(self, handle: str) -> Session | None:
        """See `SessionStore.get`."""
        key = hash_id(handle)
        session = self._sessions.get(key)
        if session is None:
            return None
        if session.expires_at <= self._clock():
            del self._sessions[key]
            return None
        return session

    async def put(self, session: Session) -> str:
        """See `SessionStore.put`."""
        self._sessions[hash_id(session.id)] = session
        if len(self._sessions) > self._max:
            self._make_room()
        return session.id

    async def replace(self, handle: str, session: Session) -> str | None:
        """See `SessionStore.replace`."""
        if await self.get(handle) is None:
            return None
        if handle != session.id:
            del self._sessions[hash_id(handle)]
        return await self.put(session)

    async def delete(self, handle: str) -> bool:
        """See `SessionStore.delete`."""
        found = await self.get(handle)
        self._sessions.pop(hash_id(handle), None)
        return found is not None

    async def delete_by(self, issuer: str, *, sid: str | None = None, subject: str | None = None) -> int:
        """See `SessionStore.delete_by`."""
        check_logout(sid, subject)
        now = self._clock()
        ended = [
            (key, session)
            for key, session in self._sessions.items()
            if session.issuer == issuer
            and (sid is None or session.sid == sid)
            and (subject is None or session.subject == subject)
        ]
        for key, _ in ended:
            del self._sessions[key]
        return sum(session.expires_at > now for _, session in ended)

    @asynccontextmanager
    async def lock(self, session_id: str) -> AsyncGenerator[None, None]:
        """See `SessionStore.lock`. The lock holds in this process."""
        async with self._locks.hold(hash_id(session_id)):
            yield

    def _make_room(self) -> None:
        now = self._clock()
        for key in [key for key, session in self._sessions.items() if session.expires_at <= now]:
            del self._sessions[key]
        while len(self._sessions) > self._max:
            del self._sessions[next(iter(self._sessions))]
            if not self._is_full:
                self._is_full = True
                get_logger("bandmaster.oidc").warning(
                    "the session store is full, and the oldest sessions end before their time",
                    sessions=self._max,
                    hint="set AUTH_SESSION_MAX_SESSIONS higher, or AUTH_SESSION_STORE to redis or sql",
                )
