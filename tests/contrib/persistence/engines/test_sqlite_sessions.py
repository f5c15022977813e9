"""A manager of an SQLite database."""

import subprocess
import sys
import threading

import anyio
import anyio.to_thread
import pytest
from sqlalchemy import text

from bandmaster.contrib.persistence import (
    DatabaseRefusedError,
)

pytestmark = pytest.mark.anyio


async def names(manager):
    async with manager.session() as session:
        return sorted((await session.execute(text("SELECT name FROM things"))).scalars())


async def add(session, name):
    await session.execute(text("INSERT INTO things VALUES (:name)"), {"name": name})


async def test_sqlite_behaves_like_a_database(tmp_path, make_manager):
    """On SQLite writers wait, savepoints work, foreign keys hold, and synchronous code sees the same rows."""
    manager = make_manager(f"sqlite:///{tmp_path / 'file'}")
    async with manager.session() as session:
        await session.execute(text("CREATE TABLE things (name text)"))

    async def write(number):
        async with manager.session() as session:
            await add(session, f"{number}")
            async with session.begin_nested() as nested:
                await add(session, "lost")
                await nested.rollback()

    async with anyio.create_task_group() as tasks:
        for number in range(30):
            tasks.start_soon(write, number)
    assert sorted(map(str, range(30))) == await names(manager)
    with manager.sync_session() as session:
        assert 30 == session.scalar(text("SELECT count(*) FROM things"))
        assert 1 == session.scalar(text("PRAGMA foreign_keys"))


async def test_a_long_query_of_sqlite_ends_with_its_task(tmp_path, make_manager):
    """A cancelled query ends in its thread, and the pool has room again."""
    manager = make_manager(f"sqlite:///{tmp_path / 'file'}", pool_size=1, max_overflow=0)
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    threads = threading.active_count()
    with anyio.fail_after(10):
        with anyio.move_on_after(0.2) as scope:
            async with manager.session() as session:
                await session.execute(text(endless))
        assert scope.cancelled_caught
        while threading.active_count() > threads:
            await anyio.sleep(0.02)
        async with manager.session() as session:
            assert 1 == await session.scalar(text("SELECT 1"))


CANCELLED = """
import asyncio, sqlite3, sys, anyio
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from bandmaster.contrib.persistence import DatabaseManager, DatabaseSettings

async def main():
    manager = DatabaseManager(DatabaseSettings(url=f"sqlite:///{sys.argv[1]}", lock_timeout=1))
    other = sqlite3.connect(sys.argv[1], isolation_level=None)
    other.execute("PRAGMA journal_mode=WAL")
    other.execute("BEGIN IMMEDIATE")
    with anyio.move_on_after(0.2) as scope:
        async with manager.session() as session:
            await session.execute(text("SELECT 1"))
    other.close()
    print("cancelled" if scope.cancelled_caught else "not cancelled")

asyncio.run(main())
"""


def test_a_process_ends_after_a_cancellation_on_sqlite(tmp_path):
    """SQLAlchemy's own way to end a cancelled connection would keep the event loop from closing."""
    command = [sys.executable, "-c", CANCELLED, str(tmp_path / "file")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (0, "cancelled", "") == (ended.returncode, ended.stdout.strip(), ended.stderr)


async def test_sqlite_in_memory_is_one_database(make_manager):
    """Sessions share one database in memory, and concurrent sessions wait for each other."""
    manager = make_manager("sqlite://")
    await manager.check()
    async with manager.session() as session:
        await session.execute(text("CREATE TABLE things (name text)"))

    async def write(number):
        async with manager.session() as session:
            await add(session, f"{number}")
            await anyio.sleep(0.01)
            if number % 2:
                await session.rollback()

    async with anyio.create_task_group() as tasks:
        for number in range(10):
            tasks.start_soon(write, number)
    assert ["0", "2", "4", "6", "8"] == await names(manager)
    with pytest.raises(DatabaseRefusedError, match="give it a file"):
        manager.sync_engine.connect()
