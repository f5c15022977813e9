"""Locks by key within one process, which exist only while somebody holds or awaits them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio

from bandmaster.contrib.oidc.errors import AuthUnavailableError


class LocalLocks:
    """One lock per key, fair. ``wait`` is the longest wait for a lock, in seconds; errors begin with ``label``."""

    def __init__(self, wait: float, label: str = "the lock of a session") -> None:
        self._wait = wait
        self._label = label
        self._locks: dict[str, tuple[anyio.Lock, int]] = {}

    def __len__(self) -> int:
        return len(self._locks)

    @asynccontextmanager
    async def hold(self, key: str) -> AsyncGenerator[None, None]:
        """Hold the lock of a key until the block ends.

        Raises:
            AuthUnavailableError: others hold the lock for too long.
        """
        lock, users = self._locks.get(key, (None, 0))
        lock = lock or anyio.Lock()
        self._locks[key] = lock, users + 1
        try:
            await self._acquire(lock)
            try:
                yield
            finally:
                lock.release()
        finally:
            lock, users = self._locks.pop(key)
            if users > 1:
                self._locks[key] = lock, users - 1

    async def _acquire(self, lock: anyio.Lock) -> None:
        try:
            with anyio.fail_after(self._wait):
                await lock.acquire()
        except TimeoutError:
            raise AuthUnavailableError(
                f"{self._label} wasn't free within {self._wait:g} s: another request holds it for too long"
            ) from None
