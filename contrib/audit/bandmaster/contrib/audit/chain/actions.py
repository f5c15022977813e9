"""The actions and the details of the audit trail's own entries. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from bandmaster.contrib.audit.entries.entry import JsonMapping

PREFIX = "audit."
"""Actions that begin with this are the audit trail's own, and refused from applications."""
PRUNED = "audit.pruned"
ERASED = "audit.erased"
ACKNOWLEDGED = "audit.acknowledged"
CHECKPOINT = "audit.checkpoint"
DROPPED = "audit.dropped"


@dataclass(frozen=True, slots=True)
class Pruning:
    """The details of an entry that reports removed entries."""

    through: int
    """The last sequence that was removed; every one before was removed as well."""
    head: str
    """The hash of that entry, which the first remaining entry names as its predecessor."""

    @classmethod
    def read(cls, details: JsonMapping) -> Pruning | None:
        """The pruning that details describe; None if they don't."""
        through, head = details.get("through"), details.get("head")
        return cls(through, head) if type(through) is int and isinstance(head, str) else None


@dataclass(frozen=True, slots=True)
class Erasure:
    """The details of an entry that reports erased personal fields."""

    first: int
    """The lowest sequence of which a field was erased."""
    count: int
    """The number of fields."""
    digest: str
    """The `ErasureDigest` of all fields."""

    @classmethod
    def read(cls, details: JsonMapping) -> Erasure | None:
        """The erasure that details describe; None if they don't."""
        first, count, digest = (details.get(name) for name in ("first", "count", "digest"))
        if type(first) is int and type(count) is int and isinstance(digest, str):
            return cls(first, count, digest)
        return None


def read_acknowledged(details: JsonMapping) -> tuple[str, ...]:
    """The fingerprints of findings that the details of an acknowledgement list."""
    found: Any = details.get("findings")
    if not isinstance(found, Iterable) or isinstance(found, str):
        return ()
    return tuple(each for each in found if isinstance(each, str))
