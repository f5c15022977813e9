"""A clock that stands still until the test moves the time."""

from __future__ import annotations


class Clock:
    """Seconds, since the epoch or of another clock."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds
