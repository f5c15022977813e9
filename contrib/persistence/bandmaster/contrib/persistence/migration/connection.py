"""A connection to migrate on, of whatever says where the database is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from types import MappingProxyType
from typing import Any, TypeAlias, TypeVar

import anyio
import anyio.to_thread
from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from bandmaster.contrib.persistence.engines.build import dial
from bandmaster.contrib.persistence.errors import DatabaseRefusedError, DatabaseUnavailableError, sqlstate_of, translate
from bandmaster.contrib.persistence.settings import synchronous, where
from bandmaster.kernel import PermanentError

T = TypeVar("T")

Database: TypeAlias = AsyncConnection | AsyncEngine | URL | str
"""What says where a database is. A connection is used as it is, in its own transaction if it is in one."""

APPLICATION_NAME = "bandmaster db"
"""What PostgreSQL calls connections that are made here, unless the URL says so."""
_CONNECT_TIMEOUT = 10
# Milliseconds after which PostgreSQL notices that a client has gone, and ends what it runs for it: a migration that was
# cancelled would else keep its lock for as long as its statement takes.
_SESSION: Mapping[str, str] = MappingProxyType({"client_connection_check_interval": "500"})
# PostgreSQL, Appendix A: invalid authorization, and invalid catalog (database) name.
_REFUSALS = ("28", "3D")
_POSTGRESQL = "postgresql+psycopg"
_DRIVERS: Mapping[str, str] = MappingProxyType({"postgres": _POSTGRESQL, "postgresql": _POSTGRESQL})


async def connected(database: Database, work: Callable[[Connection], T]) -> T:
    """What ``work`` gives for a connection to the database.

    For a URL one is made, and closed again; where its driver is synchronous, in a worker thread.

    Raises:
        DatabaseUnavailableError: the database can't be reached.
        DatabaseRefusedError: it refuses, or what the URL asks for isn't there.
        ValueError: the text isn't a URL.
    """
    if isinstance(database, AsyncConnection):
        return await database.run_sync(work)
    if isinstance(database, AsyncEngine):
        async with _connection(database) as connection:
            return await connection.run_sync(work)
    url = database_url(database)
    if url.get_backend_name() == "sqlite":
        # aiosqlite is a thread as well, and one that outlives a file that can't be opened.
        url = synchronous(url)
    if not _is_async(url):
        return await anyio.to_thread.run_sync(_synchronously, url, work)
    engine = create_async_engine(url, poolclass=NullPool, connect_args=_connect_args(url))
    event.listen(engine.sync_engine, "do_connect", dial)
    event.listen(engine.sync_engine, "handle_error", translate)
    try:
        async with _connection(engine) as connection:
            return await connection.run_sync(work)
    finally:
        with anyio.CancelScope(shield=True):
            await engine.dispose()


def database_url(database: URL | str) -> URL:
    """A URL with a driver that is installed with this distribution, unless it names one.

    Raises:
        ValueError: the text isn't a URL.
    """
    try:
        url = make_url(database)
    except (ArgumentError, ValueError):
        # What SQLAlchemy says repeats the text, password and all.
        raise ValueError("url: expected one such as postgresql://user:password@host/name") from None
    return url.set(drivername=_DRIVERS.get(url.drivername, url.drivername))


def _is_async(url: URL) -> bool:
    dialect = url.get_dialect()
    return dialect.is_async or dialect.get_async_dialect_cls(url).is_async


def _synchronously(url: URL, work: Callable[[Connection], T]) -> T:
    engine = create_engine(url, poolclass=NullPool, connect_args=_connect_args(url))
    event.listen(engine, "do_connect", dial)
    event.listen(engine, "handle_error", translate)
    with _sync_connection(engine) as connection:
        return work(connection)


def _connect_args(url: URL) -> dict[str, Any]:
    if url.get_backend_name() != "postgresql":
        return {}
    if url.get_driver_name() == "asyncpg":
        return {"timeout": _CONNECT_TIMEOUT, "server_settings": {"application_name": APPLICATION_NAME, **_SESSION}}
    # What the URL itself sets stands last, and so wins.
    options = [*(f"-c {name}={value}" for name, value in _SESSION.items()), str(url.query.get("options", ""))]
    wanted = {"connect_timeout": _CONNECT_TIMEOUT, "application_name": APPLICATION_NAME}
    return {
        **{name: value for name, value in wanted.items() if name not in url.query},
        "options": " ".join(filter(None, options)),
    }


@asynccontextmanager
async def _connection(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    with _reaching(engine.url):
        connection = await engine.connect()
    try:
        yield connection
    finally:
        with anyio.CancelScope(shield=True):
            await connection.close()


@contextmanager
def _sync_connection(engine: Engine) -> Iterator[Connection]:
    with _reaching(engine.url):
        connection = engine.connect()
    try:
        yield connection
    finally:
        connection.close()


@contextmanager
def _reaching(url: URL) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        said = " ".join(str(error.__cause__ or error).split())
        # SQLAlchemy 2.0 lets asyncpg's own errors pass.
        if isinstance(error, PermanentError) or (sqlstate_of(error) or "").startswith(_REFUSALS):
            raise DatabaseRefusedError(f"{where(url)} can't be used: {said}") from error
        raise DatabaseUnavailableError(f"{where(url)} can't be reached: {said}") from error
