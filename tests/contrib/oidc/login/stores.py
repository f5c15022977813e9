"""Session stores for tests: one that can be away."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from bandmaster.contrib.oidc import MemorySessionStore, Session
from bandmaster.contrib.oidc.errors import AuthUnavailableError


class UnreliableStore:
    """A store in memory that is away when a test says so."""

    is_server_side = True

    def __init__(self, clock: Any) -> None:
        self.inner = MemorySessionStore(clock=clock)
        self.is_away = False
        self.failing_writes = 0
        """How many of the next writes fail."""

    def _check(self, *, writes: bool = False) -> None:
        if self.is_away:
            raise AuthUnavailableError("the store is away", retry_after=7)
        if writes and self.failing_writes > 0:
            self.failing_writes -= 1
            raise AuthUnavailableError("the store didn't take it")

    async def get(self, handle: str) -> Session | None:
        self._check()
        return await self.inner.get(handle)

    async def put(self, session: Session) -> str:
        self._check(writes=True)
        return await self.inner.put(session)

    async def replace(self, handle: str, session: Session) -> str | None:
        self._check(writes=True)
        return await self.inner.replace(handle, session)

    async def delete(self, handle: str) -> bool:
        self._check(writes=True)
        return await self.inner.delete(handle)

    async def delete_by(self, issuer: str, *, sid: str | None = None, subject: str | None = None) -> int:
        self._check(writes=True)
        return await self.inner.delete_by(issuer, sid=sid, subject=subject)

    @asynccontextmanager
    async def lock(self, session_id: str) -> AsyncGenerator[None, None]:
        self._check()
        async with self.inner.lock(session_id):
            yield
