"""`ApiKeyStore`, the interface of stores of API keys, and the store in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from bandmaster.contrib.oidc.api_keys.api_key import ApiKey, KeyState
from bandmaster.contrib.oidc.errors import ApiKeyError


class ApiKeyStore(Protocol):
    """Keeps the records of API keys. All times are in seconds since the epoch.

    Each method is atomic, across processes where the store has several. An override or a component of this type
    replaces the store that the settings name; a component with ``decorates=ApiKeyStore`` wraps that store.

    Each method raises:
        AuthUnavailableError: the store can't be reached.
        ApiKeyError: the store refuses, for example because a table is missing.
    """

    async def get(self, key_id: str) -> ApiKey | None:
        """The key of an id; None if there is none. Called for each request with a key."""
        ...

    async def add(self, key: ApiKey) -> None:
        """Keep a new key.

        Raises:
            ApiKeyError: there is a key of that id.
        """
        ...

    async def list(
        self,
        *,
        owner: str | None = None,
        pepper: str | None = None,
        usable_at: float | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> Sequence[ApiKey]:
        """Keys in the order of their ids.

        Only those of an owner, those hashed with the pepper of an id, those accepted at a time, and those behind the id
        ``after``, as far as these are given.
        """
        ...

    async def revoke(self, key_id: str, now: float) -> ApiKey | None:
        """Revoke a key and return the record; None if there is none. The time of an earlier revocation stays."""
        ...

    async def rotate(self, key_id: str, successor: ApiKey, *, now: float, ends_at: float) -> bool:
        """Keep a successor, and let the key end at ``ends_at``, or at an earlier end of the key.

        ``ends_at`` not after ``now`` revokes the key. Returns whether that was done: a key that has ended, was replaced
        already, or doesn't exist isn't rotated. Of several calls at the same time one is done.
        """
        ...

    async def record_uses(self, uses: Mapping[str, float], *, interval: float) -> None:
        """Note when keys were used. A key whose noted use is less than ``interval`` seconds earlier isn't written."""
        ...

    async def replace_hash(self, key_id: str, old: str, new: str) -> bool:
        """Replace a hash that is still the old one. Returns whether the hash was the old one."""
        ...

    async def count_usable(self, now: float) -> Mapping[str, int]:
        """How many keys are accepted at a time, by how they were hashed (`ApiKey.hashed_with`)."""
        ...


class MemoryApiKeyStore:
    """An `ApiKeyStore` for development and tests: keys end with the process, and other processes don't know them."""

    def __init__(self) -> None:
        self._keys: dict[str, ApiKey] = {}

    def __len__(self) -> int:
        return len(self._keys)

    async def get(self, key_id: str) -> ApiKey | None:
        """See `ApiKeyStore.get`."""
        return self._keys.get(key_id)

    async def add(self, key: ApiKey) -> None:
        """See `ApiKeyStore.add`."""
        if key.id in self._keys:
            raise make_taken_error(key.id)
        self._keys[key.id] = key

    async def list(
        self,
        *,
        owner: str | None = None,
        pepper: str | None = None,
        usable_at: float | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> Sequence[ApiKey]:
        """See `ApiKeyStore.list`."""
        found = [
            key
            for name, key in sorted(self._keys.items())
            if (owner is None or key.owner == owner)
            and (pepper is None or key.hashed_with.endswith(f"${pepper}"))
            and (usable_at is None or key.get_state(usable_at) is KeyState.USABLE)
            and (after is None or name > after)
        ]
        return found[:limit]

    async def revoke(self, key_id: str, now: float) -> ApiKey | None:
        """See `ApiKeyStore.revoke`."""
        key = self._keys.get(key_id)
        if key is not None and key.revoked_at is None:
            key = self._keys[key_id] = replace(key, revoked_at=now)
        return key

    async def rotate(self, key_id: str, successor: ApiKey, *, now: float, ends_at: float) -> bool:
        """See `ApiKeyStore.rotate`."""
        key = self._keys.get(key_id)
        if key is None or key.replaced_by is not None or key.get_state(now) is not KeyState.USABLE:
            return False
        await self.add(successor)
        if ends_at > now:
            ends_at = ends_at if key.expires_at is None else min(ends_at, key.expires_at)
            self._keys[key_id] = replace(key, replaced_by=successor.id, expires_at=ends_at)
        else:
            self._keys[key_id] = replace(key, replaced_by=successor.id, revoked_at=now)
        return True

    async def record_uses(self, uses: Mapping[str, float], *, interval: float) -> None:
        """See `ApiKeyStore.record_uses`."""
        for key_id, used_at in uses.items():
            key = self._keys.get(key_id)
            if key is not None and (key.last_used_at is None or used_at - key.last_used_at >= interval):
                self._keys[key_id] = replace(key, last_used_at=used_at)

    async def replace_hash(self, key_id: str, old: str, new: str) -> bool:
        """See `ApiKeyStore.replace_hash`."""
        key = self._keys.get(key_id)
        if key is None or key.hash != old:
            return False
        self._keys[key_id] = replace(key, hash=new)
        return True

    async def count_usable(self, now: float) -> Mapping[str, int]:
        """See `ApiKeyStore.count_usable`."""
        return Counter(key.hashed_with for key in self._keys.values() if key.get_state(now) is KeyState.USABLE)


def make_taken_error(key_id: str) -> ApiKeyError:
    """The error for an id that another key has."""
    return ApiKeyError(f"there is a key {key_id!r} already")
