"""Connections of SQLite end together with their thread."""

import asyncio
import sqlite3
import threading
import time

import aiosqlite.core
import anyio
import pytest
from sqlalchemy import text
from tests.contrib.persistence.sqlite_threads import sqlite_threads

from bandmaster.contrib.persistence import DatabaseManager, DatabaseRefusedError, DatabaseSettings


async def ask(manager):
    async with manager.session() as session:
        await session.execute(text("SELECT 1"))


@pytest.fixture
def slow_thread(monkeypatch):
    """Threads of aiosqlite that the machine runs late: each step waits before the thread's next one."""

    def wait(*args):
        if threading.current_thread() is not threading.main_thread():
            time.sleep(0.1)

    monkeypatch.setattr(aiosqlite.core.LOG, "debug", wait)


def test_a_file_that_cannot_be_opened_leaves_no_thread(tmp_path, slow_thread):
    """A failing start waits for the thread, which would otherwise report to a closed event loop."""

    async def start():
        manager = DatabaseManager(DatabaseSettings(url=f"sqlite:///{tmp_path}/no/file"))
        with pytest.raises(DatabaseRefusedError):
            await manager.check()
        assert [] == sqlite_threads()
        await manager.dispose()

    asyncio.run(start())


def test_a_cancelled_connection_leaves_no_thread(tmp_path, monkeypatch):
    """A task that is cancelled while SQLite opens the file waits for the thread, and closes the file."""
    opened = []
    connect = sqlite3.connect

    def connect_slowly(*args, **options):
        time.sleep(0.3)
        opened.append(connect(*args, **options))
        return opened[0]

    async def start():
        manager = DatabaseManager(DatabaseSettings(url=f"sqlite:///{tmp_path / 'file'}"))
        with anyio.move_on_after(0.1) as scope:
            await ask(manager)
        assert scope.cancelled_caught
        assert [] == sqlite_threads()
        await manager.dispose()

    monkeypatch.setattr(sqlite3, "connect", connect_slowly)
    asyncio.run(start())
    with pytest.raises(sqlite3.ProgrammingError, match="closed database"):
        opened[0].execute("SELECT 1")


def test_a_connection_that_is_closed_under_cancellation_leaves_no_thread(tmp_path, slow_thread):
    """Disposing of an engine in a cancelled scope still waits for the thread of each connection."""

    async def start():
        manager = DatabaseManager(DatabaseSettings(url=f"sqlite:///{tmp_path / 'file'}"))
        await ask(manager)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await manager.engine.dispose()
        assert [] == sqlite_threads()
        await manager.dispose()

    asyncio.run(start())
