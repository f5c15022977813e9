"""Again, after a pause that grows: for transactions that gave way to others."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import anyio

from bandmaster.contrib.persistence.errors import TransientDatabaseError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Retries:
    """How often, and after which pauses."""

    attempts: int = 5
    """All in all, the first included."""
    pause: float = 0.02
    """Seconds before the second attempt at most; it doubles with each."""
    longest: float = 1.0
    """Seconds that a pause takes at most."""

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ValueError(f"attempts: expected a number from 1 up, got {self.attempts!r}")
        if self.pause < 0 or self.longest < 0:
            raise ValueError("pause, longest: expected seconds from 0 up")

    def before(self, attempt: int) -> float:
        """Seconds to wait before an attempt, counted from 2: anything up to the bound ("full jitter"), so that those
        who met once don't meet again.
        """
        return random.uniform(0, min(self.longest, self.pause * 2 ** (attempt - 2)))  # noqa: S311


async def retried(once: Callable[[], Awaitable[T]], retries: Retries) -> T:
    """Call it until it doesn't lose a race any more.

    Raises:
        TransientDatabaseError: it lost the last one, too.
    """
    attempt = 1
    while True:
        try:
            return await once()
        except TransientDatabaseError as error:
            if not error.lost_a_race or attempt >= retries.attempts:
                raise
        attempt += 1
        await anyio.sleep(retries.before(attempt))
