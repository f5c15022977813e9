"""`ChainVerification`: verifies the chains from time to time while the application runs, and tells the last result."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import anyio
import anyio.to_thread

from bandmaster.contrib.audit.chain.anchors import read_checkpoint, write_checkpoint
from bandmaster.contrib.audit.chain.keys import ChainKeys
from bandmaster.contrib.audit.chain.verifier import Head
from bandmaster.contrib.audit.errors import AuditError, UnverifiableError
from bandmaster.contrib.audit.stores.store import AuditStore
from bandmaster.contrib.audit.verification.report import VerificationReport
from bandmaster.contrib.audit.verification.run import verify_store
from bandmaster.kernel import get_logger

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LastVerification:
    """The last attempt to verify, for metrics and probes."""

    at: datetime
    outcome: str
    """``sound``, ``tampered``, or ``failed`` if it couldn't be carried out."""
    entries: int = 0
    """Entries that were verified this time."""
    streams: int = 0
    findings: int = 0
    """The number of breaks that aren't acknowledged."""
    seconds: float = 0.0
    """The duration."""


class ChainVerification:
    """Verifies all entries once, and then those that were added since, every ``interval`` seconds."""

    def __init__(
        self,
        store: AuditStore,
        keys: ChainKeys,
        *,
        interval: float,
        checkpoint_file: Path | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.interval = interval
        self.last: LastVerification | None = None
        """The last attempt; None before the first one has ended."""
        self.report: VerificationReport | None = None
        """The report of the last attempt that could be carried out."""
        self._store = store
        self._keys = keys
        self._file = checkpoint_file
        self._clock = clock
        self._checkpoint: dict[str, Head] = {}
        self._limiter = anyio.CapacityLimiter(1)

    async def run(self) -> None:
        """Verify for ever."""
        while True:
            await self.verify()
            await anyio.sleep(self.interval)

    async def verify(self) -> LastVerification:
        """Verify now. Errors are logged, and told by the result."""
        began = time.perf_counter()
        log = get_logger("bandmaster.audit")
        try:
            report = await self._verify()
        except AuditError as error:
            log.warning("audit trail can't be verified", error=str(error))
            self.last = LastVerification(self._clock(), "failed", seconds=time.perf_counter() - began)
            return self.last
        self.report = report
        findings = len(report.findings) + report.more_findings
        self.last = LastVerification(
            self._clock(),
            "tampered" if findings else "sound",
            report.entries,
            report.streams,
            findings,
            time.perf_counter() - began,
        )
        for finding in report.findings[:10]:
            log.error("audit trail is broken", finding=finding.short_id, kind=finding.kind.value, detail=str(finding))
        return self.last

    async def probe(self) -> None:
        """The health check: raises after a verification that has found something, or couldn't be carried out.

        Raises:
            AuditError: the last verification wasn't sound.
        """
        if self.last is not None and self.last.outcome != "sound":
            raise AuditError(
                f"the last verification, at {self.last.at:%Y-%m-%d %H:%M:%SZ}, was {self.last.outcome}: see the log, "
                "or run 'bandmaster audit verify'"
            )

    async def _verify(self) -> VerificationReport:
        checkpoint = self._checkpoint
        if self._file is not None:
            file = self._file
            checkpoint = await self._in_thread(lambda: read_checkpoint(file, self._keys)) or checkpoint
        report = await verify_store(self._store, self._keys, checkpoint=checkpoint, run_work=self._in_thread)
        if report.unknown_keys:
            raise UnverifiableError(f"AUDIT_KEYS doesn't have the keys {', '.join(sorted(report.unknown_keys))}")
        if report.is_sound:
            self._checkpoint = dict(report.heads)
            if self._file is not None:
                file = self._file
                await self._in_thread(lambda: write_checkpoint(file, report.heads.values(), self._keys))
        return report

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await anyio.to_thread.run_sync(work, limiter=self._limiter)
