"""SQLAlchemy's engines as settings describe them: bounded pools, timeouts, errors that are sorted. Opens nothing."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from traceback import clear_frames
from typing import Any

import anyio
from sqlalchemy import URL, AsyncAdaptedQueuePool, Connection, Dialect, Engine, QueuePool, create_engine, event, exc
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from bandmaster.contrib.persistence.errors import DatabaseClosedError, PoolTimeoutError, translate, unreachable
from bandmaster.contrib.persistence.settings import DatabaseSettings
from bandmaster.contrib.persistence.tenancy.transactions import guard, set_locally

_CLIENT_CHECK = 500
"""Milliseconds after which PostgreSQL notices that a client has gone, and ends what it runs for it. A query that is
cancelled twice over, as structured concurrency does it, would run on beyond the pool without it."""
_KEEPALIVES = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}
"""Seconds, seconds and a number: a host that is gone without a word is noticed after a minute."""
_SQLITE_WAIT = 5.0


def make_async_engine(settings: DatabaseSettings, *, size: int, overflow: int, autocommit: bool = False) -> AsyncEngine:
    """An engine for asynchronous code, not yet connected to anything."""
    options = _options(settings, settings.dsn, _AsyncPool, size=size, overflow=overflow)
    # Behind PgBouncer a transaction is what holds the steps of one statement together: to prepare it, and to run it.
    if autocommit and not settings.pgbouncer:
        options["isolation_level"] = "AUTOCOMMIT"
    return create_async_engine(settings.dsn, **options)


def make_sync_engine(settings: DatabaseSettings, *, size: int, overflow: int) -> Engine:
    """An engine for synchronous code, not yet connected to anything."""
    return create_engine(
        settings.sync_dsn, **_options(settings, settings.sync_dsn, _SyncPool, size=size, overflow=overflow)
    )


def equip(engine: Engine, settings: DatabaseSettings, is_closed: Callable[[], bool], *, tenants: bool = False) -> None:
    """What every engine of a manager does: sort its errors, stay closed once it is, begin as it should.

    With ``tenants`` its transactions are for a tenant, if the settings say so.
    """

    def stay_closed(dialect: Dialect, record: Any, arguments: Any, options: Any) -> None:
        if is_closed():
            raise DatabaseClosedError(
                "this database was stopped with the application that it belonged to; nothing may be asked of it any more"
            )

    def checkin(connection: Any, record: ConnectionPoolEntry) -> None:
        # A pool that is disposed of forgets those in use, and would keep them open when they come back.
        if is_closed() and connection is not None:
            record.invalidate()

    event.listen(engine, "do_connect", stay_closed)
    event.listen(engine, "do_connect", dial)
    event.listen(engine, "checkin", checkin)
    event.listen(engine, "handle_error", translate)
    if engine.dialect.name == "sqlite":
        if engine.dialect.is_async:
            _terminate_once(engine.dialect)
        event.listen(engine, "connect", _begin_by_hand)
        event.listen(engine, "begin", _begin_to_write)
        return
    # Behind PgBouncer the session belongs to whoever comes next: timeouts hold for one transaction.
    limits = _limits(settings) if settings.pgbouncer else {}
    if tenants and settings.is_postgresql and settings.tenant_isolation != "off":
        guard(engine, settings.tenant_setting, limits, insists=settings.tenant_isolation == "rls")
    elif limits:
        statement, values = set_locally(engine, limits)
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(statement, values))


def dial(dialect: Dialect, record: Any, arguments: Sequence[Any], options: Mapping[str, Any]) -> Any:
    """What an engine connects with: a driver's new connection, or none, and then what was half made is closed at once.

    Listens to SQLAlchemy's ``do_connect``. Where connecting fails or is cancelled, psycopg's half stays in the
    frames of the exception, and those end up in a cycle. Until the collector came by, PostgreSQL would wait for its
    password, for up to ``authentication_timeout``; ``DROP DATABASE`` waits for that.
    """
    try:
        return dialect.connect(*arguments, **options)
    except BaseException as error:
        clear_frames(error.__traceback__)
        if isinstance(error, OSError):
            # SQLAlchemy sorts what its drivers call their own; asyncpg lets the network's errors pass.
            raise unreachable(error) from error
        raise


class _AsyncPool(AsyncAdaptedQueuePool):
    # SQLAlchemy names a pool's logger after this, and people know its loggers, and set their levels.
    __module__ = AsyncAdaptedQueuePool.__module__

    def _do_get(self) -> ConnectionPoolEntry:
        try:
            return super()._do_get()
        except exc.TimeoutError as error:
            raise _exhausted(self) from error


class _SyncPool(QueuePool):
    __module__ = QueuePool.__module__

    def _do_get(self) -> ConnectionPoolEntry:
        try:
            return super()._do_get()
        except exc.TimeoutError as error:
            raise _exhausted(self) from error


def _exhausted(pool: QueuePool) -> PoolTimeoutError:
    return PoolTimeoutError(
        f"all {pool.checkedout()} connections of the pool are in use, and none came back within {pool.timeout():g} s: "
        "raise pool_size or max_overflow in its settings, or hold sessions for less long"
    )


def _options(
    settings: DatabaseSettings, url: URL, pool: type[QueuePool], *, size: int, overflow: int
) -> dict[str, Any]:
    common: dict[str, Any] = {
        "echo": settings.echo,
        # Values of statements end up in logs, which people read who must not see the data.
        "hide_parameters": not settings.echo,
        "connect_args": _connect_args(settings, url),
    }
    if url.get_driver_name() == "psycopg":
        # Else it looks hstore up in the catalogue whenever it connects for the first time; it is read without as well.
        common["use_native_hstore"] = False
    if settings.is_in_memory:
        # One connection is the database: never a second one, never a new one, and one transaction at a time.
        return {**common, "poolclass": pool, "pool_size": 1, "max_overflow": 0, "pool_timeout": settings.pool_timeout}
    return {
        **common,
        "poolclass": pool,
        "pool_size": size,
        "max_overflow": overflow,
        "pool_timeout": settings.pool_timeout,
        "pool_recycle": settings.pool_recycle,
        "pool_pre_ping": settings.pool_pre_ping,
    }


def _connect_args(settings: DatabaseSettings, url: URL) -> dict[str, Any]:
    driver = url.get_driver_name()
    if url.get_backend_name() == "sqlite":
        return {"timeout": settings.lock_timeout or _SQLITE_WAIT, "check_same_thread": False}
    session = (
        {} if settings.pgbouncer else {**_limits(settings), "client_connection_check_interval": str(_CLIENT_CHECK)}
    )
    if driver == "asyncpg":
        return {
            "timeout": settings.connect_timeout,
            "server_settings": {"application_name": settings.application_name, **session},
            **({"prepared_statement_cache_size": 0, "statement_cache_size": 0} if settings.pgbouncer else {}),
        }
    if driver == "psycopg":
        # What the URL itself sets stands last, and so wins.
        options = [*(f"-c {name}={value}" for name, value in session.items()), str(url.query.get("options", ""))]
        return {
            # libpq takes whole seconds, and 0 as no limit.
            "connect_timeout": math.ceil(settings.connect_timeout),
            "application_name": settings.application_name,
            **_KEEPALIVES,
            **({"options": text} if (text := " ".join(filter(None, options))) else {}),
            **({"prepare_threshold": None} if settings.pgbouncer else {}),
        }
    return {}


def _limits(settings: DatabaseSettings) -> dict[str, str]:
    """PostgreSQL's timeouts, in milliseconds."""
    seconds = {
        "statement_timeout": settings.statement_timeout,
        "idle_in_transaction_session_timeout": settings.idle_in_transaction_timeout,
        "lock_timeout": settings.lock_timeout,
    }
    return {name: str(max(1, round(value * 1000))) for name, value in seconds.items() if value}


def _terminate_once(dialect: Dialect) -> None:
    """Wait for what a cancelled statement does in its thread, and for the end of that.

    SQLAlchemy has the thread stopped twice where it is cancelled a second time, as structured concurrency does it, and
    then waits for the second stop without end: no event loop that is to be closed after it ever is.
    """
    stock = dialect.do_terminate

    def terminate(connection: Any) -> None:
        try:
            connection.run_async(_end)
        except exc.MissingGreenlet:
            stock(connection)  # the garbage collector's way, which can wait for nothing

    setattr(dialect, "do_terminate", terminate)  # noqa: B010  # a method, to type checkers


async def _end(driver: Any) -> None:
    with anyio.CancelScope(shield=True), suppress(ValueError):  # it may be closed already
        await driver.interrupt()
        with suppress(sqlite3.Error):
            # A closed connection keeps its lock for as long as anything refers to one of its statements.
            await driver.rollback()
        await driver.close()


def _begin_by_hand(connection: Any, record: Any) -> None:
    # The driver would begin late and not at all before a SELECT, which breaks savepoints and isolation.
    connection.isolation_level = None
    cursor = connection.cursor()
    try:
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute("PRAGMA journal_mode=WAL")
    finally:
        cursor.close()


def _begin_to_write(connection: Connection) -> None:
    # A reader that turns writer fails at once where another writes; who asks first to write waits for its turn.
    connection.exec_driver_sql("BEGIN IMMEDIATE")
