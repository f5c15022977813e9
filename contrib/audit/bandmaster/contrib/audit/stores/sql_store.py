"""`SqlAuditStore`: the audit trail in the tables of a database, on PostgreSQL and on SQLite."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

from sqlalchemy import URL, Connection, Engine, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from bandmaster.contrib.audit.chain.keys import ChainKeys
from bandmaster.contrib.audit.chain.link import ChainLink
from bandmaster.contrib.audit.chain.verifier import Head
from bandmaster.contrib.audit.entries.filters import AuditFilter, contains
from bandmaster.contrib.audit.errors import AuditError, AuditRefusedError, AuditUnavailableError
from bandmaster.contrib.audit.stores.append import append_links, read_head
from bandmaster.contrib.audit.stores.open_transactions import OpenTransactions
from bandmaster.contrib.audit.stores.rows import read_hashes, read_links, select_stream, select_wanted
from bandmaster.contrib.audit.stores.session_entries import SessionEntries
from bandmaster.contrib.audit.stores.store import AnySession, Draft, Position
from bandmaster.contrib.audit.stores.tables import entries_table
from bandmaster.contrib.persistence import DatabaseManager, no_tenant
from bandmaster.kernel import PermanentError, TransientError, get_logger

T = TypeVar("T")
_ENTRY = entries_table.c
_PAGE = 500


class SqlAuditStore:
    """An `AuditStore` in the tables ``audit_entries`` and ``audit_personal``.

    ``manager`` has the connections for entries in transactions of their own. ``application`` is the manager of the
    application's sessions, if it is another one; both are of the same database.
    """

    def __init__(
        self,
        manager: DatabaseManager,
        keys: ChainKeys,
        *,
        lock_timeout: float = 10,
        application: DatabaseManager | None = None,
    ) -> None:
        self.manager = manager
        self.keys = keys
        self.lock_timeout = lock_timeout
        self._is_sqlite = not manager.settings.is_postgresql
        # Whatever the server's default is: in another level a transaction that has waited for a stream sees the chain
        # as it was before.
        self._isolation_level = None if self._is_sqlite else "READ COMMITTED"
        shown = application or manager
        self._open = OpenTransactions(shown.engine.sync_engine) if self._is_sqlite else None

    async def append(self, drafts: Sequence[Draft]) -> list[ChainLink]:
        """See `AuditStore.append`."""
        return await self.run(lambda connection: self.write(connection, drafts))

    async def append_beside(
        self, drafts: Sequence[Draft], session: AnySession, on_written: Callable[[ChainLink], None]
    ) -> list[ChainLink]:
        """See `AuditStore.append_beside`. On PostgreSQL the entries are written at once."""
        if not self._is_sqlite:
            return await self.append(drafts)
        entries = SessionEntries.of(session, self.write)
        if entries.call_after_end(partial(self._write_after, entries.session, drafts, on_written)):
            return []
        return await self.append(drafts)

    def add_to(self, session: AnySession, draft: Draft, on_commit: Callable[[ChainLink], None]) -> None:
        """See `AuditStore.add_to`."""
        self._check_database(session)

        def tell(link: ChainLink | None) -> None:
            if link is not None:
                on_commit(link)

        SessionEntries.of(session, self.write).add(draft, tell)

    async def find(self, wanted: AuditFilter, *, limit: int, before: Position | None = None) -> list[ChainLink]:
        """See `AuditStore.find`. For ``details`` the entries that fit otherwise are read one page after the other."""
        found: list[ChainLink] = []
        while True:
            size = min(limit, _PAGE) if wanted.details else limit
            query = select_wanted(wanted, limit=size, before=before)
            page = await self.run(partial(read_links, query=query))
            found += [link for link in page if not wanted.details or contains(link.to_entry().details, wanted.details)]
            if len(page) < size or len(found) >= limit:
                return found[:limit]
            before = Position(page[-1].at, page[-1].stream, page[-1].sequence)

    async def read(self, stream: str, *, after: int, limit: int) -> list[ChainLink]:
        """See `AuditStore.read`."""
        query = select_stream(stream, after=after, limit=limit)
        return await self.run(lambda connection: read_links(connection, query))

    async def read_one(self, stream: str, sequence: int) -> ChainLink | None:
        """See `AuditStore.read_one`."""
        links = await self.read(stream, after=sequence - 1, limit=1)
        return links[0] if links and links[0].sequence == sequence else None

    async def heads(self) -> AsyncIterator[Head]:
        """See `AuditStore.heads`. Each stream costs a look into the index, however long the stream is."""
        after = ""
        while True:
            page = await self.run(partial(_read_heads, after=after))
            for head in page:
                yield head
            if len(page) < _PAGE:
                return
            after = page[-1].stream

    async def hashes(self, places: Sequence[tuple[str, int]]) -> Mapping[tuple[str, int], str]:
        """See `AuditStore.hashes`."""
        return await self.run(lambda connection: read_hashes(connection, places))

    def write(self, connection: Connection, drafts: Sequence[Draft]) -> list[ChainLink]:
        """Add entries in the transaction of a connection."""
        return append_links(connection, drafts, self.keys, lock_timeout=self.lock_timeout)

    async def run(self, work: Callable[[Connection], T]) -> T:
        """Run work in a transaction of its own, and again if it loses a race.

        Raises:
            AuditUnavailableError, AuditRefusedError: as with `append`.
        """
        if self._open is not None and self._open.has_current():
            raise AuditUnavailableError(
                "this task has an open transaction, and SQLite lets only one run at a time: end it first. For an entry "
                "pass its session, as in record(..., beside=session), so that the entry is written once it has ended"
            )

        async def transact(session: AsyncSession) -> T:
            return await (await session.connection()).run_sync(work)

        with translating_errors(), no_tenant():
            return await self.manager.transaction(transact, isolation_level=self._isolation_level)

    def _write_after(self, ended: Session, drafts: Sequence[Draft], on_written: Callable[[ChainLink], None]) -> None:
        """Write entries after the end of the transaction that had SQLite's lock.

        The caller learns of no error: its transaction has ended, and can't be undone.
        """
        bind = ended.get_bind()
        try:
            with no_tenant(), Session(bind) as session:
                links = self.write(session.connection(), drafts)
                session.commit()
        except Exception as error:  # noqa: BLE001  # the answer to the caller is out already
            for draft in drafts:
                get_logger("bandmaster.audit").error(
                    "audit entry lost",
                    exception=error,
                    stream=draft.stream,
                    action=draft.entry.action,
                    result=draft.entry.result.value,
                    entry=draft.entry.id,
                )
            return
        for link in links:
            on_written(link)

    def _check_database(self, session: AnySession) -> None:
        own = session.sync_session if isinstance(session, AsyncSession) else session
        try:
            bind = own.get_bind()
        except SQLAlchemyError:
            return  # bound by mapper or table, so that only the statement knows
        engine = bind if isinstance(bind, Engine) else bind.engine
        given, expected = _describe_place(engine.url), _describe_place(self.manager.engine.url)
        if given != expected:
            raise ValueError(
                f"session: belongs to {given}, and the audit trail to {expected}; an entry can share a transaction "
                "only with changes of the same database"
            )


@contextmanager
def translating_errors() -> Generator[None, None, None]:
    """Raise this package's errors in place of the database's."""
    try:
        yield
    except AuditError:
        raise
    except TransientError as error:
        raise AuditUnavailableError(
            f"the database of the audit trail can't be used at the moment ({type(error).__name__})"
        ) from error
    except (PermanentError, SQLAlchemyError) as error:
        raise AuditRefusedError(
            f"the database refuses the audit trail ({type(error).__name__}). Does it have the table audit_entries, and "
            "may this role use it? See 'bandmaster db check'"
        ) from error


def _read_heads(connection: Connection, *, after: str) -> list[Head]:
    """The last entries of the streams behind a name: one look into the index for each stream."""
    found: list[Head] = []
    while len(found) < _PAGE:
        stream = connection.scalar(select(_ENTRY.stream).where(_ENTRY.stream > after).order_by(_ENTRY.stream).limit(1))
        if stream is None:
            break
        head = read_head(connection, stream)
        assert head is not None
        found.append(head)
        after = stream
    return found


def _describe_place(url: URL) -> tuple[str, str | None, int | None, str | None]:
    backend = url.get_backend_name()
    return backend, url.host, (url.port or 5432) if backend == "postgresql" else None, url.database
