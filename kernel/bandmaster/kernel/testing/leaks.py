"""What a run leaves behind: tasks, threads, things that nobody closed."""

from __future__ import annotations

import gc
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import anyio
import anyio.lowlevel

_POOLED = ("AnyIO worker thread", "Trio thread", "asyncio_", "ThreadPoolExecutor")
"""Threads that event loops keep for later."""
_TURNS = 20
"""How many turns of the event loop a task that has been told to end may take for it."""


class Leaks:
    """Looks at what there is when it is made; `found` tells what is there in addition."""

    def __init__(self) -> None:
        self._tasks = {task.id for task in anyio.get_running_tasks()}
        self._threads = set(threading.enumerate())

    async def found(self) -> list[str]:
        """Everything that was left, in words."""
        for _ in range(_TURNS):
            if not self._new_tasks():
                break
            await anyio.lowlevel.checkpoint()
        tasks = [f"the task {name!r} still runs" for name in self._new_tasks()]
        threads = [
            f"the thread {thread.name!r} still runs"
            for thread in threading.enumerate()
            if thread not in self._threads and thread.is_alive() and not thread.name.startswith(_POOLED)
        ]
        return [*tasks, *threads]

    def _new_tasks(self) -> list[str]:
        return [task.name or "without a name" for task in anyio.get_running_tasks() if task.id not in self._tasks]


@contextmanager
def unclosed() -> Iterator[list[str]]:
    """Collects what is thrown away without having been closed; the list is filled at the end of the block."""
    said: list[str] = []
    # Earlier garbage isn't this block's, and need not be looked through: in a large test process that takes a second.
    gc.freeze()
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ResourceWarning)
            yield said
            gc.collect()
    finally:
        gc.unfreeze()
    for warning in caught:
        if issubclass(warning.category, ResourceWarning):
            said.append(str(warning.message))
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
