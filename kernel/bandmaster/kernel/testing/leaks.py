"""Find the tasks, threads and unclosed resources that a run leaves behind."""

from __future__ import annotations

import gc
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import anyio
import anyio.lowlevel

_POOLED = ("AnyIO worker thread", "Trio thread", "asyncio_", "ThreadPoolExecutor")
"""Threads that event loops keep for later use."""
_TURNS = 20
"""The turns of the event loop that a cancelled task may take to end."""


class Leaks:
    """A snapshot of tasks and threads. `find` compares it with the present."""

    def __init__(self) -> None:
        self._tasks = {task.id for task in anyio.get_running_tasks()}
        self._threads = set(threading.enumerate())

    async def find(self) -> list[str]:
        """Describe the tasks and threads that have been added and still run."""
        for _ in range(_TURNS):
            if not self._list_new_tasks():
                break
            await anyio.lowlevel.checkpoint()
        tasks = [f"the task {name!r} still runs" for name in self._list_new_tasks()]
        threads = [
            f"the thread {thread.name!r} still runs"
            for thread in threading.enumerate()
            if thread not in self._threads and thread.is_alive() and not thread.name.startswith(_POOLED)
        ]
        return [*tasks, *threads]

    def _list_new_tasks(self) -> list[str]:
        return [task.name or "without a name" for task in anyio.get_running_tasks() if task.id not in self._tasks]


@contextmanager
def collect_unclosed() -> Iterator[list[str]]:
    """Collect the warnings about unclosed resources. The list is filled at the end of the block."""
    unclosed: list[str] = []
    # Older garbage isn't of this block, and to look through it takes a second in a large test process.
    gc.freeze()
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ResourceWarning)
            yield unclosed
            gc.collect()
    finally:
        gc.unfreeze()
    for warning in caught:
        if issubclass(warning.category, ResourceWarning):
            unclosed.append(str(warning.message))
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
