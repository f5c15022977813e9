"""Erase the personal fields that are about a person, and write an entry that says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from sqlalchemy import Connection, select, update

from bandmaster.contrib.audit.chain.actions import ERASED
from bandmaster.contrib.audit.chain.link import ChainLink
from bandmaster.contrib.audit.chain.verifier import ErasureDigest
from bandmaster.contrib.audit.entries.entry import AuditEntry
from bandmaster.contrib.audit.stores.append import lock_stream, read_head
from bandmaster.contrib.audit.stores.sql_store import SqlAuditStore
from bandmaster.contrib.audit.stores.store import Draft
from bandmaster.contrib.audit.stores.tables import personal_table

_PERSONAL = personal_table.c


@dataclass(frozen=True, slots=True)
class ErasedFields:
    """The personal fields that were erased in one stream."""

    stream: str
    fields: int
    link: ChainLink
    """The entry that says so."""


async def erase_subject(
    store: SqlAuditStore, subject: str, *, actor: str, reason: str, streams: Sequence[str] | None = None
) -> list[ErasedFields]:
    """Erase the values, the salts and the subject of every personal field that is about a person.

    In each stream the fields and the entry that reports them change in one transaction. The entry doesn't name the
    person.

    Raises:
        AuditUnavailableError, AuditRefusedError: the database can't be reached, or refuses.
    """
    query = select(_PERSONAL.stream).where(_PERSONAL.subject == subject).distinct().order_by(_PERSONAL.stream)
    found = await store.run(lambda connection: list(connection.scalars(query)))
    erased: list[ErasedFields] = []
    for stream in found:
        if streams is not None and stream not in streams:
            continue
        result = await store.run(
            partial(_erase, store=store, stream=stream, subject=subject, actor=actor, reason=reason)
        )
        if result is not None:
            erased.append(result)
    return erased


def _erase(
    connection: Connection, *, store: SqlAuditStore, stream: str, subject: str, actor: str, reason: str
) -> ErasedFields | None:
    # Before the fields are read, so that no entry about the person is added meanwhile.
    lock_stream(connection, stream, store.lock_timeout)
    is_about = (_PERSONAL.stream == stream) & (_PERSONAL.subject == subject)
    digest = ErasureDigest()
    rows = connection.execute(
        select(_PERSONAL.sequence, _PERSONAL.name).where(is_about).order_by(_PERSONAL.sequence)
    ).all()
    # Names are ordered here, because databases order text by rules of their own.
    for sequence, name in sorted((row.sequence, row.name) for row in rows):
        digest.add(sequence, name)
    head = read_head(connection, stream)
    if not digest.count or head is None:
        return None
    details: dict[str, Any] = {**asdict(digest.describe()), "reason": reason}
    entry = AuditEntry(action=ERASED, details=details, actor=actor)
    (link,) = store.write(connection, [Draft(stream, entry)])
    # The operator's own name isn't erased when it is the operator who is erased: the new entry is about the erasure.
    connection.execute(
        update(personal_table)
        .where(is_about, _PERSONAL.sequence < link.sequence)
        .values(value=None, salt=None, subject=None, erased_by=link.sequence)
    )
    return ErasedFields(stream, digest.count, link)
