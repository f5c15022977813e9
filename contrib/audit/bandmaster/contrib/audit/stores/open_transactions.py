"""`OpenTransactions`: the tasks that have an open transaction on SQLite, which has one lock only."""

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
        self._by_task: weakref.WeakKeyDictionary[asyncio.Task[Any], weakref.WeakSet[Connection]] = (
            weakref.WeakKeyDictionary()
        )
        event.listen(engine, "begin", self._note)

    def has_current(self) -> bool:
        """Whether the current task has an open transaction."""
        task = _find_task()
        connections = None if task is None else self._by_task.get(task)
        if not connections:
            return False
        # The connection itself knows: a transaction ends in more ways than there are events.
        return any(not connection.closed and connection.in_transaction() for connection in connections)

    def _note(self, connection: Connection) -> None:
        task = _find_task()
        if task is not None:
            self._by_task.setdefault(task, weakref.WeakSet()).add(connection)


def _find_task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:  # a worker thread
        return None
