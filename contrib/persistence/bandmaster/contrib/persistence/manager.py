"""One database: its engines, their sessions, and their end."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Protocol, TypeVar

import anyio
import anyio.to_thread
from sqlalchemy import Engine, Pool, QueuePool, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session, sessionmaker

from bandmaster.contrib.persistence.engines.build import equip, make_async_engine, make_sync_engine
from bandmaster.contrib.persistence.engines.slow_queries import log_slow
from bandmaster.contrib.persistence.errors import DatabaseRefusedError, DatabaseUnavailableError
from bandmaster.contrib.persistence.retries import Retries, retried
from bandmaster.contrib.persistence.settings import DatabaseSettings, where
from bandmaster.kernel import BandmasterError, PermanentError, TransientError

T = TypeVar("T")

_ASK = text("SELECT 1")


@dataclass(frozen=True, slots=True)
class PoolGauge:
    """How full one pool of a database is."""

    database: str
    pool: str
    """``async``, ``sync`` or ``probe``."""
    size: int
    """Connections that are kept."""
    limit: int
    """Connections that there may be."""
    open: int
    """Connections that there are."""
    in_use: int


class HasGauges(Protocol):
    """What tells how full its pools are, for whatever exports it."""

    def gauges(self) -> tuple[PoolGauge, ...]:
        """One for each pool."""
        ...


class DatabaseManager:
    """Owns one database's engines: an asynchronous one, and a synchronous one as soon as it is asked for.

    It opens nothing until a session, a connection or `check` needs it. Several with different settings stand side by
    side. With tenant isolation every transaction of both engines is for the tenant of the request context.
    """

    def __init__(self, settings: DatabaseSettings, name: str = "database") -> None:
        self.settings = settings
        self.name = name
        self._closed = False
        self._making = threading.Lock()
        self._sync: Engine | None = None
        self.engine: AsyncEngine = self._equipped(
            make_async_engine(settings, size=settings.pool_size, overflow=settings.max_overflow)
        )
        """For asynchronous code. Connections of it, sessions or not, have a tenant where tenants are isolated."""
        self.sessions: async_sessionmaker[AsyncSession] = async_sessionmaker(self.engine, expire_on_commit=False)
        """Makes sessions that commit when told to; `session` commits by itself."""
        self._probing = self.engine if settings.is_in_memory else self._for_probes()

    def __repr__(self) -> str:
        return f"<DatabaseManager {self.name}: {where(self.settings.dsn)}>"

    @property
    def sync_engine(self) -> Engine:
        """For synchronous code in worker threads; made when it is first asked for.

        Raises:
            DatabaseRefusedError: the database is SQLite in memory, of which the synchronous engine would have another.
        """
        if self.settings.is_in_memory:
            raise DatabaseRefusedError(
                "SQLite in memory is one connection's alone: give it a file for synchronous code"
            )
        with self._making:
            if self._sync is None:
                settings = self.settings
                self._sync = make_sync_engine(
                    settings, size=settings.sync_pool_size, overflow=settings.sync_max_overflow
                )
                self._equip(self._sync)
            return self._sync

    @property
    def sync_sessions(self) -> sessionmaker[Session]:
        """Makes sessions for synchronous code."""
        return sessionmaker(self.sync_engine, expire_on_commit=False)

    @asynccontextmanager
    async def session(self) -> AsyncIterator[AsyncSession]:
        """A session that is committed at the end of the block, or rolled back when the block raises.

        What the block raises, cancellation included, goes on unchanged.
        """
        session = self.sessions()
        try:
            yield session
            await session.commit()
        except BaseException:
            # What goes wrong meanwhile must not hide why: the server itself rolls back what has lost its connection.
            with anyio.CancelScope(shield=True), suppress(Exception):
                await session.rollback()
            raise
        finally:
            with anyio.CancelScope(shield=True):
                await session.close()

    @contextmanager
    def sync_session(self) -> Iterator[Session]:
        """As `session`, for synchronous code in a worker thread."""
        with self.sync_sessions() as session:
            try:
                yield session
                session.commit()
            except BaseException:
                with suppress(Exception):
                    session.rollback()
                raise

    @asynccontextmanager
    async def threaded_session(self) -> AsyncIterator[Session]:
        """A session for synchronous code, opened and ended in worker threads by asynchronous code around it."""
        session = self.sync_sessions()
        try:
            yield session
            await anyio.to_thread.run_sync(session.commit)
        except BaseException:
            with anyio.CancelScope(shield=True):
                with suppress(Exception):
                    await anyio.to_thread.run_sync(session.rollback)
            raise
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(session.close)

    async def transaction(
        self,
        work: Callable[[AsyncSession], Awaitable[T]],
        *,
        retries: Retries = Retries(),  # noqa: B008  # frozen
        isolation_level: str | None = None,
    ) -> T:
        """Run ``work`` in a session of its own and commit; again from the start where it lost a race.

        Retried are serialization failures, deadlocks and SQLite's lock: what PostgreSQL has rolled back as a whole. A
        lost connection isn't, for nobody knows whether the commit arrived. ``isolation_level`` is SQLAlchemy's, such
        as ``SERIALIZABLE``.

        Raises:
            TransientDatabaseError: it lost every race.
        """

        async def once() -> T:
            async with self.session() as session:
                if isolation_level is not None:
                    await session.connection(execution_options={"isolation_level": isolation_level})
                return await work(session)

        return await retried(once, retries)

    async def check(self) -> None:
        """See that the database can be reached as the settings say.

        Raises:
            DatabaseUnavailableError: it doesn't answer, within ``connect_timeout`` seconds to connect and as much again.
            DatabaseRefusedError: it answers, and refuses.
        """
        async with self.reached():
            pass

    @asynccontextmanager
    async def reached(self) -> AsyncIterator[AsyncConnection]:
        """As `check`, and then the connection: for further looks at the server, see `probing`.

        Raises:
            DatabaseUnavailableError, DatabaseRefusedError: as with `check`.
        """
        # To connect, then to answer. Drivers round up, and end what they have begun better than a cancellation does.
        seconds = 2 * self.settings.connect_timeout + 1
        place = where(self.settings.dsn)
        async with AsyncExitStack() as stack:
            try:
                with anyio.fail_after(seconds):
                    connection = await stack.enter_async_context(self.probing())
                    if not self.settings.is_postgresql:
                        # PostgreSQL has been asked several things already; a file is opened when something is.
                        await connection.execute(_ASK)
            except TimeoutError as error:
                raise DatabaseUnavailableError(f"{place} doesn't answer within {seconds:g} s") from error
            except TransientError as error:
                raise DatabaseUnavailableError(f"{place} can't be reached: {_said(error)}") from error
            except PermanentError as error:
                said = _said(error)
                raise DatabaseRefusedError(f"{place} can't be used: {said}{_hint(self.settings, said)}") from error
            yield connection

    async def ping(self) -> None:
        """Have the database answer, on a connection that is kept for that: a full pool is no failure."""
        async with self.probing() as connection:
            await connection.execute(_ASK)

    @asynccontextmanager
    async def probing(self) -> AsyncIterator[AsyncConnection]:
        """The connection for looks at the server itself. It is no tenant's and sees no tenant's rows."""
        async with self._probing.connect() as connection:
            yield connection

    def gauges(self) -> tuple[PoolGauge, ...]:
        """How full the pools are; one for each that there is."""
        pools: list[tuple[str, Pool]] = [("async", self.engine.pool)]
        if self._sync is not None:
            pools.append(("sync", self._sync.pool))
        if self._probing is not self.engine:
            pools.append(("probe", self._probing.pool))
        return tuple(self._gauge(name, pool) for name, pool in pools)

    async def dispose(self) -> None:
        """Close every connection, of all engines also where one fails; nothing can be asked of them afterwards.

        Raises:
            BandmasterError: connections are still in use; they are closed when they are given back.
        """
        self._closed = True
        in_use = sum(gauge.in_use for gauge in self.gauges())
        failures: list[Exception] = []
        with anyio.CancelScope(shield=True):
            for engine in {self.engine, self._probing}:
                try:
                    await engine.dispose()
                except Exception as error:  # noqa: BLE001  # the others must be closed all the same
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

    def _equipped(self, engine: AsyncEngine) -> AsyncEngine:
        self._equip(engine.sync_engine)
        return engine

    def _equip(self, engine: Engine) -> None:
        settings = self.settings
        equip(engine, settings, lambda: self._closed, tenants=True)
        if settings.slow_query:
            log_slow(engine, settings.slow_query, self.name)

    def _for_probes(self) -> AsyncEngine:
        engine = make_async_engine(self.settings, size=1, overflow=0, autocommit=self.settings.is_postgresql)
        equip(engine.sync_engine, self.settings, lambda: self._closed)
        return engine

    def _gauge(self, name: str, pool: Pool) -> PoolGauge:
        assert isinstance(pool, QueuePool)  # as engines are made here
        overflow = pool._max_overflow  # noqa: SLF001  # which it tells nowhere else
        # Before the first connections its overflow counts from below zero.
        there = max(0, pool.size() + pool.overflow())
        return PoolGauge(
            self.name, name, size=pool.size(), limit=pool.size() + overflow, open=there, in_use=pool.checkedout()
        )


def _said(error: BaseException) -> str:
    cause = error.__cause__ or error
    return " ".join(str(cause).split()) or type(cause).__name__


def _hint(settings: DatabaseSettings, said: str) -> str:
    if "unsupported startup parameter" in said:
        return f". If PgBouncer stands before it, set {settings.variable('pgbouncer')}=true"
    if settings.file is None:
        return ""
    folder = settings.file.absolute().parent
    if not folder.is_dir():
        return f". The folder {folder} doesn't exist"
    return f". See whether {folder} can be written to"
