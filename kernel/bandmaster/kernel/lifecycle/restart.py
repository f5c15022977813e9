"""Decide when a background service is restarted, after which delay, and when it is given up. Pure."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from bandmaster.kernel.contributions.model import OnCrash


@dataclass(frozen=True, kw_only=True, slots=True)
class Restart:
    """The policy by which a background service is restarted.

    ``when`` is ``on_failure`` for a service that may return when the work is done, ``always`` for a service that must
    never return, and ``never`` for a service that may fail. A service that needs more than ``intensity`` restarts
    within ``period`` seconds is given up. Erlang's OTP calls the three kinds transient, permanent and temporary.

    Raises:
        ValueError: a field is out of range; the message names it.
    """

    when: Literal["always", "on_failure", "never"] = "on_failure"
    intensity: int = 5
    """The most restarts within ``period``; a service that needs one more is given up."""
    period: float = 60.0
    """Seconds."""
    initial_delay: float = 0.1
    """Seconds before the first restart; each further restart within ``period`` doubles the delay."""
    max_delay: float = 30.0
    """Seconds."""
    jitter: float = 0.1
    """The share of a delay that is added at random, at most, so that many processes don't restart at once."""
    when_exhausted: OnCrash = "stop"
    """The consequence of giving up: ``stop`` stops the whole plan, ``degrade`` only loses readiness."""

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
"""The async function that a background service runs."""


class RestartHistory:
    """The recent restarts of one service."""

    def __init__(self, restart: Restart, rng: Callable[[], float] = random.random) -> None:
        self._restart = restart
        self._rng = rng
        self._recent: deque[float] = deque()

    def next_delay(self, now: float) -> float | None:
        """Record an end of the service and return the seconds until the next run, or None after too many ends."""
        restart = self._restart
        while self._recent and self._recent[0] <= now - restart.period:
            self._recent.popleft()
        if len(self._recent) >= restart.intensity:
            return None
        delay = compute_delay(restart, len(self._recent), self._rng)
        self._recent.append(now)
        return delay


def compute_delay(restart: Restart, earlier: int, rng: Callable[[], float] = random.random) -> float:
    """Return the seconds before a restart that follows ``earlier`` others."""
    doublings = min(earlier, 1000)  # 2.0 to a power above 1023 is an OverflowError
    delay: float = min(restart.initial_delay * 2.0**doublings, restart.max_delay)
    return delay * (1 + restart.jitter * rng())
