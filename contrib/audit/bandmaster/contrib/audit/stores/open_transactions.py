"""`OpenTransactions`: which tasks have an open transaction on SQLite, whose only lock an entry would wait for."""

from __future__ import annotations

import asyncio
import weakref
from typing import Any

from sqlalchemy import Connection, Engine, event


class OpenTransactions:
    """Notes the tasks with open transactions of an engine.

    SQLite has one lock for all writers. A task that waits for a second transaction while it has one open would wait
    for itself.
    """

    def __init__(self, engine: Engine) -> None:
        self._tasks: weakref.WeakKeyDictionary[asyncio.Task[Any], int] = weakref.WeakKeyDictionary()
        self._by_connection: weakref.WeakKeyDictionary[Any, weakref.ref[asyncio.Task[Any]]] = (
            weakref.WeakKeyDictionary()
        )
        event.listen(engine, "begin", self._began)
        event.listen(engine, "commit", self._ended)
        event.listen(engine, "rollback", self._ended)

    def has_current(self) -> bool:
        """Whether the current task has an open transaction."""
        task = _find_task()
        return task is not None and self._tasks.get(task, 0) > 0

    def _began(self, connection: Connection) -> None:
        task = _find_task()
        if task is not None:
            self._tasks[task] = self._tasks.get(task, 0) + 1
            self._by_connection[connection] = weakref.ref(task)

    def _ended(self, connection: Connection) -> None:
        found = self._by_connection.pop(connection, None)
        task = found() if found is not None else None
        if task is not None:
            self._tasks[task] = max(0, self._tasks.get(task, 0) - 1)


def _find_task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:  # a worker thread
        return None
