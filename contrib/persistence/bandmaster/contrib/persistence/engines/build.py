"""Engines as the settings describe them, not connected yet."""

from __future__ import annotations

from typing import Any

from sqlalchemy import URL, Engine, QueuePool, create_engine
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from bandmaster.contrib.persistence.engines.connect_args import connect_args, session_timeouts
from bandmaster.contrib.persistence.engines.pools import AsyncPool, SyncPool
from bandmaster.contrib.persistence.engines.sqlite import open_connection
from bandmaster.contrib.persistence.settings import DatabaseSettings

_CLIENT_CHECK = {"client_connection_check_interval": "500"}
"""Milliseconds after which PostgreSQL notices that a client has gone, and ends its query. Without this setting a query
that is cancelled twice, as structured concurrency does, would go on running beside the pool."""
_SQLITE_WAIT = 5.0


def build_async_engine(
    settings: DatabaseSettings, *, size: int, overflow: int, autocommit: bool = False
) -> AsyncEngine:
    """Build an engine for asynchronous code."""
    options = _engine_options(settings, settings.dsn, AsyncPool, size=size, overflow=overflow)
    # Behind PgBouncer only a transaction keeps the steps of one statement (prepare, run) on one server connection.
    if autocommit and not settings.pgbouncer:
        options["isolation_level"] = "AUTOCOMMIT"
    return create_async_engine(settings.dsn, **options)


def build_sync_engine(settings: DatabaseSettings, *, size: int, overflow: int) -> Engine:
    """Build an engine for synchronous code."""
    url = settings.sync_dsn
    return create_engine(url, **_engine_options(settings, url, SyncPool, size=size, overflow=overflow))


def _engine_options(
    settings: DatabaseSettings, url: URL, pool: type[QueuePool], *, size: int, overflow: int
) -> dict[str, Any]:
    options: dict[str, Any] = {
        "poolclass": pool,
        "pool_timeout": settings.pool_timeout,
        "echo": settings.echo,
        # Parameters would otherwise reach logs, and people who may read logs but not the data.
        "hide_parameters": not settings.echo,
        "connect_args": _connect_args(settings, url),
    }
    if url.get_driver_name() == "psycopg":
        # SQLAlchemy would query the catalogue for hstore at the first connection; hstore is read without that, too.
        options["use_native_hstore"] = False
    if settings.is_in_memory:
        # The connection is the database: a second or a recycled one would be another, empty database.
        return {**options, "pool_size": 1, "max_overflow": 0}
    return {
        **options,
        "pool_size": size,
        "max_overflow": overflow,
        "pool_recycle": settings.pool_recycle,
        "pool_pre_ping": settings.pool_pre_ping,
    }


def _connect_args(settings: DatabaseSettings, url: URL) -> dict[str, Any]:
    if url.get_backend_name() == "sqlite":
        options = {"timeout": settings.lock_timeout or _SQLITE_WAIT, "check_same_thread": False}
        return {**options, "async_creator_fn": open_connection} if url.get_driver_name() == "aiosqlite" else options
    return connect_args(
        url,
        application_name=settings.application_name,
        connect_timeout=settings.connect_timeout,
        # PgBouncer shares one session between clients, so session settings would reach other clients.
        session={} if settings.pgbouncer else {**session_timeouts(settings), **_CLIENT_CHECK},
        pgbouncer=settings.pgbouncer,
    )
