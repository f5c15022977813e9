"""Collect the updates of keys that no request waits for, and write them to the store."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio

from bandmaster.contrib.oidc.api_keys.api_key import ApiKey
from bandmaster.contrib.oidc.api_keys.store import ApiKeyStore
from bandmaster.contrib.oidc.errors import AuthUnavailableError
from bandmaster.kernel import get_logger

MakeHash = Callable[[], Awaitable[str]]
_COLLECTING = 1.0
"""Seconds for which updates are collected before they are written together."""
_FIRST_PAUSE = 5.0
_LONGEST_PAUSE = 60.0
_MOST_RENEWALS = 1000
"""Keys whose hashes are to be renewed, at most: each is in memory until then. Others wait for their next use."""
_RENEWED_AT_ONCE = 4
"""New hashes that are computed before the updates are written: with bcrypt, each takes a quarter of a second."""
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
        self._renewals: dict[str, tuple[str, MakeHash]] = {}
        """The old hash, and the function that makes a new one, by the id of the key."""
        self._hashes: dict[str, tuple[str, str]] = {}
        self._is_failing = False
        self._wanted = anyio.Event()

    def __len__(self) -> int:
        return len(self._uses) + len(self._renewals) + len(self._hashes)

    def add_use(self, key: ApiKey, now: float) -> None:
        """Note a use of a key, unless the record has one that is less than the interval ago."""
        if key.last_used_at is None or now - key.last_used_at >= self._interval:
            self._uses[key.id] = now
            self._wanted.set()

    def add_renewal(self, key: ApiKey, make: MakeHash) -> None:
        """Note that a new hash, which ``make`` computes later, is to take the place of the key's hash."""
        if key.id in self._renewals or key.id in self._hashes or len(self._renewals) >= _MOST_RENEWALS:
            return
        self._renewals[key.id] = key.hash, make
        self._wanted.set()

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

    async def write(self, *, renews: bool = True) -> bool:
        """Write all updates, and return whether that worked. Updates that weren't written are kept.

        With ``renews`` some new hashes are computed first. The other renewals come with the next write.
        """
        for key_id in list(self._renewals)[:_RENEWED_AT_ONCE] if renews else ():
            await self._renew(key_id)
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
            if len(self):
                self._wanted.set()
        self._is_failing = False
        return True

    async def write_last(self) -> None:
        """Write all updates when the application stops, within a few seconds. A failure is logged.

        No new hash is computed any more: keys change over at their next use.
        """
        with anyio.move_on_after(_LAST_WRITE):
            await self.write(renews=False)
        if self._uses or self._hashes:
            get_logger("bandmaster.oidc").warning(
                "the last uses of API keys weren't written before the stop", keys=len(self._uses)
            )

    async def _renew(self, key_id: str) -> None:
        """Compute a new hash. Where that fails, the next use of the key asks again."""
        old, make = self._renewals[key_id]
        try:
            self._hashes[key_id] = old, await make()
        except AuthUnavailableError:
            pass  # all threads for hashes are busy with requests
        except Exception as error:  # noqa: BLE001  # a hasher's fault must end neither the service nor the application
            get_logger("bandmaster.oidc").error("the hash of an API key can't be renewed", id=key_id, exception=error)
        # Not before, so that a cancellation leaves the renewal where it was.
        self._renewals.pop(key_id, None)
