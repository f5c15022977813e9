"""SQLite: transactions that begin for writing, connections that end together with their thread."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import aiosqlite
import anyio
from sqlalchemy import Connection, Dialect, Engine, event, exc

from bandmaster.contrib.persistence.internal_statements import INTERNAL

_THREAD_TIMEOUT = 5.0
"""Seconds to wait for the thread of a connection. SQLite can hang for longer, on a file system that doesn't answer."""


async def open_connection(*arguments: Any, **options: Any) -> aiosqlite.Connection:
    """Open a connection of aiosqlite; when that fails or is cancelled, wait until its thread has ended.

    aiosqlite asks the thread to stop and doesn't wait: the thread would report to an event loop that may be closed.
    """
    opened: list[sqlite3.Connection] = []

    def connect() -> sqlite3.Connection:
        opened.append(sqlite3.connect(*arguments, **options))
        return opened[-1]

    driver = aiosqlite.Connection(connect, iter_chunk_size=64)
    driver._thread.daemon = True  # noqa: SLF001  # as SQLAlchemy does: a thread that hangs must not keep the process
    try:
        return await driver
    except BaseException:
        await _wait_for_thread(driver)
        for connection in opened:  # the cancelled caller never got it
            connection.close()
        raise


def add_sqlite_listeners(engine: Engine) -> None:
    """Have an engine begin each SQLite transaction for writing, and close each connection completely."""
    if engine.dialect.is_async:
        _close_completely(engine.dialect)
    event.listen(engine, "connect", _set_pragmas)
    event.listen(engine, "begin", _begin_to_write)


def _close_completely(dialect: Dialect) -> None:
    """Replace SQLAlchemy's ways of closing a connection, which a cancellation interrupts.

    Structured concurrency cancels a task again at each wait. After that ``do_close`` leaves aiosqlite's thread behind.
    ``do_terminate`` stops the thread twice, and waits for the second stop, which never comes: the event loop can't be
    closed.
    """
    for name in ("do_close", "do_terminate"):
        setattr(dialect, name, partial(_close, getattr(dialect, name)))


def _close(stock: Callable[[Any], None], connection: Any) -> None:
    try:
        connection.run_async(_close_driver_connection)
    except exc.MissingGreenlet:
        stock(connection)  # the garbage collector calls it where nothing can be awaited


async def _close_driver_connection(driver: aiosqlite.Connection) -> None:
    with anyio.CancelScope(shield=True):
        with suppress(ValueError):  # aiosqlite raises it for a connection that is closed, or being closed
            await driver.interrupt()
            with suppress(sqlite3.Error):
                # SQLite keeps the lock of a closed connection while anything refers to one of its statements.
                await driver.rollback()
            await driver.close()
        await _wait_for_thread(driver)


async def _wait_for_thread(driver: aiosqlite.Connection) -> None:
    # aiosqlite has no public way to wait for the thread that it stopped.
    thread = driver._thread  # noqa: SLF001
    with anyio.move_on_after(_THREAD_TIMEOUT, shield=True):
        while thread.is_alive():  # noqa: ASYNC110  # a thread can't set an event of a loop that may be closed
            await anyio.sleep(0.001)


def _set_pragmas(connection: Any, record: Any) -> None:
    # Python's driver begins a transaction late, and none before a SELECT, which breaks savepoints and isolation.
    connection.isolation_level = None
    cursor = connection.cursor()
    try:
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute("PRAGMA journal_mode=WAL")
    finally:
        cursor.close()


def _begin_to_write(connection: Connection) -> None:
    # A transaction that reads first and writes later fails at once beside another writer, without any wait.
    connection.exec_driver_sql("BEGIN IMMEDIATE", execution_options=INTERNAL)
