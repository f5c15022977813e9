"""Verify the chains of a store: all entries, or those that were added since a checkpoint."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from bandmaster.contrib.audit.chain.actions import ACKNOWLEDGED, read_acknowledged
from bandmaster.contrib.audit.chain.findings import Finding, FindingKind
from bandmaster.contrib.audit.chain.keys import NO_KEY, ChainKeys
from bandmaster.contrib.audit.chain.link import ChainLink
from bandmaster.contrib.audit.chain.verifier import Head, StreamReport, StreamVerifier
from bandmaster.contrib.audit.entries.canonical import parse_canonical
from bandmaster.contrib.audit.entries.filters import AuditFilter
from bandmaster.contrib.audit.stores.store import AuditStore, Position
from bandmaster.contrib.audit.verification.outside import compare_anchors
from bandmaster.contrib.audit.verification.report import VerificationReport

PAGE = 500
"""Entries that are in memory at the same time."""
T = TypeVar("T")
RunWork = Callable[[Callable[[], None]], Awaitable[None]]
"""Runs work that takes processor time: at once, or in a worker thread."""


@dataclass(frozen=True, slots=True)
class _Start:
    """The result of the look for the entry where an earlier verification has ended."""

    is_there: bool
    finding: Finding | None = None


async def run_here(work: Callable[[], None]) -> None:
    """Run work at once, for commands, which serve nobody meanwhile."""
    work()


async def verify_store(
    store: AuditStore,
    keys: ChainKeys,
    *,
    streams: Collection[str] | None = None,
    checkpoint: Mapping[str, Head] | None = None,
    full: bool = False,
    anchors: Iterable[Head] = (),
    run_work: RunWork = run_here,
) -> VerificationReport:
    """Verify all streams of a store, or some of them.

    ``checkpoint`` has the last entries that an earlier verification has found sound: older entries aren't verified
    again, unless ``full`` says so. ``anchors`` are entries that are known from outside the table. Memory grows with the
    number of streams, not with that of entries.

    Raises:
        AuditUnavailableError, AuditRefusedError: the store can't be read.
        UnverifiableError: a file of anchors can't be used.
    """
    report = VerificationReport()
    starts = {stream: head for stream, head in (checkpoint or {}).items() if streams is None or stream in streams}
    report.anchors = len(starts)
    heads = {head.stream: head async for head in store.heads() if streams is None or head.stream in streams}
    confirmed: dict[str, frozenset[str]] = {}
    for stream, head in heads.items():
        verified = await verify_stream(store, keys, head, start=starts.get(stream), full=full, run_work=run_work)
        if verified.confirmed:
            confirmed[stream] = verified.confirmed
        report.add(verified)
    lost = [start for stream, start in starts.items() if stream not in heads]
    wanted = (anchor for anchor in anchors if streams is None or anchor.stream in streams)
    count, differences = await compare_anchors(store, wanted, heads)
    report.anchors += count
    outside: dict[str, StreamReport] = {}
    for finding in [*map(_describe_truncated, lost), *differences]:
        outside.setdefault(finding.stream, StreamReport(finding.stream)).find(finding)
    for stream, more in outside.items():
        more.confirmed = confirmed.get(stream) or await _read_confirmed(store, keys, stream)
        more.sort_acknowledged()
        report.add(more)
        report.streams -= stream in heads
    return report


async def verify_stream(
    store: AuditStore,
    keys: ChainKeys,
    head: Head,
    *,
    start: Head | None = None,
    full: bool = False,
    run_work: RunWork = run_here,
) -> StreamReport:
    """Verify one stream up to ``head``, from the beginning or from an entry that was found sound before.

    ``full`` begins at the beginning, and checks that the entry is still there.

    Raises:
        AuditUnavailableError, AuditRefusedError: the store can't be read.
    """
    found: Finding | None = None
    if start is not None:
        checked = await _check_start(store, start, head)
        found = checked.finding
        if full or not checked.is_there:
            # If it isn't there any more, all of the stream has to be verified.
            start = None
    verifier = StreamVerifier(head.stream, keys, start, end=head.sequence)
    after = 0 if start is None else start.sequence
    while after < head.sequence:
        links = await store.read(head.stream, after=after, limit=PAGE)
        links = [link for link in links if link.sequence <= head.sequence]
        if not links:
            break
        await run_work(_add_all(verifier, links))
        after = links[-1].sequence
    for sequence in sorted(verifier.late):
        late = await store.read_one(head.stream, sequence)
        if late is not None:
            verifier.confirm_late(late)
    if found is not None:
        verifier.report.find(found)
    report = verifier.finish()
    if start is not None and report.findings:
        report.confirmed |= await _read_confirmed(store, keys, head.stream)
        report.sort_acknowledged()
    return report


async def _check_start(store: AuditStore, start: Head, head: Head) -> _Start:
    """Look for the entry where an earlier verification has ended."""
    actual = (await store.hashes([(start.stream, start.sequence)])).get((start.stream, start.sequence))
    if actual == start.hash:
        return _Start(is_there=True)
    if actual is not None:
        return _Start(is_there=False, finding=_describe_replaced(start, actual))
    if start.sequence > head.sequence:
        return _Start(is_there=False, finding=_describe_truncated(start))
    first = await store.read(start.stream, after=0, limit=1)
    if not first or first[0].sequence <= start.sequence:
        return _Start(is_there=False, finding=_describe_missing(start))
    # Pruned since, which the verification from the beginning checks.
    return _Start(is_there=False)


def _add_all(verifier: StreamVerifier, links: Iterable[ChainLink]) -> Callable[[], None]:
    def add_all() -> None:
        for link in links:
            verifier.add(link)

    return add_all


async def _read_confirmed(store: AuditStore, keys: ChainKeys, stream: str) -> frozenset[str]:
    """The fingerprints that a stream acknowledges, for a verification that doesn't read all of the stream."""
    found: set[str] = set()
    before: Position | None = None
    while True:
        links = await store.find(AuditFilter(stream=stream, action=ACKNOWLEDGED), limit=PAGE, before=before)
        for link in links:
            if not keys.knows(link.key_id) or (link.key_id == NO_KEY and keys):
                continue
            if keys.confirms(link.message(), link.key_id, link.hash):
                found.update(read_acknowledged(parse_canonical(link.details)))
        if len(links) < PAGE:
            return frozenset(found)
        before = Position(links[-1].at, links[-1].stream, links[-1].sequence)


def _describe_truncated(start: Head) -> Finding:
    return Finding(
        FindingKind.TRUNCATED,
        start.stream,
        start.sequence,
        start.sequence,
        start.hash,
        "the checkpoint knows it, and the table ends before it",
    )


def _describe_missing(start: Head) -> Finding:
    return Finding(
        FindingKind.MISSING,
        start.stream,
        start.sequence,
        start.sequence,
        start.hash,
        "the checkpoint knows it, the table doesn't",
    )


def _describe_replaced(start: Head, actual: str) -> Finding:
    return Finding(
        FindingKind.REPLACED,
        start.stream,
        start.sequence,
        start.sequence,
        [start.hash, actual],
        "the checkpoint knows another hash of it",
    )
