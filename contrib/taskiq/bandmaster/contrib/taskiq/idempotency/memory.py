"""Idempotency within this process."""

from __future__ import annotations

import heapq
import json
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from bandmaster.contrib.taskiq.idempotency.idempotency import Once, check_arguments, make_busy_error


class MemoryIdempotency:
    """Keys in this process's memory. A lease ends with its block. ``clock`` returns seconds that only increase."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._busy: set[str] = set()
        self._done: dict[str, tuple[float, str]] = {}
        self._ends: list[tuple[float, str]] = []

    @asynccontextmanager
    async def once(self, key: str, *, lease: float = 30.0, keep: float = 86400.0) -> AsyncGenerator[Once, None]:
        """See `Idempotency.once`.

        Raises:
            BusyError: another caller runs the action right now.
            ValueError: the key is empty, or the seconds aren't above 0.
        """
        check_arguments(key, lease, keep)
        self._forget_expired()
        if key in self._busy:
            raise make_busy_error(key)
        if key in self._done:
            yield Once(first=False, result=json.loads(self._done[key][1]))
            return
        once = Once(first=True)
        self._busy.add(key)
        try:
            yield once
            end = self._clock() + keep
            self._done[key] = end, once.stored
            heapq.heappush(self._ends, (end, key))
        finally:
            self._busy.discard(key)

    def _forget_expired(self) -> None:
        now = self._clock()
        while self._ends and self._ends[0][0] <= now:
            _, key = heapq.heappop(self._ends)
            del self._done[key]
