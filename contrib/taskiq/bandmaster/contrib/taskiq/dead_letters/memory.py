"""Dead letters in this process's memory."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime

from bandmaster.contrib.taskiq.dead_letters.dead_letter import DeadLetter, reset_attempts

MOST_LETTERS = 10_000
"""When there are more, the oldest are deleted."""


class MemoryDeadLetters:
    """The dead letters of this process, the last 10 000. ``send`` sends the messages of replayed letters."""

    def __init__(self, send: Callable[[bytes], object] | None = None) -> None:
        self._send = send
        self._letters: dict[str, DeadLetter] = {}
        self._numbers = itertools.count(1)

    async def count(self) -> int:
        """See `DeadLetters.count`."""
        return len(self._letters)

    async def page(self, *, after: str | None = None, limit: int = 100) -> list[DeadLetter]:
        """See `DeadLetters.page`."""
        since = 0 if after is None else int(after)
        return list(itertools.islice((one for one in self._letters.values() if int(one.id) > since), limit))

    async def get(self, id: str) -> DeadLetter | None:  # noqa: A002
        """See `DeadLetters.get`."""
        return self._letters.get(id)

    async def add(self, letter: DeadLetter) -> str:
        """See `DeadLetters.add`."""
        number = str(next(self._numbers))
        self._letters[number] = replace(letter, id=number)
        if len(self._letters) > MOST_LETTERS:
            del self._letters[next(iter(self._letters))]
        return number

    async def replay(self, ids: Iterable[str] | None = None) -> list[str]:
        """See `DeadLetters.replay`.

        Raises:
            RuntimeError: no ``send`` was given.
        """
        if self._send is None:
            raise RuntimeError("these dead letters can't be replayed: MemoryDeadLetters was made without send")
        chosen = self._choose(ids)
        for each in chosen:
            self._send(reset_attempts(self._letters.pop(each).data))
        return chosen

    async def purge(self, ids: Iterable[str] | None = None, *, before: datetime | None = None) -> int:
        """See `DeadLetters.purge`."""
        chosen = [each for each in self._choose(ids) if before is None or self._letters[each].died_at < before]
        for each in chosen:
            del self._letters[each]
        return len(chosen)

    def _choose(self, ids: Iterable[str] | None) -> list[str]:
        return [each for each in dict.fromkeys(self._letters if ids is None else ids) if each in self._letters]
