"""Add links to a stream inside a transaction: lock the end, read the last link, insert the next ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, insert, select, text
from sqlalchemy.exc import IntegrityError

from bandmaster.contrib.audit.chain.keys import ChainKeys
from bandmaster.contrib.audit.chain.link import PLAIN_TEXTS, ChainLink, genesis_hash, make_link
from bandmaster.contrib.audit.chain.verifier import Head
from bandmaster.contrib.audit.stores.store import Draft
from bandmaster.contrib.audit.stores.tables import entries_table, personal_table
from bandmaster.contrib.persistence import TransientDatabaseError

_ENTRY = entries_table.c
_LOCK_CLASS = 1_633_973_605
"""The first half of the keys of PostgreSQL's advisory locks: this package's own."""


class ChainConflictError(TransientDatabaseError):
    """Another transaction has added to the stream that this one had read. The transaction can be run again."""

    orig = None

    @property
    def lost_a_race(self) -> bool:
        """Always: the transaction can be run again."""
        return True


def append_links(
    connection: Connection, drafts: Sequence[Draft], keys: ChainKeys, *, lock_timeout: float
) -> list[ChainLink]:
    """Add entries at the ends of their streams, in the transaction of a connection; returns the links.

    The streams are locked until the transaction ends, in one order in all transactions, so that two never wait for
    each other. The unique indexes hold also where a writer takes no lock.

    Raises:
        ChainConflictError: the transaction reads an older state than the one that it would add to.
        TransientDatabaseError: another transaction holds a stream for longer than ``lock_timeout`` seconds.
    """
    by_stream: dict[str, list[Draft]] = {}
    for draft in drafts:
        by_stream.setdefault(draft.stream, []).append(draft)
    links: list[ChainLink] = []
    for stream in sorted(by_stream):
        lock_stream(connection, stream, lock_timeout)
        last = read_head(connection, stream)
        sequence, previous = (last.sequence, last.hash) if last is not None else (0, genesis_hash(stream))
        for draft in by_stream[stream]:
            sequence += 1
            link = make_link(draft.entry, stream=stream, sequence=sequence, previous=previous, keys=keys)
            previous = link.hash
            links.append(link)
    _insert(connection, links)
    return links


def lock_stream(connection: Connection, stream: str, timeout: float) -> None:
    """Wait until no other transaction adds to a stream, and keep others from doing so until this one ends.

    SQLite has one lock for all writers, which the transaction has already.
    """
    if connection.dialect.name != "postgresql":
        return
    connection.execute(_SET_TIMEOUT, {"timeout": f"{max(1, round(timeout * 1000))}ms"})
    connection.execute(_LOCK, {"class": _LOCK_CLASS, "stream": stream})


def read_head(connection: Connection, stream: str) -> Head | None:
    """The last entry of a stream; None if there is none."""
    row = connection.execute(
        select(_ENTRY.sequence, _ENTRY.hash, _ENTRY.key_id)
        .where(_ENTRY.stream == stream)
        .order_by(_ENTRY.sequence.desc())
        .limit(1)
    ).one_or_none()
    return None if row is None else Head(stream, row.sequence, row.hash, row.key_id)


def _insert(connection: Connection, links: Sequence[ChainLink]) -> None:
    personal = [
        {"stream": link.stream, "sequence": link.sequence, "name": name, **_make_personal_row(each)}
        for link in links
        for name, each in link.personal.items()
    ]
    try:
        connection.execute(insert(entries_table), [make_row(link) for link in links])
        if personal:
            connection.execute(insert(personal_table), personal)
    except IntegrityError as error:
        raise ChainConflictError(
            "another transaction has added to the audit trail since this one began to read; run it again"
        ) from error


def make_row(link: ChainLink) -> dict[str, Any]:
    """The row of a link in ``audit_entries``."""
    return {
        "stream": link.stream,
        "sequence": link.sequence,
        "previous": link.previous,
        "hash": link.hash,
        "key_id": link.key_id,
        "at": link.at,
        **{name: link.texts.get(name) for name in PLAIN_TEXTS},
        "details": link.details,
        "commitments": link.commitments,
    }


def _make_personal_row(personal: Any) -> dict[str, Any]:
    return {"subject": personal.subject, "value": personal.value, "salt": personal.salt, "erased_by": None}


_SET_TIMEOUT = text("SELECT set_config('lock_timeout', :timeout, true)")
_LOCK = text("SELECT pg_advisory_xact_lock(CAST(:class AS integer), hashtext(CAST(:stream AS text)))")
