"""Login sessions in a database, shared by all processes."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import anyio

from bandmaster.contrib.oidc.extras import naming_extra
from bandmaster.contrib.oidc.sessions.cipher import Cipher
from bandmaster.contrib.oidc.sessions.records import Records, hash_index
from bandmaster.contrib.oidc.sessions.shared_locks import SharedLocks
from bandmaster.contrib.oidc.sessions.store import Session, check_logout, hash_id
from bandmaster.contrib.oidc.store_errors import store_errors
from bandmaster.kernel import BandmasterError, get_logger

with naming_extra("sql"):
    from sqlalchemy import delete, select, update

    from bandmaster.contrib.oidc.sessions.sql_leases import SqlLeases, insert_or_update, run_statement
    from bandmaster.contrib.oidc.sessions.tables import locks_table, sessions_table
    from bandmaster.contrib.persistence import DatabaseManager, no_tenant


class SqlSessionStore:
    """A `SessionStore` in a database: PostgreSQL, or SQLite for the processes of one machine.

    Sessions are encrypted, and stored under hashes of their ids. The tables are those of the migrations
    ``auth_sessions``.
    """

    is_server_side = True

    def __init__(
        self,
        manager: DatabaseManager,
        cipher: Cipher,
        *,
        lease: float = 15,
        lock_wait: float = 60,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._manager = manager
        self._records = Records(cipher, clock)
        self._clock = clock
        self._locks = SharedLocks(SqlLeases(manager), lease=lease, wait=lock_wait)

    async def get(self, handle: str) -> Session | None:
        """See `SessionStore.get`."""
        key = hash_id(handle)
        statement = select(sessions_table.c.record).where(sessions_table.c.id == key)
        with _errors(), no_tenant():
            async with self._manager.session() as session:
                record = await session.scalar(statement)
        return None if record is None else self._records.read(record, key)

    async def put(self, session: Session) -> str:
        """See `SessionStore.put`."""
        await self._run(insert_or_update(self._manager, sessions_table, self._values(session)))
        return session.id

    async def replace(self, handle: str, session: Session) -> str | None:
        """See `SessionStore.replace`."""
        replaced = await self._run(
            update(sessions_table)
            .where(sessions_table.c.id == hash_id(handle), self._is_valid())
            .values(self._values(session))
        )
        return session.id if replaced else None

    async def delete(self, handle: str) -> bool:
        """See `SessionStore.delete`."""
        return (
            await self._run(delete(sessions_table).where(sessions_table.c.id == hash_id(handle), self._is_valid())) > 0
        )

    async def delete_by(self, issuer: str, *, sid: str | None = None, subject: str | None = None) -> int:
        """See `SessionStore.delete_by`."""
        check_logout(sid, subject)
        statement = delete(sessions_table).where(self._is_valid())
        if sid is not None:
            statement = statement.where(sessions_table.c.sid == hash_index(issuer, sid))
        if subject is not None:
            statement = statement.where(sessions_table.c.subject == hash_index(issuer, subject))
        return await self._run(statement)

    @asynccontextmanager
    async def lock(self, session_id: str) -> AsyncGenerator[None, None]:
        """See `SessionStore.lock`."""
        async with self._locks.hold(hash_id(session_id)):
            yield

    async def purge(self) -> int:
        """Delete sessions that have expired, and locks of processes that have died. Returns how many sessions.

        Raises:
            AuthUnavailableError: the database can't be reached.
        """
        now = self._now()
        purged = await self._run(delete(sessions_table).where(sessions_table.c.expires_at <= now))
        await self._run(delete(locks_table).where(locks_table.c.expires_at <= now))
        return purged

    async def purge_forever(self, interval: float) -> None:
        """Purge at once, and then every ``interval`` seconds."""
        while True:
            try:
                await self.purge()
            except BandmasterError as error:
                get_logger("bandmaster.oidc").warning("expired sessions can't be deleted now", error=str(error))
            await anyio.sleep(interval)

    def _values(self, session: Session) -> dict[str, Any]:
        key = hash_id(session.id)
        return {
            "id": key,
            "subject": hash_index(session.issuer, session.subject),
            "sid": None if session.sid is None else hash_index(session.issuer, session.sid),
            "record": self._records.write(session, key),
            "expires_at": datetime.fromtimestamp(session.expires_at, UTC),
        }

    def _is_valid(self) -> Any:
        return sessions_table.c.expires_at > self._now()

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC)

    async def _run(self, statement: Any) -> int:
        with _errors():
            return await run_statement(self._manager, statement)


def _errors() -> Any:
    return store_errors("the database of sessions")
