"""SQLite's transactions and the end of its connections, which the driver and SQLAlchemy leave unsafe."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from typing import Any

import anyio
from sqlalchemy import Connection, Dialect, Engine, event, exc


def add_sqlite_listeners(engine: Engine) -> None:
    """Have an engine begin each SQLite transaction for writing, and end each cancelled connection completely."""
    if engine.dialect.is_async:
        _terminate_once(engine.dialect)
    event.listen(engine, "connect", _set_pragmas)
    event.listen(engine, "begin", _begin_to_write)


def _terminate_once(dialect: Dialect) -> None:
    """Replace SQLAlchemy's way of ending a cancelled connection, which can wait without end.

    Structured concurrency cancels a task again at each wait. SQLAlchemy then stops aiosqlite's thread twice, and waits
    for the second stop, which never comes: the event loop can't be closed.
    """
    stock = dialect.do_terminate

    def terminate(connection: Any) -> None:
        try:
            connection.run_async(_close_driver_connection)
        except exc.MissingGreenlet:
            stock(connection)  # the garbage collector calls it where nothing can be awaited

    setattr(dialect, "do_terminate", terminate)  # noqa: B010  # type checkers refuse to assign a method


async def _close_driver_connection(driver: Any) -> None:
    with anyio.CancelScope(shield=True), suppress(ValueError):  # aiosqlite raises it for a closed connection
        await driver.interrupt()
        with suppress(sqlite3.Error):
            # SQLite keeps the lock of a closed connection while anything refers to one of its statements.
            await driver.rollback()
        await driver.close()


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
    connection.exec_driver_sql("BEGIN IMMEDIATE")
