"""Retries of transactions that lost a race, after pauses that grow."""

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
    """How often a transaction is tried, and the pauses between attempts."""

    attempts: int = 5
    """The number of attempts, the first included."""
    pause: float = 0.02
    """The longest pause before the second attempt, in seconds; the bound doubles with each attempt."""
    longest: float = 1.0
    """The longest of all pauses, in seconds."""

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ValueError(f"attempts: expected a number from 1 up, got {self.attempts!r}")
        if self.pause < 0 or self.longest < 0:
            raise ValueError("pause, longest: expected seconds from 0 up")

    def before(self, attempt: int) -> float:
        """Seconds to wait before an attempt, which is counted from 2.

        The pause is random up to its bound ("full jitter"), so that transactions that met once don't meet again.
        """
        return random.uniform(0, min(self.longest, self.pause * 2 ** (attempt - 2)))  # noqa: S311


async def retry_lost_races(attempt: Callable[[], Awaitable[T]], retries: Retries) -> T:
    """Call ``attempt`` again after each lost race.

    Raises:
        TransientDatabaseError: the last attempt lost a race, too.
    """
    count = 1
    while True:
        try:
            return await attempt()
        except TransientDatabaseError as error:
            if not error.lost_a_race or count >= retries.attempts:
                raise
        count += 1
        await anyio.sleep(retries.before(count))
