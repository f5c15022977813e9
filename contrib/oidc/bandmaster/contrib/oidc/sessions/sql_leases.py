"""Leases in a database, for locks that processes share."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Interval, delete, func, literal, or_, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from bandmaster.contrib.oidc.sessions.tables import locks_table
from bandmaster.contrib.oidc.store_errors import store_errors
from bandmaster.contrib.persistence import DatabaseManager, no_tenant


class SqlLeases:
    """The `Leases` of a database, by the database's clock."""

    def __init__(self, manager: DatabaseManager) -> None:
        self._manager = manager

    async def acquire(self, key: str, owner: str, seconds: float) -> bool:
        """See `Leases.acquire`."""
        locks = locks_table.c
        values = {"id": key, "owner": owner, "expires_at": self._moment(seconds)}
        statement = insert_or_update(
            self._manager,
            locks_table,
            values,
            where=or_(locks.expires_at <= self._moment(), locks.owner == owner),
        )
        return await self._run(statement)

    async def renew(self, key: str, owner: str, seconds: float) -> bool:
        """See `Leases.renew`."""
        locks = locks_table.c
        return await self._run(
            update(locks_table).where(locks.id == key, locks.owner == owner).values(expires_at=self._moment(seconds))
        )

    async def release(self, key: str, owner: str) -> None:
        """See `Leases.release`."""
        locks = locks_table.c
        await self._run(delete(locks_table).where(locks.id == key, locks.owner == owner))

    async def _run(self, statement: Any) -> bool:
        with store_errors("the database of sessions"):
            return await run_statement(self._manager, statement) > 0

    def _moment(self, seconds: float = 0) -> ColumnElement[Any]:
        """The time in some seconds, by the database's clock: those of processes may differ by more than a lease."""
        after = timedelta(seconds=seconds)
        if self._manager.settings.is_postgresql:
            return func.clock_timestamp() + literal(after, Interval)
        # A file of SQLite has the processes of one machine.
        return literal(datetime.now(UTC) + after, locks_table.c.expires_at.type)


def insert_or_update(
    manager: DatabaseManager, table: Any, values: dict[str, Any], *, where: ColumnElement[bool] | None = None
) -> Any:
    """A statement that inserts a row, or updates the row with the same ``id`` where the condition holds."""
    insert: Any = postgresql.insert if manager.settings.is_postgresql else sqlite.insert
    statement = insert(table).values(values)
    changed = {name: statement.excluded[name] for name in values if name != "id"}
    return statement.on_conflict_do_update(index_elements=["id"], set_=changed, where=where)


async def run_statement(manager: DatabaseManager, statement: Any) -> int:
    """Run one statement in a transaction of its own without a tenant, and return the number of changed rows.

    Raises:
        TransientError, PermanentError: the statement failed.
    """

    async def work(session: AsyncSession) -> int:
        # SQLAlchemy keeps the count of an INSERT only if asked to.
        result: Any = await session.execute(statement, execution_options={"preserve_rowcount": True})
        return int(result.rowcount)

    with no_tenant():
        return await manager.transaction(work)
