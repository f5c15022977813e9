"""Pause after failures, by name."""

from __future__ import annotations

import time
from collections.abc import Callable

_MOST = 10_000


class Backoff:
    """Remembers for some seconds that something has failed. Bounded: the oldest names are forgotten first."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._until: dict[str, float] = {}

    def remaining(self, name: str) -> float:
        """The seconds until the next try may be made; 0 now."""
        return max(0.0, self._until.get(name, 0) - self._clock())

    def note(self, name: str) -> None:
        """Note a failure."""
        self._until.pop(name, None)
        self._until[name] = self._clock() + self._seconds
        if len(self._until) > _MOST:
            del self._until[next(iter(self._until))]

    def clear(self, name: str) -> None:
        """Note a success."""
        self._until.pop(name, None)
