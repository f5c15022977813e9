"""`SessionEntries`: the entries of a session's transaction, written when it commits and gone when it rolls back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, event
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session, SessionTransaction

from bandmaster.contrib.audit.chain.link import ChainLink
from bandmaster.contrib.audit.stores.store import AnySession, Draft

_KEY = "bandmaster_audit_entries"
Write = Callable[[Connection, Sequence[Draft]], Sequence[ChainLink]]
"""Writes entries in the transaction of a connection."""


@dataclass(slots=True, eq=False)
class _Pending:
    draft: Draft | None
    """The entry to write; None if there is only something to call after the commit."""
    transaction: SessionTransaction | None
    """The transaction or the savepoint that was open when the entry was added."""
    on_commit: Callable[[ChainLink | None], None]
    link: ChainLink | None = None


@dataclass(slots=True, eq=False)
class SessionEntries:
    """The entries that wait for the end of one session's transaction.

    They are written last of all, immediately before the commit: the end of a stream is locked for as short as
    possible, and a transaction that waits for a stream holds no other transaction up that isn't about to commit.
    """

    session: Session
    write: Write | None
    _pending: list[_Pending] = field(default_factory=list)
    _after_end: list[Callable[[], None]] = field(default_factory=list)
    _in_nested_commit: bool = False

    @classmethod
    def of(cls, session: AnySession, write: Write | None = None) -> SessionEntries:
        """The entries of a session, which listen to its events from the first use on."""
        own = session.sync_session if isinstance(session, AsyncSession) else session
        found: SessionEntries | None = own.info.get(_KEY)
        if found is None:
            found = own.info[_KEY] = cls(own, write)
            event.listen(own, "before_commit", found._before_commit)
            event.listen(own, "after_commit", found._after_commit)
            event.listen(own, "after_soft_rollback", found._after_rollback)
            event.listen(own, "after_transaction_end", found._after_end_of)
        return found

    def add(self, draft: Draft | None, on_commit: Callable[[ChainLink | None], None]) -> None:
        """Add an entry to the transaction, or only something to call after the commit.

        A transaction begins if there is none, as with the first statement of a session.
        """
        if not self.session.in_transaction():
            self.session.begin()
        transaction = self.session.get_nested_transaction() or self.session.get_transaction()
        self._pending.append(_Pending(draft, transaction, on_commit))

    def call_after_end(self, function: Callable[[], None]) -> bool:
        """Call a function when the transaction has ended, whether it commits or not; False if there is none."""
        if not self.session.in_transaction():
            return False
        self._after_end.append(function)
        return True

    def _before_commit(self, session: Session) -> None:
        # A savepoint is released: the entries wait for the outer commit. If that has begun while a savepoint was open,
        # this event comes for the transaction first, and then for the savepoint, which the session closes itself.
        if session.in_nested_transaction() and not self._in_nested_commit:
            self._in_nested_commit = True
            return
        waiting = [(each, each.draft) for each in self._pending if each.link is None and each.draft is not None]
        if not waiting or self.write is None:
            return
        # What the application still has to write comes first, so that a failure of it locks no stream.
        session.flush()
        links = self.write(session.connection(), [draft for _, draft in waiting])
        by_id = {link.texts["id"]: link for link in links}
        for each, draft in waiting:
            each.link = by_id[draft.entry.id]

    def _after_commit(self, session: Session) -> None:
        self._in_nested_commit = False
        root = session.get_transaction()
        if root is not None and root.is_active:
            return
        done, self._pending = self._pending, []
        for each in done:
            each.on_commit(each.link)

    def _after_rollback(self, session: Session, previous: SessionTransaction) -> None:
        self._in_nested_commit = False
        self._pending = [each for each in self._pending if not _is_inside(each.transaction, previous)]

    def _after_end_of(self, session: Session, transaction: SessionTransaction) -> None:
        self._in_nested_commit = False
        if transaction.parent is not None:
            return
        self._pending.clear()
        waiting, self._after_end = self._after_end, []
        for function in waiting:
            function()


def _is_inside(transaction: SessionTransaction | None, outer: SessionTransaction) -> bool:
    while transaction is not None:
        if transaction is outer:
            return True
        transaction = transaction.parent
    return False
