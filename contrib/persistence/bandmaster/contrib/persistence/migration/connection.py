"""A connection for migrations, from a URL, an engine or a connection."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from types import MappingProxyType
from typing import Any, TypeAlias, TypeVar

import anyio
import anyio.to_thread
from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from bandmaster.contrib.persistence.engines.connect_args import connect_args
from bandmaster.contrib.persistence.engines.listeners import add_error_listeners
from bandmaster.contrib.persistence.reachability import translated_reach
from bandmaster.contrib.persistence.settings import to_sync_url

T = TypeVar("T")

Database: TypeAlias = AsyncConnection | AsyncEngine | URL | str
"""A database to migrate. A connection is used unchanged, in its own transaction if it has begun one."""

APPLICATION_NAME = "bandmaster db"
"""PostgreSQL's name for the connections of this module, unless the URL sets another."""
_CONNECT_TIMEOUT = 10
# Milliseconds after which PostgreSQL notices that a client has gone, and ends its statement. A cancelled migration
# would otherwise keep its lock until its statement ends.
_SESSION: Mapping[str, str] = MappingProxyType({"client_connection_check_interval": "500"})
_POSTGRESQL = "postgresql+psycopg"
_DRIVERS: Mapping[str, str] = MappingProxyType({"postgres": _POSTGRESQL, "postgresql": _POSTGRESQL})


async def connected(database: Database, work: Callable[[Connection], T]) -> T:
    """Call ``work`` with a connection to the database, and return its result.

    For a URL a connection is opened and closed; with a synchronous driver this happens in a worker thread.

    Raises:
        DatabaseUnavailableError: the database can't be reached.
        DatabaseRefusedError: the database refuses user, password, name or file.
        ValueError: the text isn't a URL.
    """
    if isinstance(database, AsyncConnection):
        return await database.run_sync(work)
    if isinstance(database, AsyncEngine):
        async with _connect(database) as connection:
            return await connection.run_sync(work)
    url = database_url(database)
    if url.get_backend_name() == "sqlite":
        # aiosqlite would only add a second thread, which goes on running after a file that can't be opened.
        url = to_sync_url(url)
    if not _is_async(url):
        return await anyio.to_thread.run_sync(_work_in_thread, url, work)
    engine = create_async_engine(url, poolclass=NullPool, connect_args=_connect_args(url))
    add_error_listeners(engine.sync_engine)
    try:
        async with _connect(engine) as connection:
            return await connection.run_sync(work)
    finally:
        with anyio.CancelScope(shield=True):
            await engine.dispose()


def database_url(database: URL | str) -> URL:
    """Parse a URL, and choose the driver that is installed with this distribution unless the URL names one.

    Raises:
        ValueError: the text isn't a URL.
    """
    try:
        url = make_url(database)
    except (ArgumentError, ValueError):
        # SQLAlchemy's message repeats the text, password included.
        raise ValueError("url: expected one such as postgresql://user:password@host/name") from None
    return url.set(drivername=_DRIVERS.get(url.drivername, url.drivername))


def _is_async(url: URL) -> bool:
    dialect = url.get_dialect()
    return dialect.is_async or dialect.get_async_dialect_cls(url).is_async


def _work_in_thread(url: URL, work: Callable[[Connection], T]) -> T:
    engine = create_engine(url, poolclass=NullPool, connect_args=_connect_args(url))
    add_error_listeners(engine)
    with _connect_sync(engine) as connection:
        return work(connection)


def _connect_args(url: URL) -> dict[str, Any]:
    arguments = connect_args(url, application_name=APPLICATION_NAME, connect_timeout=_CONNECT_TIMEOUT, session=_SESSION)
    # The URL's own arguments win; its options are part of ours already.
    return {name: value for name, value in arguments.items() if name == "options" or name not in url.query}


@asynccontextmanager
async def _connect(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    with translated_reach(engine.url):
        connection = await engine.connect()
    try:
        yield connection
    finally:
        with anyio.CancelScope(shield=True):
            await connection.close()


@contextmanager
def _connect_sync(engine: Engine) -> Iterator[Connection]:
    with translated_reach(engine.url):
        connection = engine.connect()
    try:
        yield connection
    finally:
        connection.close()
