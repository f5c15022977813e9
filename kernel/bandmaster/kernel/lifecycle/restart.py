"""Background services: run, restarted with backoff, given up when they fail too often."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from bandmaster.kernel.contributions.model import OnCrash


@dataclass(frozen=True, kw_only=True, slots=True)
class Restart:
    """When a background service is run again, after which pause, and when that ends.

    As in OTP: ``always`` is its permanent, ``on_failure`` its transient, ``never`` its temporary child, and more than
    ``intensity`` restarts within ``period`` seconds are too many.

    Raises:
        ValueError: a field is out of range; the message names it.
    """

    when: Literal["always", "on_failure", "never"] = "on_failure"
    intensity: int = 5
    """How many restarts within ``period`` are borne; one more and the service is given up."""
    period: float = 60.0
    """Seconds."""
    initial_delay: float = 0.1
    """Seconds before the first restart; each further one within ``period`` doubles it."""
    max_delay: float = 30.0
    """Seconds."""
    jitter: float = 0.1
    """Up to this share of a delay is added at random, so that many processes don't return at once."""
    when_exhausted: OnCrash = "stop"
    """What follows when the service is given up: the whole plan stops, or readiness is lost until the stop."""

    def __post_init__(self) -> None:
        if self.when not in ("always", "on_failure", "never"):
            raise ValueError(f"when: expected 'always', 'on_failure' or 'never', got {self.when!r}")
        if self.when_exhausted not in ("stop", "degrade"):
            raise ValueError(f"when_exhausted: expected 'stop' or 'degrade', got {self.when_exhausted!r}")
        if self.intensity < 0:
            raise ValueError(f"intensity: expected 0 or more restarts, got {self.intensity!r}")
        for name in ("period", "initial_delay", "max_delay", "jitter"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name}: expected a number from 0 up, got {getattr(self, name)!r}")


Service = Callable[[], Awaitable[object]]


class History:
    """The recent restarts of one service, and what follows from them."""

    def __init__(self, restart: Restart, rng: Callable[[], float] = random.random) -> None:
        self._restart = restart
        self._rng = rng
        self._recent: deque[float] = deque()

    def next_delay(self, now: float) -> float | None:
        """Seconds until the next run, for a service that has just ended; none if it has ended too often."""
        restart = self._restart
        while self._recent and self._recent[0] <= now - restart.period:
            self._recent.popleft()
        if len(self._recent) >= restart.intensity:
            return None
        doublings = min(len(self._recent), 1000)  # a float holds no more
        delay: float = min(restart.initial_delay * 2.0**doublings, restart.max_delay)
        self._recent.append(now)
        return delay * (1 + restart.jitter * self._rng())
