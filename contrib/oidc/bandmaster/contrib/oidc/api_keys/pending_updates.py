"""Collect the updates of keys that no request waits for, and write them to the store."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio

from bandmaster.contrib.oidc.api_keys.api_key import ApiKey
from bandmaster.contrib.oidc.api_keys.store import ApiKeyStore
from bandmaster.kernel import get_logger

_COLLECTING = 1.0
"""Seconds for which updates are collected before they are written together."""
_FIRST_PAUSE = 5.0
_LONGEST_PAUSE = 60.0
_LAST_WRITE = 5.0
"""Seconds that the write at the stop may take."""


class PendingUpdates:
    """Updates of keys that no request waits for: the time of the last use, and the hash with the first pepper.

    A failed write is tried again with the next one, and never reaches a request. Nothing grows with the number of
    requests: there is at most one update of each kind for each key.
    """

    def __init__(
        self, store: ApiKeyStore, *, interval: float, sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    ) -> None:
        self._store = store
        self._interval = interval
        self._sleep = sleep
        self._uses: dict[str, float] = {}
        self._hashes: dict[str, tuple[str, str]] = {}
        self._is_failing = False
        self._wanted = anyio.Event()

    def __len__(self) -> int:
        return len(self._uses) + len(self._hashes)

    def add_use(self, key: ApiKey, now: float) -> None:
        """Note a use of a key, unless the record has one that is less than the interval ago."""
        if key.last_used_at is None or now - key.last_used_at >= self._interval:
            self._uses[key.id] = now
            self._wanted.set()

    def add_hash(self, key: ApiKey, new: str) -> None:
        """Note that a new hash takes the place of the key's hash."""
        self._hashes[key.id] = key.hash, new
        self._wanted.set()

    def has_hash(self, key: ApiKey) -> bool:
        """Whether a new hash of this key is to be written."""
        return key.id in self._hashes

    async def run(self) -> None:
        """Write updates until cancelled, at most once a second."""
        pause = _FIRST_PAUSE
        while True:
            await self._wanted.wait()
            await self._sleep(_COLLECTING)
            if await self.write():
                pause = _FIRST_PAUSE
            else:
                await self._sleep(pause)
                pause = min(_LONGEST_PAUSE, pause * 2)

    async def write(self) -> bool:
        """Write all updates, and return whether that worked. Updates that weren't written are kept."""
        uses, self._uses = self._uses, {}
        hashes, self._hashes = self._hashes, {}
        self._wanted = anyio.Event()
        try:
            for key_id, (old, new) in list(hashes.items()):
                await self._store.replace_hash(key_id, old, new)
                del hashes[key_id]
            if uses:
                await self._store.record_uses(uses, interval=self._interval)
            uses = {}
        except Exception as error:  # noqa: BLE001  # a store's failure must end neither the service nor the application
            if not self._is_failing:
                get_logger("bandmaster.oidc").warning(
                    "the last uses of API keys can't be written; they are kept and tried again",
                    error=f"{type(error).__name__}: {error}",
                )
            self._is_failing = True
            return False
        finally:
            # Also after a cancellation. A newer update has come in since, perhaps.
            self._uses = uses | self._uses
            self._hashes = hashes | self._hashes
            if self._uses or self._hashes:
                self._wanted.set()
        self._is_failing = False
        return True

    async def write_last(self) -> None:
        """Write all updates when the application stops, within a few seconds. A failure is logged."""
        with anyio.move_on_after(_LAST_WRITE):
            await self.write()
        if len(self):
            get_logger("bandmaster.oidc").warning(
                "the last uses of API keys weren't written before the stop", keys=len(self._uses)
            )
