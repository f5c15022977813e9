"""Choose the pipeline that has the log of the process. Several applications may take turns."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from bandmaster.contrib.logging.pipeline import Pipeline
from bandmaster.contrib.logging.takeover.failed_threads import FailedThreads
from bandmaster.contrib.logging.takeover.records import RecordHandler
from bandmaster.contrib.logging.takeover.standard_loggers import StandardLoggers
from bandmaster.contrib.logging.takeover.structlog_events import StructlogConfiguration


@dataclass(frozen=True, slots=True, eq=False)
class Claim:
    """The pipeline and the levels that one application sets for its process."""

    pipeline: Pipeline
    level: int
    """The least level, as a number of the standard library."""
    levels: Mapping[str, int]
    """The least levels of single loggers, by name."""
    drops_access: bool = True
    """Whether the servers' own records of requests are dropped."""


class ProcessLog:
    """The log of one process. Logging is global, so there is one of these: `PROCESS_LOG`.

    The newest claim has the log. When that application stops, the claim before has the log again, and after the last
    one the state from before is restored. Thread-safe.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._claims: list[Claim] = []
        self._loggers: StandardLoggers | None = None
        self._structlog: StructlogConfiguration | None = None
        self._threads: FailedThreads | None = None
        self._pipeline: Pipeline | None = None

    @contextmanager
    def claimed(self, claim: Claim) -> Iterator[None]:
        """Let the claim have the log, until the block ends."""
        self._add(claim)
        try:
            yield
        finally:
            self._remove(claim)

    def current(self) -> Pipeline | None:
        """The pipeline that has the log; None if nobody has claimed it."""
        return self._pipeline

    def take_again(self) -> bool:
        """Take over again, if other code has configured logging anew since. Whether that was so."""
        with self._lock:
            return self._loggers is not None and self._loggers.take_again()

    def _add(self, claim: Claim) -> None:
        with self._lock:
            self._claims.append(claim)
            try:
                self._apply()
            except BaseException:
                self._remove(claim)
                raise

    def _remove(self, claim: Claim) -> None:
        with self._lock:
            self._claims.remove(claim)
            self._apply()

    def _apply(self) -> None:
        """Give the log to the newest claim, or restore the state from before."""
        if not self._claims:
            self._restore()
            return
        claim = self._claims[-1]
        self._pipeline = claim.pipeline
        if self._loggers is None:
            self._loggers = StandardLoggers(RecordHandler(self.current))
        if self._structlog is None:
            self._structlog = StructlogConfiguration(self.current)
        if self._threads is None:
            self._threads = FailedThreads()
        self._loggers.drops_access = claim.drops_access
        self._loggers.set_levels(claim.level, claim.levels)

    def _restore(self) -> None:
        for part in (self._threads, self._structlog, self._loggers):
            if part is not None:
                part.restore()
        self._threads = self._structlog = self._loggers = None
        self._pipeline = None


PROCESS_LOG = ProcessLog()
"""The log of this process."""
