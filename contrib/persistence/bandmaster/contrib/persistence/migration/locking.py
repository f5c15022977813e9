"""One process migrates a database at a time; the others wait for it, within bounds."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, nullcontext, suppress
from typing import Any

import anyio
import sqlalchemy as sa
from sqlalchemy import Connection, exc

from bandmaster.contrib.persistence.migration.branches import MigrationError
from bandmaster.kernel import TransientError

LOCK_NAME = "bandmaster.contrib.persistence/migrations"
LOCK_KEY = int.from_bytes(hashlib.sha256(LOCK_NAME.encode()).digest()[:8], "big", signed=True)
"""Of PostgreSQL's advisory lock: the first eight bytes of the SHA-256 of ``LOCK_NAME``. It is one database's."""
LOCK_TIMEOUT = 60.0
"""Seconds."""

# Alembic keeps what runs in its modules ``op`` and ``context``, so that a process can run one thing at a time.
_ALEMBIC = threading.Lock()
_TRY_AGAIN = 0.02

_KEY = sa.literal(LOCK_KEY, sa.BigInteger)
_HOLDERS = sa.text(
    """
    SELECT a.pid, a.application_name, a.usename
    FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
      AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
      AND (l.classid::bigint << 32 | l.objid::bigint) = :key
    """
).bindparams(sa.bindparam("key", LOCK_KEY, sa.BigInteger))
_PAUSE = 0.2
"""Seconds between two tries, for which the server sleeps."""


class MigrationLockedError(TransientError):
    """Another process was migrating the database for longer than was to be waited for."""


@asynccontextmanager
async def alembic_free() -> AsyncIterator[None]:
    """Have Alembic, of which a process has one, for the block; wait until nobody in this process uses it."""
    # Event loops of several threads may meet here, so that no loop's own lock will do.
    while not _ALEMBIC.acquire(blocking=False):  # noqa: ASYNC110
        await anyio.sleep(_TRY_AGAIN)
    try:
        yield
    finally:
        _ALEMBIC.release()


@contextmanager
def alembic_free_now() -> Iterator[None]:
    """As `alembic_free`, for synchronous code: it may be what an event loop runs meanwhile, and so can't wait.

    Raises:
        MigrationLockedError: something in this process uses it.
    """
    if not _ALEMBIC.acquire(blocking=False):
        raise MigrationLockedError("this process is migrating a database just now, and can do one thing at a time")
    try:
        yield
    finally:
        _ALEMBIC.release()


@contextmanager
def migration_lock(connection: Connection, timeout: float = LOCK_TIMEOUT) -> Iterator[None]:
    """Migrate alone until the block ends. ``timeout`` is in seconds, for the wait alone.

    PostgreSQL: an advisory lock of the session, or of the transaction where the connection is in one already. It needs
    a session of its own: not PgBouncer in transaction mode. SQLite: everything is one transaction, begun by ``BEGIN
    IMMEDIATE``, without enforcement of foreign keys, which would delete rows where Alembic makes a table anew. Other
    databases: nothing is locked.

    Raises:
        MigrationLockedError: another process kept it for too long.
        MigrationError: it was lost meanwhile.
        ValueError: the timeout isn't above zero.
    """
    if not timeout > 0:
        raise ValueError(f"timeout: expected seconds above 0, got {timeout!r}")
    if connection.dialect.name == "postgresql":
        with _on_postgresql(connection, timeout):
            yield
    elif connection.dialect.name == "sqlite":
        with _on_sqlite(connection, timeout):
            yield
    else:
        yield


@contextmanager
def _on_postgresql(connection: Connection, timeout: float) -> Iterator[None]:
    if connection.in_transaction():
        # It ends with the transaction: before that, nobody else sees what was migrated.
        _wait(connection, sa.func.pg_try_advisory_xact_lock(_KEY), timeout)
        yield
        return
    _wait(connection, sa.func.pg_try_advisory_lock(_KEY), timeout)
    try:
        yield
    except BaseException:
        # The server frees it with the connection, at the latest; what went wrong is worth more than this.
        with suppress(exc.SQLAlchemyError):
            if not connection.invalidated:
                _unlock(connection)
        raise
    if not _unlock(connection):
        raise MigrationError(
            "the lock against other processes that migrate was lost meanwhile: another session ran the statements. "
            "Migrate by a direct connection, not through PgBouncer in transaction mode"
        )


def _wait(connection: Connection, lock: sa.ColumnElement[bool], timeout: float) -> None:
    # Asked for again and again, and not waited for by the server: CREATE INDEX CONCURRENTLY, run by who has the lock,
    # waits for every statement that began before it.
    end = time.monotonic() + timeout
    while not _ask(connection, lock):
        left = end - time.monotonic()
        if left <= 0:
            raise MigrationLockedError(
                f"another process has been migrating the database for more than {timeout:g} s{_held_by(connection)}. "
                "Wait for it, or see what it waits for itself"
            )
        # Here it is the server that sleeps, so that neither thread nor event loop has to.
        _ask(connection, sa.func.pg_sleep(min(_PAUSE, left)))


def _ask(connection: Connection, function: sa.ColumnElement[Any]) -> Any:
    with _transaction(connection):
        return connection.scalar(sa.select(function))


def _held_by(connection: Connection) -> str:
    with _transaction(connection):
        holders = connection.execute(_HOLDERS).all()
    told = ", ".join(f"pid {pid} ({name or 'nameless'}, as {user})" for pid, name, user in holders)
    return f": {told}" if told else ""


def _transaction(connection: Connection) -> AbstractContextManager[Any]:
    return nullcontext() if connection.in_transaction() else connection.begin()


def _unlock(connection: Connection) -> bool:
    if connection.in_transaction():
        connection.rollback()
    return bool(_ask(connection, sa.func.pg_advisory_unlock(_KEY)))


@contextmanager
def _on_sqlite(connection: Connection, timeout: float) -> Iterator[None]:
    if connection.in_transaction():
        _begin_to_write(connection, timeout)
        yield
        return
    wanted = {"busy_timeout": round(timeout * 1000), "foreign_keys": 0}
    before = {name: _pragma(connection, name) for name in wanted}
    for name, value in wanted.items():
        _pragma(connection, name, value)
    try:
        with _begun(connection, timeout):
            yield
    finally:
        for name, value in before.items():
            _pragma(connection, name, value)


@contextmanager
def _begun(connection: Connection, timeout: float) -> Iterator[None]:
    with _refused(timeout):
        transaction = connection.begin()
    with transaction:
        _begin_to_write(connection, timeout)
        yield


def _begin_to_write(connection: Connection, timeout: float) -> None:
    # The driver begins late, and not at all for DDL; unless the engine has seen to that.
    if not connection.connection.driver_connection.in_transaction:  # type: ignore[union-attr]
        with _refused(timeout):
            connection.exec_driver_sql("BEGIN IMMEDIATE")


@contextmanager
def _refused(timeout: float) -> Iterator[None]:
    try:
        yield
    except exc.OperationalError as error:
        if "locked" not in str(error.orig):
            raise
        raise MigrationLockedError(
            f"another process has been writing to the database for more than {timeout:g} s; wait for it"
        ) from error


def _pragma(connection: Connection, name: str, value: Any = None) -> Any:
    # By the driver's own cursor: SQLAlchemy would begin a transaction, in which neither can be changed.
    cursor = connection.connection.cursor()
    try:
        cursor.execute(f"PRAGMA {name}" if value is None else f"PRAGMA {name} = {value}")
        row = cursor.fetchone()
        return None if row is None else row[0]
    finally:
        cursor.close()
