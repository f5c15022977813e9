"""Queries of the tables of the audit trail, and links of their rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, exists, or_, select, tuple_

from bandmaster.contrib.audit.chain.commitments import PersonalField
from bandmaster.contrib.audit.chain.link import PLAIN_TEXTS, ChainLink
from bandmaster.contrib.audit.entries.canonical import render_canonical
from bandmaster.contrib.audit.entries.entry import ACTOR, ADDRESS
from bandmaster.contrib.audit.entries.filters import EQUAL_FIELDS, AuditFilter
from bandmaster.contrib.audit.stores.store import Position
from bandmaster.contrib.audit.stores.tables import entries_table, personal_table

_ENTRY = entries_table.c
_PERSONAL = personal_table.c
_PLACES = 500
"""Places that one query names, at the most."""


def select_wanted(wanted: AuditFilter, *, limit: int, before: Position | None) -> Select[Any]:
    """The query for entries newest first. It doesn't look at ``details``."""
    query = select(entries_table).order_by(_ENTRY.at.desc(), _ENTRY.stream.desc(), _ENTRY.sequence.desc()).limit(limit)
    for name in EQUAL_FIELDS:
        given = getattr(wanted, name)
        if given is None or name in (ACTOR, ADDRESS, "subject"):
            continue
        query = query.where(_ENTRY[name] == str(given))
    if wanted.actor is not None:
        query = query.where(_has_personal(_PERSONAL.name == ACTOR, _PERSONAL.subject == wanted.actor))
    if wanted.subject is not None:
        query = query.where(_has_personal(_PERSONAL.subject == wanted.subject))
    if wanted.address is not None:
        query = query.where(
            _has_personal(_PERSONAL.name == ADDRESS, _PERSONAL.value == render_canonical(wanted.address))
        )
    for name, value in wanted.personal.items():
        query = query.where(_has_personal(_PERSONAL.name == name, _PERSONAL.value == render_canonical(value)))
    if wanted.since is not None:
        query = query.where(_ENTRY.at >= wanted.since)
    if wanted.until is not None:
        query = query.where(_ENTRY.at < wanted.until)
    if before is not None:
        query = query.where(
            or_(
                _ENTRY.at < before.at,
                and_(_ENTRY.at == before.at, _ENTRY.stream < before.stream),
                and_(_ENTRY.at == before.at, _ENTRY.stream == before.stream, _ENTRY.sequence < before.sequence),
            )
        )
    return query


def select_stream(stream: str, *, after: int, limit: int) -> Select[Any]:
    """The query for the entries of a stream, lowest sequence first."""
    return (
        select(entries_table)
        .where(_ENTRY.stream == stream, _ENTRY.sequence > after)
        .order_by(_ENTRY.sequence)
        .limit(limit)
    )


def read_links(connection: Connection, query: Select[Any]) -> list[ChainLink]:
    """The links of a query for entries, with their personal fields."""
    rows = list(connection.execute(query))
    personal = _read_personal(connection, [(row.stream, row.sequence) for row in rows])
    return [_make_link(row, personal.get((row.stream, row.sequence), {})) for row in rows]


def read_hashes(connection: Connection, places: Sequence[tuple[str, int]]) -> dict[tuple[str, int], str]:
    """The hashes of entries by stream and sequence."""
    found: dict[tuple[str, int], str] = {}
    for part in _split(places):
        query = select(_ENTRY.stream, _ENTRY.sequence, _ENTRY.hash).where(
            tuple_(_ENTRY.stream, _ENTRY.sequence).in_(part)
        )
        found |= {(row.stream, row.sequence): row.hash for row in connection.execute(query)}
    return found


def _read_personal(
    connection: Connection, places: Sequence[tuple[str, int]]
) -> dict[tuple[str, int], dict[str, PersonalField]]:
    found: dict[tuple[str, int], dict[str, PersonalField]] = {}
    for part in _split(places):
        query = select(personal_table).where(tuple_(_PERSONAL.stream, _PERSONAL.sequence).in_(part))
        for row in connection.execute(query):
            fields = found.setdefault((row.stream, row.sequence), {})
            fields[row.name] = PersonalField(row.value, row.salt, row.subject, row.erased_by)
    return found


def _make_link(row: Row[Any], personal: dict[str, PersonalField]) -> ChainLink:
    return ChainLink(
        stream=row.stream,
        sequence=row.sequence,
        previous=row.previous,
        hash=row.hash,
        key_id=row.key_id,
        at=to_utc(row.at),
        texts={name: getattr(row, name) for name in PLAIN_TEXTS},
        details=row.details,
        commitments=row.commitments,
        personal=personal,
    )


def to_utc(moment: datetime) -> datetime:
    """A time of the database, in UTC. SQLite stores no time zone; the values were written in UTC."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _has_personal(*conditions: Any) -> Any:
    return exists().where(_PERSONAL.stream == _ENTRY.stream, _PERSONAL.sequence == _ENTRY.sequence, *conditions)


def _split(places: Sequence[tuple[str, int]]) -> Iterable[Sequence[tuple[str, int]]]:
    return (places[start : start + _PLACES] for start in range(0, len(places), _PLACES))
