"""Compare a stream with anchors from outside the table: checkpoints, exports and logs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from bandmaster.contrib.audit.chain.findings import Finding, FindingKind
from bandmaster.contrib.audit.chain.verifier import Head
from bandmaster.contrib.audit.stores.store import AuditStore

_BATCH = 500


@dataclass(slots=True)
class _Differences:
    """The differences of one kind in one stream, as one finding however many there are."""

    first: int
    last: int
    count: int = 0
    digest: Any = field(default_factory=hashlib.sha256)

    def add(self, anchor: Head, found: str | None) -> None:
        self.first, self.last = min(self.first, anchor.sequence), max(self.last, anchor.sequence)
        self.count += 1
        self.digest.update(f"{anchor.sequence}:{anchor.hash}:{found}\n".encode())


async def compare_anchors(
    store: AuditStore, anchors: Iterable[Head], heads: dict[str, Head]
) -> tuple[int, list[Finding]]:
    """Compare entries that are known from outside with the store; returns how many, and the findings.

    Entries before the first one of their stream were pruned, which the verification of the stream checks.
    """
    firsts: dict[str, int] = {}
    found: dict[tuple[str, FindingKind], _Differences] = {}
    count = 0
    for batch in _split(anchors):
        hashes = await store.hashes([(anchor.stream, anchor.sequence) for anchor in batch])
        for anchor in batch:
            count += 1
            actual = hashes.get((anchor.stream, anchor.sequence))
            if actual == anchor.hash:
                continue
            kind = FindingKind.REPLACED
            if actual is None:
                head = heads.get(anchor.stream)
                if head is None or anchor.sequence > head.sequence:
                    kind = FindingKind.TRUNCATED
                elif anchor.sequence < await _find_first(store, anchor.stream, firsts):
                    continue
                else:
                    kind = FindingKind.MISSING
            key = (anchor.stream, kind)
            found.setdefault(key, _Differences(anchor.sequence, anchor.sequence)).add(anchor, actual)
    return count, [_describe(stream, kind, each) for (stream, kind), each in found.items()]


def _describe(stream: str, kind: FindingKind, found: _Differences) -> Finding:
    what = "another hash" if kind is FindingKind.REPLACED else "nothing"
    return Finding(
        kind,
        stream,
        found.first,
        found.last,
        [found.count, found.digest.hexdigest()],
        f"{found.count} of them are known from outside the table, which has {what} in their place",
    )


async def _find_first(store: AuditStore, stream: str, known: dict[str, int]) -> int:
    if stream not in known:
        links = await store.read(stream, after=0, limit=1)
        known[stream] = links[0].sequence if links else 0
    return known[stream]


def _split(anchors: Iterable[Head]) -> Iterator[list[Head]]:
    waiting = iter(anchors)
    while batch := list(islice(waiting, _BATCH)):
        yield batch
