"""Limit repeated equal events, and count those that are left out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

_K = TypeVar("_K", bound=Hashable)
_MOST_KEYS = 1000
"""Different events that are counted at the same time; more than that aren't limited."""


@dataclass(slots=True)
class _Window:
    began: float
    kept: int = 1
    left_out: int = 0


class RepeatLimit(Generic[_K]):
    """Admits ``limit`` equal events in each ``interval`` of seconds.

    ``clock`` returns seconds that never go back. Thread-safe; the memory is bounded.
    """

    def __init__(self, limit: int, interval: float, clock: Callable[[], float]) -> None:
        self._limit = limit
        self._interval = interval
        self._clock = clock
        self._windows: dict[_K, _Window] = {}
        self._lock = threading.RLock()

    def admit(self, key: _K) -> int | None:
        """The number of equal events that were left out since the last one; None if this event is left out, too."""
        now = self._clock()
        with self._lock:
            window = self._windows.get(key)
            if window is None:
                if len(self._windows) < _MOST_KEYS or self._forget(now):
                    self._windows[key] = _Window(now)
                return 0
            if now - window.began >= self._interval:
                self._windows[key] = _Window(now)
                return window.left_out
            if window.kept < self._limit:
                window.kept += 1
                return 0
            window.left_out += 1
            return None

    def take_overdue(self, *, all_of_them: bool = False) -> dict[_K, int]:
        """The numbers of events that were left out in intervals that are over, by key; each is returned once."""
        now = self._clock()
        with self._lock:
            over = [key for key, each in self._windows.items() if all_of_them or now - each.began >= self._interval]
            taken = {key: self._windows.pop(key).left_out for key in over}
        return {key: left_out for key, left_out in taken.items() if left_out}

    def _forget(self, now: float) -> bool:
        """Forget the intervals that are over and have nothing to tell. Whether that made room."""
        for key, window in list(self._windows.items()):
            if now - window.began >= self._interval and not window.left_out:
                del self._windows[key]
        return len(self._windows) < _MOST_KEYS
