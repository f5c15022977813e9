"""Dead letters of a broker of another package: stored elsewhere, replayed by the broker."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from taskiq import AsyncBroker

from bandmaster.contrib.taskiq.brokers.third_party_broker import send_bytes
from bandmaster.contrib.taskiq.dead_letters.dead_letter import DeadLetter, DeadLetters, reset_attempts


class ThirdPartyDeadLetters:
    """Reads and writes the dead letters of another store, but replays them by a broker of another package."""

    def __init__(self, broker: AsyncBroker, store: DeadLetters) -> None:
        self._broker = broker
        self._store = store

    async def count(self) -> int:
        """See `DeadLetters.count`."""
        return await self._store.count()

    async def page(self, *, after: str | None = None, limit: int = 100) -> list[DeadLetter]:
        """See `DeadLetters.page`."""
        return await self._store.page(after=after, limit=limit)

    async def get(self, id: str) -> DeadLetter | None:  # noqa: A002
        """See `DeadLetters.get`."""
        return await self._store.get(id)

    async def add(self, letter: DeadLetter) -> str:
        """See `DeadLetters.add`."""
        return await self._store.add(letter)

    async def replay(self, ids: Iterable[str] | None = None) -> list[str]:
        """See `DeadLetters.replay`. Each letter is sent and then removed: none is lost, one may be sent twice.

        A letter that can't be parsed can't be sent, and stays.
        """
        sent = []
        for letter in await self._choose(ids):
            try:
                await send_bytes(self._broker, reset_attempts(letter.data))
            except ValueError:
                continue
            await self._store.purge([letter.id])
            sent.append(letter.id)
        return sent

    async def purge(self, ids: Iterable[str] | None = None, *, before: datetime | None = None) -> int:
        """See `DeadLetters.purge`."""
        return await self._store.purge(ids, before=before)

    async def _choose(self, ids: Iterable[str] | None) -> list[DeadLetter]:
        if ids is not None:
            return [letter for each in dict.fromkeys(ids) if (letter := await self._store.get(each)) is not None]
        found: list[DeadLetter] = []
        while page := await self._store.page(after=found[-1].id if found else None):
            found += page
        return found
