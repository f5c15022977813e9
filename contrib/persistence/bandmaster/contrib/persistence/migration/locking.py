"""Locks for migrations: one process migrates a database at a time, one thread of a process uses Alembic."""

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
"""The key of PostgreSQL's advisory lock: the first eight bytes of the SHA-256 of ``LOCK_NAME``. The lock is local to
one database."""
LOCK_TIMEOUT = 60.0
"""Seconds."""

# Alembic keeps the running environment in its modules ``op`` and ``context``: a process can run one at a time.
_ALEMBIC = threading.Lock()
_RETRY_PAUSE = 0.02

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
"""Seconds between two attempts. The server sleeps for that time."""


class MigrationLockedError(TransientError):
    """Another process migrated the database for longer than the lock's timeout."""


@asynccontextmanager
async def alembic_free() -> AsyncIterator[None]:
    """Use Alembic alone in this process for the block; wait while another task or thread uses it."""
    # Event loops of several threads may wait here, and a lock of one event loop doesn't work across threads.
    while not _ALEMBIC.acquire(blocking=False):  # noqa: ASYNC110
        await anyio.sleep(_RETRY_PAUSE)
    try:
        yield
    finally:
        _ALEMBIC.release()


@contextmanager
def alembic_free_now() -> Iterator[None]:
    """Like `alembic_free`, for synchronous code, which can't wait: it may block the event loop of the other user.

    Raises:
        MigrationLockedError: another task or thread of this process uses Alembic.
    """
    if not _ALEMBIC.acquire(blocking=False):
        raise MigrationLockedError(
            "this process is using Alembic already, and can do so once at a time: wait for the other migration"
        )
    try:
        yield
    finally:
        _ALEMBIC.release()


@contextmanager
def migration_lock(connection: Connection, timeout: float = LOCK_TIMEOUT) -> Iterator[None]:
    """Keep other processes from migrating until the block ends. ``timeout`` bounds the wait for the lock, in seconds.

    PostgreSQL: an advisory lock of the session, or of the transaction where the connection has begun one. The session
    must not go through PgBouncer in transaction mode. SQLite: one transaction for the whole block, begun by ``BEGIN
    IMMEDIATE``, without enforcement of foreign keys, which would delete rows where Alembic rebuilds a table. Other
    databases: nothing is locked.

    Raises:
        MigrationLockedError: another process kept the lock for too long.
        MigrationError: the lock was lost before the block ended.
        ValueError: the timeout isn't above zero.
    """
    if not timeout > 0:
        raise ValueError(f"timeout: expected seconds above 0, got {timeout!r}")
    if connection.dialect.name == "postgresql":
        with _lock_postgresql(connection, timeout):
            yield
    elif connection.dialect.name == "sqlite":
        with _lock_sqlite(connection, timeout):
            yield
    else:
        yield


@contextmanager
def _lock_postgresql(connection: Connection, timeout: float) -> Iterator[None]:
    if connection.in_transaction():
        # The lock ends with the transaction, so that the next process sees the migrated tables.
        _acquire(connection, sa.func.pg_try_advisory_xact_lock(_KEY), timeout)
        yield
        return
    _acquire(connection, sa.func.pg_try_advisory_lock(_KEY), timeout)
    try:
        yield
    except BaseException:
        # An error while unlocking must not hide the first one; the server releases the lock with the connection.
        with suppress(exc.SQLAlchemyError):
            if not connection.invalidated:
                _unlock(connection)
        raise
    if not _unlock(connection):
        raise MigrationError(
            "the lock against other processes that migrate was lost: another session of the server ran some "
            "statements. Migrate by a direct connection, not through PgBouncer in transaction mode"
        )


def _acquire(connection: Connection, lock: sa.ColumnElement[bool], timeout: float) -> None:
    # The lock is tried repeatedly instead of awaited by the server: CREATE INDEX CONCURRENTLY, run by the process that
    # has the lock, waits for every statement that began before it, and so would wait for this one.
    end = time.monotonic() + timeout
    while not _select(connection, lock):
        left = end - time.monotonic()
        if left <= 0:
            raise MigrationLockedError(
                f"another process has been migrating the database for more than {timeout:g} s"
                f"{_describe_holders(connection)}. Wait for it, or find out why it waits"
            )
        # The server sleeps: this code runs in a greenlet or a thread, and neither may block here.
        _select(connection, sa.func.pg_sleep(min(_PAUSE, left)))


def _select(connection: Connection, function: sa.ColumnElement[Any]) -> Any:
    with _ensure_transaction(connection):
        return connection.scalar(sa.select(function))


def _describe_holders(connection: Connection) -> str:
    with _ensure_transaction(connection):
        holders = connection.execute(_HOLDERS).all()
    names = ", ".join(f"pid {pid} ({name or 'nameless'}, as {user})" for pid, name, user in holders)
    return f": {names}" if names else ""


def _ensure_transaction(connection: Connection) -> AbstractContextManager[Any]:
    return nullcontext() if connection.in_transaction() else connection.begin()


def _unlock(connection: Connection) -> bool:
    if connection.in_transaction():
        connection.rollback()
    return bool(_select(connection, sa.func.pg_advisory_unlock(_KEY)))


@contextmanager
def _lock_sqlite(connection: Connection, timeout: float) -> Iterator[None]:
    if connection.in_transaction():
        _begin_to_write(connection, timeout)
        yield
        return
    wanted = {"busy_timeout": round(timeout * 1000), "foreign_keys": 0}
    before = {name: _pragma(connection, name) for name in wanted}
    for name, value in wanted.items():
        _pragma(connection, name, value)
    try:
        with _write_transaction(connection, timeout):
            yield
    finally:
        for name, value in before.items():
            _pragma(connection, name, value)


@contextmanager
def _write_transaction(connection: Connection, timeout: float) -> Iterator[None]:
    with _translated_lock(timeout):
        transaction = connection.begin()
    with transaction:
        _begin_to_write(connection, timeout)
        yield


def _begin_to_write(connection: Connection, timeout: float) -> None:
    # Python's driver begins a transaction late, and none for DDL, unless the engine of this package has begun one.
    if not connection.connection.driver_connection.in_transaction:  # type: ignore[union-attr]
        with _translated_lock(timeout):
            connection.exec_driver_sql("BEGIN IMMEDIATE")


@contextmanager
def _translated_lock(timeout: float) -> Iterator[None]:
    try:
        yield
    except exc.OperationalError as error:
        if "locked" not in str(error.orig):
            raise
        raise MigrationLockedError(
            f"another process has been writing to the database for more than {timeout:g} s; wait for it"
        ) from error


def _pragma(connection: Connection, name: str, value: Any = None) -> Any:
    # By the driver's own cursor: SQLAlchemy would begin a transaction, in which SQLite ignores these settings.
    cursor = connection.connection.cursor()
    try:
        cursor.execute(f"PRAGMA {name}" if value is None else f"PRAGMA {name} = {value}")
        row = cursor.fetchone()
        return None if row is None else row[0]
    finally:
        cursor.close()
