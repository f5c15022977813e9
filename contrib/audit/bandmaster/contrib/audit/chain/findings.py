"""The findings of a verification, each with a fingerprint by which operators acknowledge it. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from bandmaster.contrib.audit.entries.canonical import render_canonical

_SHOWN = 16
"""Characters of a fingerprint that people read."""


class FindingKind(StrEnum):
    """The kind of a break."""

    ALTERED = "altered"
    """The hash of an entry isn't that of its content."""
    MISSING = "missing"
    """Entries between two others are missing."""
    RELINKED = "relinked"
    """An entry names another predecessor than the entry before."""
    NO_BEGINNING = "no_beginning"
    """The stream doesn't begin with its first entry, and no entry reports a pruning that explains it."""
    TRUNCATED = "truncated"
    """Entries that are known from outside the table are missing at the end, or the whole stream is."""
    REPLACED = "replaced"
    """An entry has another hash than is known from outside the table."""
    UNKEYED = "unkeyed"
    """Entries without a key stand behind entries with one, or at the end although there are keys."""
    PERSONAL_ALTERED = "personal_altered"
    """A personal field isn't the one that was written."""
    PERSONAL_MISSING = "personal_missing"
    """A personal field is gone, and no entry reports its erasure."""
    PERSONAL_ADDED = "personal_added"
    """An entry has a personal field that wasn't written with it."""
    INVALID = "invalid"
    """An entry can't be read."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One break of a chain."""

    kind: FindingKind
    stream: str
    first: int
    """The sequence where the break is, or begins."""
    last: int
    observed: Any = field(default=None, repr=False)
    """The state of the entries, as a JSON value: another state of the same entries is another finding."""
    explanation: str = ""

    @property
    def fingerprint(self) -> str:
        """Identifies the finding: kind, place and state, in hexadecimal."""
        text = render_canonical([self.kind.value, self.stream, self.first, self.last, self.observed])
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def short_id(self) -> str:
        """The beginning of the fingerprint, by which people name the finding."""
        return self.fingerprint[:_SHOWN]

    def __str__(self) -> str:
        place = f"entry {self.first}" if self.first == self.last else f"entries {self.first} to {self.last}"
        return f"{self.kind.value}: {place} of the stream {self.stream!r}: {self.explanation}"
