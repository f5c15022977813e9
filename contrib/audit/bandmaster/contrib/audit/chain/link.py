"""`ChainLink`: an entry as it is stored, with its place in a stream, its predecessor and its hash. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from bandmaster.contrib.audit.chain.commitments import PersonalField, commit_all, make_personal_fields
from bandmaster.contrib.audit.chain.keys import ChainKeys
from bandmaster.contrib.audit.entries.canonical import parse_canonical, render_canonical
from bandmaster.contrib.audit.entries.entry import ACTOR, ADDRESS, AuditEntry, render_time

_DOMAIN = b"bandmaster audit entry 1\n"
_GENESIS = b"bandmaster audit stream 1\n"
PLAIN_TEXTS = (
    "id",
    "action",
    "result",
    "tenant",
    "resource_type",
    "resource_id",
    "request_id",
    "correlation_id",
    "task",
    "task_id",
    "schedule",
)
"""The fields of an entry that are stored as they are, and covered by the hash as they are."""
MAX_STREAM = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainLink:
    """One stored entry. The hash covers every field but itself, with commitments in place of personal values."""

    stream: str
    sequence: int
    """1 for the first entry of a stream, then without a gap."""
    previous: str
    """The hash of the entry before; for the first one `genesis_hash`."""
    hash: str
    key_id: str
    at: datetime
    texts: Mapping[str, str | None]
    """The fields of `PLAIN_TEXTS`."""
    details: str
    """Canonical JSON."""
    commitments: str
    """Canonical JSON: the commitments to personal fields by name."""
    personal: Mapping[str, PersonalField] = field(default_factory=dict, repr=False)

    @property
    def action(self) -> str:
        """The action of the entry."""
        return self.texts["action"] or ""

    def message(self) -> bytes:
        """The bytes that the hash is of."""
        return make_message(self)

    def to_entry(self) -> AuditEntry:
        """The entry.

        Raises:
            ValueError: a stored field isn't valid; the message names the field and the place.
        """
        try:
            details, names = parse_canonical(self.details), parse_canonical(self.commitments)
            kept = {name: each for name, each in self.personal.items() if not each.is_erased}
            values = {name: parse_canonical(each.value or "null") for name, each in kept.items()}
            actor, address = values.pop(ACTOR, None), values.pop(ADDRESS, None)
            about = next((kept[name].subject for name in sorted(values)), None)
            plain: dict[str, Any] = dict(self.texts)
            return AuditEntry(
                **plain,
                at=self.at,
                details=details,
                actor=actor,
                address=address,
                personal=values,
                subject=None if about == actor else about,
                erased=frozenset(names) - kept.keys(),
            )
        except (ValueError, TypeError, AttributeError) as error:
            raise ValueError(f"entry {self.sequence} of the stream {self.stream!r} isn't valid: {error}") from error


def make_message(link: ChainLink) -> bytes:
    """The bytes that the hash of a link is of: one text for each combination of fields."""
    fields = {
        **{name: link.texts.get(name) for name in PLAIN_TEXTS},
        "stream": link.stream,
        "sequence": link.sequence,
        "previous": link.previous,
        "key": link.key_id,
        "at": render_time(link.at),
        "details": link.details,
        "commitments": link.commitments,
    }
    return _DOMAIN + render_canonical(fields).encode()


def make_link(entry: AuditEntry, *, stream: str, sequence: int, previous: str, keys: ChainKeys) -> ChainLink:
    """The link of a new entry that follows ``previous``."""
    personal = make_personal_fields(entry)
    texts = {name: _render_text(getattr(entry, name)) for name in PLAIN_TEXTS}
    fields: dict[str, Any] = {
        "stream": stream,
        "sequence": sequence,
        "previous": previous,
        "key_id": keys.current,
        "at": entry.at,
        "texts": texts,
        "details": render_canonical(dict(entry.details)),
        "commitments": render_canonical(commit_all(personal)),
        "personal": personal,
    }
    unsigned = ChainLink(**fields, hash="")
    return ChainLink(**fields, hash=keys.hash(unsigned.message(), keys.current))


def genesis_hash(stream: str) -> str:
    """The predecessor of the first entry of a stream. Two streams never have the same one."""
    return hashlib.sha256(_GENESIS + stream.encode()).hexdigest()


def check_stream(stream: object) -> str:
    """Check the name of a stream.

    Raises:
        ValueError: it is empty, too long, or has control characters.
    """
    if not isinstance(stream, str) or not stream.strip():
        raise ValueError(f"stream: expected a name, got {stream!r}")
    if len(stream) > MAX_STREAM:
        raise ValueError(f"stream: has more than {MAX_STREAM} characters")
    if any(sign < " " or sign == "\x7f" or "\ud800" <= sign <= "\udfff" for sign in stream):
        raise ValueError("stream: has control characters")
    return stream


def _render_text(value: object) -> str | None:
    return None if value is None else str(value)
