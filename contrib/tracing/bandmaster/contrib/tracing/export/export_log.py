"""Tell the operator of exports that fail: once at the beginning, once at the end, with the number of losses."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic

from bandmaster.kernel import get_logger

_REPEAT = 300.0
"""Seconds between two warnings about the same outage."""


class ExportLog:
    """Logs outages of an export to the logger ``bandmaster.tracing``.

    ``noun`` names the exported things, such as ``spans``. An outage gives a warning when it begins, one every
    five minutes, and an event when it is over. Thread-safe.
    """

    def __init__(self, noun: str, address: str, *, clock: Callable[[], float] = monotonic) -> None:
        self.lost = 0
        """How many were lost since the beginning of the last outage."""
        self.lost_in_all = 0
        self._noun = noun
        self._address = address
        self._clock = clock
        self._failing_since: float | None = None
        self._next_warning = 0.0
        self._full_until = 0.0
        self._lock = threading.Lock()
        self._logger = get_logger("bandmaster.tracing")

    def note_failure(self, count: int, reason: str) -> None:
        """Note that an export of so many has failed, and that they are lost."""
        with self._lock:
            now = self._clock()
            begins = self._failing_since is None
            if begins:
                self._failing_since = now
                self.lost = 0
            self.lost += count
            self.lost_in_all += count
            if not begins and now < self._next_warning:
                return
            self._next_warning = now + _REPEAT
            lost = self.lost
        event = f"{self._noun} can't be exported" if begins else f"{self._noun} still can't be exported"
        self._logger.warning(event, address=self._address, error=reason, lost=lost)

    def note_success(self) -> None:
        """Note that an export has succeeded."""
        if self._failing_since is None:
            return
        with self._lock:
            since, self._failing_since = self._failing_since, None
            lost, self.lost = self.lost, 0
        if since is not None:
            seconds = round(self._clock() - since, 1)
            event = f"{self._noun} are exported again"
            self._logger.info(event, address=self._address, lost=lost, outage=seconds)

    def note_dropped(self, count: int) -> None:
        """Note that so many were dropped before an export, because too many were waiting or the time was over."""
        with self._lock:
            self.lost += count
            self.lost_in_all += count
            now = self._clock()
            # During an outage the losses are part of its report.
            if self._failing_since is not None or now < self._full_until:
                return
            self._full_until = now + _REPEAT
            lost = self.lost_in_all
        event = f"{self._noun} are dropped, because they end faster than they are exported"
        self._logger.warning(
            event,
            address=self._address,
            lost=lost,
            hint="a larger TRACING_QUEUE_SIZE bridges longer peaks; a lower TRACING_SAMPLE_RATE makes fewer",
        )

    def close(self) -> None:
        """Tell the losses of an outage that isn't over."""
        with self._lock:
            failing, lost = self._failing_since is not None, self.lost
        if failing and lost:
            event = f"{self._noun} were lost"
            self._logger.warning(event, address=self._address, lost=lost)
