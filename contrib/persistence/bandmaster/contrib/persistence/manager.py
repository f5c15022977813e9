"""`DatabaseManager`: the engines of one database, opened lazily and disposed of together."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from typing import TypeVar

import anyio
import anyio.to_thread
from sqlalchemy import Engine, Pool, event
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session, sessionmaker

from bandmaster.contrib.persistence.engine_observers import EngineObserver, show_engine
from bandmaster.contrib.persistence.engines.build import build_async_engine, build_sync_engine
from bandmaster.contrib.persistence.engines.listeners import add_listeners
from bandmaster.contrib.persistence.engines.slow_queries import log_slow_queries
from bandmaster.contrib.persistence.errors import DatabaseRefusedError, DatabaseUnavailableError
from bandmaster.contrib.persistence.pool_gauges import PoolGauge, read_gauge
from bandmaster.contrib.persistence.reachability import answer, reach
from bandmaster.contrib.persistence.retries import Retries, retry_lost_races
from bandmaster.contrib.persistence.sessions import (
    committed_session,
    committed_sync_session,
    committed_threaded_session,
)
from bandmaster.contrib.persistence.settings import DatabaseSettings, describe_database
from bandmaster.kernel import BandmasterError

T = TypeVar("T")


class DatabaseManager:
    """Owns one database's engines: an asynchronous one, and a synchronous one from the first use on.

    Nothing is opened before a session, a connection or `check` needs it. Several managers with different settings work
    side by side. With tenant isolation each transaction of both engines is for the tenant of the request context.

    ``observers`` are given each engine when it is built.
    """

    def __init__(
        self, settings: DatabaseSettings, name: str = "database", *, observers: Sequence[EngineObserver] = ()
    ) -> None:
        self.settings = settings
        self.name = name
        self._observers = tuple(observers)
        self._closed = False
        self._checked = True
        self._sync_lock = threading.Lock()
        self._sync: Engine | None = None
        self.engine: AsyncEngine = build_async_engine(settings, size=settings.pool_size, overflow=settings.max_overflow)
        """The engine for asynchronous code. With tenant isolation its connections need a tenant, with or without a
        session."""
        self._prepare(self.engine.sync_engine)
        self.sessions: async_sessionmaker[AsyncSession] = async_sessionmaker(self.engine, expire_on_commit=False)
        """Makes sessions that the caller commits; `session` commits by itself."""
        self._probe_engine = self.engine if settings.is_in_memory else self._build_probe_engine()

    def __repr__(self) -> str:
        return f"<DatabaseManager {self.name}: {describe_database(self.settings.dsn)}>"

    @property
    def sync_engine(self) -> Engine:
        """The engine for synchronous code in worker threads, built at the first use.

        Raises:
            DatabaseRefusedError: the database is SQLite in memory; a second engine would have a second database.
        """
        settings = self.settings
        if settings.is_in_memory:
            raise DatabaseRefusedError("SQLite in memory has one connection only: give it a file for synchronous code")
        with self._sync_lock:
            if self._sync is None:
                self._sync = build_sync_engine(
                    settings, size=settings.sync_pool_size, overflow=settings.sync_max_overflow
                )
                self._prepare(self._sync)
            return self._sync

    @property
    def sync_sessions(self) -> sessionmaker[Session]:
        """Makes sessions for synchronous code, which the caller commits."""
        return sessionmaker(self.sync_engine, expire_on_commit=False)

    def session(self) -> AbstractAsyncContextManager[AsyncSession]:
        """A session that is committed at the end of the block, and rolled back when the block raises.

        The block's exception, cancellation included, is raised unchanged.
        """
        return committed_session(self.sessions)

    def sync_session(self) -> AbstractContextManager[Session]:
        """Like `session`, for synchronous code in a worker thread."""
        return committed_sync_session(self.sync_sessions)

    def threaded_session(self) -> AbstractAsyncContextManager[Session]:
        """A session for synchronous code, which asynchronous code around it commits and closes in worker threads."""
        return committed_threaded_session(self.sync_sessions)

    async def transaction(
        self,
        work: Callable[[AsyncSession], Awaitable[T]],
        *,
        retries: Retries = Retries(),  # noqa: B008  # frozen
        isolation_level: str | None = None,
    ) -> T:
        """Run ``work`` in a new session and commit; run ``work`` again when the transaction lost a race.

        Serialization failures, deadlocks and SQLite's lock are retried: the database has rolled those transactions
        back. A lost connection isn't retried, because the commit may have arrived. ``isolation_level`` is one of
        SQLAlchemy's, such as ``SERIALIZABLE``.

        Raises:
            TransientDatabaseError: every attempt lost a race.
        """

        async def attempt() -> T:
            async with self.session() as session:
                if isolation_level is not None:
                    await session.connection(execution_options={"isolation_level": isolation_level})
                return await work(session)

        return await retry_lost_races(attempt, retries)

    async def check(self) -> None:
        """Check that the database can be reached with these settings.

        Raises:
            DatabaseUnavailableError: the database doesn't answer within two ``connect_timeout`` and one second.
            DatabaseRefusedError: the database refuses user, password, name or file.
        """
        async with self.reached():
            pass

    def reached(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """Like `check`, and yields the connection of `probing`.

        Raises:
            DatabaseUnavailableError, DatabaseRefusedError: as with `check`.
        """
        return reach(self._probe_engine, self.settings)

    async def ping(self) -> None:
        """Have the database answer, on the probe's own connection: a full pool is no failure."""
        async with self.probing() as connection:
            await answer(connection)

    async def probe(self) -> None:
        """Like `ping`, and fail while the database hasn't been checked: the health check of the component.

        Raises:
            DatabaseUnavailableError: the database hasn't been checked since the start.
        """
        await self.ping()
        self._require_check()

    def refuse_connections(self) -> None:
        """Refuse new connections, because the database was away when it was to be checked."""
        self._checked = False

    def allow_connections(self) -> None:
        """Allow new connections: the database has been checked."""
        self._checked = True

    @property
    def is_checked(self) -> bool:
        """Whether the database has been checked, at the start or since."""
        return self._checked

    def _require_check(self) -> None:
        if not self._checked:
            raise DatabaseUnavailableError(
                f"{describe_database(self.settings.dsn)} was away at the start, and hasn't been checked since"
            )

    @asynccontextmanager
    async def probing(self) -> AsyncIterator[AsyncConnection]:
        """A connection for queries about the server, without a tenant and without any tenant's rows."""
        async with self._probe_engine.connect() as connection:
            yield connection

    def gauges(self) -> tuple[PoolGauge, ...]:
        """How full the pools are: one gauge for each engine that has been built."""
        pools: list[tuple[str, Pool]] = [("async", self.engine.pool)]
        if self._sync is not None:
            pools.append(("sync", self._sync.pool))
        if self._probe_engine is not self.engine:
            pools.append(("probe", self._probe_engine.pool))
        return tuple(read_gauge(self.name, name, pool) for name, pool in pools)

    async def dispose(self) -> None:
        """Close every connection of every engine, and refuse new ones. A failure of one engine doesn't stop the rest.

        Raises:
            BandmasterError: connections are still in use; they are closed when they are released.
            ExceptionGroup: engines that could not be disposed of.
        """
        self._closed = True
        in_use = sum(gauge.in_use for gauge in self.gauges())
        failures: list[Exception] = []
        with anyio.CancelScope(shield=True):
            for engine in {self.engine, self._probe_engine}:
                try:
                    await engine.dispose()
                except Exception as error:  # noqa: BLE001  # the other engines must be disposed of all the same
                    failures.append(error)
            if self._sync is not None:
                try:
                    await anyio.to_thread.run_sync(self._sync.dispose)
                except Exception as error:  # noqa: BLE001
                    failures.append(error)
        if failures:
            raise ExceptionGroup(f"{self!r} was closed, with errors", failures)
        if in_use:
            raise BandmasterError(f"{self!r} was closed while {in_use} of its connections were in use")

    def _prepare(self, engine: Engine) -> None:
        event.listen(engine, "do_connect", lambda *_: self._require_check())
        add_listeners(engine, self.settings, lambda: self._closed, tenants=True)
        if self.settings.slow_query:
            log_slow_queries(engine, self.settings.slow_query, self.name)
        show_engine(self._observers, engine, self.name)

    def _build_probe_engine(self) -> AsyncEngine:
        engine = build_async_engine(self.settings, size=1, overflow=0, autocommit=self.settings.is_postgresql)
        add_listeners(engine.sync_engine, self.settings, lambda: self._closed)
        return engine
