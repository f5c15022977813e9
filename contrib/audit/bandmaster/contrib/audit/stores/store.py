"""`AuditStore`: the protocol of stores for the audit log."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

from bandmaster.contrib.audit.chain.link import ChainLink
from bandmaster.contrib.audit.chain.verifier import Head
from bandmaster.contrib.audit.entries.entry import AuditEntry
from bandmaster.contrib.audit.entries.filters import AuditFilter

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession
    from sqlalchemy.orm import Session

AnySession: TypeAlias = "AsyncSession | Session"


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in a list of entries, which is newest first."""

    at: datetime
    stream: str
    sequence: int


@dataclass(frozen=True, slots=True)
class Draft:
    """An entry that has no place in the chain yet, and its stream."""

    stream: str
    entry: AuditEntry


@runtime_checkable
class AuditStore(Protocol):
    """Keeps the chains of entries. Components of this package provide one; entries are only ever added."""

    async def append(self, drafts: Sequence[Draft]) -> list[ChainLink]:
        """Add entries in a transaction of their own; returns the links.

        Raises:
            AuditUnavailableError: the store can't be reached, or another transaction holds the chain for too long.
            AuditRefusedError: the store refuses the entries.
        """
        ...

    async def append_beside(
        self, drafts: Sequence[Draft], session: AnySession, on_written: Callable[[ChainLink], None]
    ) -> list[ChainLink]:
        """Like `append`, also where the caller's open transaction keeps the only lock.

        The entries are then written after the end of that transaction: the call returns no links, and ``on_written``
        gets each of them later.
        """
        ...

    def add_to(self, session: AnySession, draft: Draft, on_commit: Callable[[ChainLink], None]) -> None:
        """Add an entry to the transaction of a session: written when it commits, gone when it rolls back.

        ``on_commit`` is called after the commit, with the link.

        Raises:
            ValueError: the session belongs to another database than the entries.
        """
        ...

    async def find(self, wanted: AuditFilter, *, limit: int, before: Position | None = None) -> list[ChainLink]:
        """Entries newest first: by time, then by stream and sequence. ``before`` begins behind a place.

        Raises:
            AuditUnavailableError, AuditRefusedError: as with `append`.
        """
        ...

    async def read(self, stream: str, *, after: int, limit: int) -> list[ChainLink]:
        """The links of a stream with a higher sequence than ``after``, lowest first."""
        ...

    async def read_one(self, stream: str, sequence: int) -> ChainLink | None:
        """One link."""
        ...

    def heads(self) -> AsyncIterator[Head]:
        """The last entry of each stream, in the order of the streams."""
        ...

    async def hashes(self, places: Sequence[tuple[str, int]]) -> Mapping[tuple[str, int], str]:
        """The hashes of entries by stream and sequence, for those that there are."""
        ...
