"""Prune the oldest entries of a stream: verify, export, verify the export, write an entry, then delete."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, delete, func, select

from bandmaster.contrib.audit.chain.actions import PRUNED, Pruning
from bandmaster.contrib.audit.chain.link import ChainLink
from bandmaster.contrib.audit.chain.verifier import Head
from bandmaster.contrib.audit.entries.canonical import parse_canonical
from bandmaster.contrib.audit.entries.entry import AuditEntry
from bandmaster.contrib.audit.entries.filters import AuditFilter
from bandmaster.contrib.audit.errors import AuditRefusedError, UnverifiableError
from bandmaster.contrib.audit.maintenance.export import Export, Range, export_entries
from bandmaster.contrib.audit.stores.sql_store import SqlAuditStore
from bandmaster.contrib.audit.stores.store import Draft
from bandmaster.contrib.audit.stores.tables import entries_table, personal_table
from bandmaster.contrib.audit.verification.exports import verify_export
from bandmaster.contrib.audit.verification.run import verify_stream

_ENTRY = entries_table.c
BATCH = 1000
"""Entries that one transaction deletes."""


class BrokenChainError(UnverifiableError):
    """Entries aren't pruned, because their chain is broken: the evidence would be gone."""


@dataclass(frozen=True, slots=True)
class PrunedEntries:
    """The entries that were pruned of one stream."""

    stream: str
    through: int
    entries: int
    """Entries that this call has deleted."""
    link: ChainLink | None
    """The entry that says so; None if this call has only finished an earlier pruning."""
    export: Export | None


async def find_cut(store: SqlAuditStore, stream: str, before: datetime) -> int:
    """The last sequence up to which every entry of a stream is older than a time; 0 if the first one isn't.

    The last entry of a stream always stays: the report of the pruning follows it.
    """
    newest = select(func.max(_ENTRY.sequence)).where(_ENTRY.stream == stream)
    last = await store.run(lambda connection: connection.scalar(newest)) or 0
    return min(max(0, last - 1), await find_last_before(store, stream, before))


async def find_last_before(store: SqlAuditStore, stream: str, moment: datetime) -> int:
    """The last sequence up to which every entry of a stream is older than a time; 0 if the first one isn't.

    Times don't grow with sequences everywhere: an entry has the time of its action, and its place by its commit.
    """
    newer = select(func.min(_ENTRY.sequence)).where(_ENTRY.stream == stream, _ENTRY.at >= moment)
    newest = select(func.max(_ENTRY.sequence)).where(_ENTRY.stream == stream)
    first, last = await store.run(lambda connection: (connection.scalar(newer), connection.scalar(newest)))
    return last or 0 if first is None else first - 1


async def prune_stream(
    store: SqlAuditStore, head: Head, through: int, export_to: Path, *, actor: str, reason: str
) -> PrunedEntries | None:
    """Remove the entries of a stream up to a sequence, after they are exported and verified.

    The deletion goes in transactions of `BATCH` entries. If it is interrupted, the next call finishes it. Returns None
    if there is nothing to remove.

    Raises:
        BrokenChainError: the stream is broken; acknowledge explained breaks first.
        UnverifiableError: a key is missing, or the export can't be read back.
        AuditUnavailableError, AuditRefusedError: the database can't be reached or refuses, or the file can't be
            written.
    """
    stream = head.stream
    finished = await _finish_earlier(store, stream)
    links = await store.read(stream, after=0, limit=1)
    if not links or through < links[0].sequence:
        return PrunedEntries(stream, links[0].sequence - 1, finished, None, None) if finished and links else None
    report = await verify_stream(store, store.keys, head)
    if report.unknown_keys:
        raise UnverifiableError(
            f"the stream {stream!r} can't be verified without the keys {', '.join(sorted(report.unknown_keys))}"
        )
    if not report.is_sound:
        raise BrokenChainError(
            f"the stream {stream!r} is broken, and isn't pruned: {report.findings[0]}. See 'bandmaster audit verify'"
        )
    last = await store.read_one(stream, through)
    if last is None:
        raise AuditRefusedError(f"the stream {stream!r} has no entry {through}")
    export = await export_entries(store, [Range(stream, 0, through)], export_to, store.keys)
    _check_export(export, Head(stream, through, last.hash), store)
    details: dict[str, Any] = {
        "first": links[0].sequence,
        "through": through,
        "head": last.hash,
        "export": export_to.name,
        "export_sha256": export.sha256,
        "reason": reason,
    }
    entry = AuditEntry(action=PRUNED, details=details, actor=actor)
    (link,) = await store.append([Draft(stream, entry)])
    deleted = await _delete_through(store, stream, through)
    return PrunedEntries(stream, through, finished + deleted, link, export)


def _check_export(export: Export, expected: Head, store: SqlAuditStore) -> None:
    """Check that an export, read back from the disk, is sound and ends with the entry where the table is cut."""
    report = verify_export(export.path, store.keys)
    found = report.heads.get(expected.stream)
    if not report.is_sound or found is None or (found.sequence, found.hash) != (expected.sequence, expected.hash):
        raise BrokenChainError(f"the export {export.path} isn't what the table has, so that nothing is removed")


async def _finish_earlier(store: SqlAuditStore, stream: str) -> int:
    """Delete the entries that an interrupted pruning has left, and return how many."""
    links = await store.find(AuditFilter(stream=stream, action=PRUNED), limit=1)
    if not links or not store.keys.knows(links[0].key_id) or (store.keys and not links[0].key_id):
        return 0
    if not store.keys.confirms(links[0].message(), links[0].key_id, links[0].hash):
        return 0
    pruning = Pruning.read(parse_canonical(links[0].details))
    return 0 if pruning is None else await _delete_through(store, stream, pruning.through)


async def _delete_through(store: SqlAuditStore, stream: str, through: int) -> int:
    total = 0
    while deleted := await store.run(lambda connection: _delete_batch(connection, stream, through)):
        total += deleted
    return total


def _delete_batch(connection: Connection, stream: str, through: int) -> int:
    first = connection.scalar(select(func.min(_ENTRY.sequence)).where(_ENTRY.stream == stream))
    if first is None or first > through:
        return 0
    last = min(through, first + BATCH - 1)
    is_old = personal_table.c.sequence <= last
    connection.execute(delete(personal_table).where(personal_table.c.stream == stream, is_old))
    result = connection.execute(delete(entries_table).where(_ENTRY.stream == stream, _ENTRY.sequence <= last))
    deleted: int = result.rowcount
    return deleted
