"""Sessions that commit at the end of a block and roll back when the block raises."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

import anyio
import anyio.to_thread
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session, sessionmaker


@asynccontextmanager
async def committed_session(make_session: async_sessionmaker[AsyncSession]) -> AsyncIterator[AsyncSession]:
    """A session for asynchronous code."""
    session = make_session()
    try:
        yield session
        await session.commit()
    except BaseException:
        # An error while rolling back must not hide the first one: a server rolls back when its connection is lost.
        with anyio.CancelScope(shield=True), suppress(Exception):
            await session.rollback()
        raise
    finally:
        with anyio.CancelScope(shield=True):
            await session.close()


@contextmanager
def committed_sync_session(make_session: sessionmaker[Session]) -> Iterator[Session]:
    """A session for synchronous code in a worker thread."""
    with make_session() as session:
        try:
            yield session
            session.commit()
        except BaseException:
            with suppress(Exception):
                session.rollback()
            raise


@asynccontextmanager
async def committed_threaded_session(make_session: sessionmaker[Session]) -> AsyncIterator[Session]:
    """A session for synchronous code, which asynchronous code around it commits and closes in worker threads."""
    session = make_session()
    try:
        yield session
        await anyio.to_thread.run_sync(session.commit)
    except BaseException:
        with anyio.CancelScope(shield=True), suppress(Exception):
            await anyio.to_thread.run_sync(session.rollback)
        raise
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(session.close)
