"""Work that many callers wait for together, and that none of them can cancel."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
from anyio.abc import TaskGroup


class SingleFlight:
    """Runs an async function at most once at a time.

    The function runs in the task group, so that the end of a caller interrupts nothing. The function keeps the result,
    and raises nothing.
    """

    __slots__ = ("_done", "_function", "_tasks")

    def __init__(self, function: Callable[[], Awaitable[None]], tasks: TaskGroup) -> None:
        self._function = function
        self._tasks = tasks
        self._done: anyio.Event | None = None

    @property
    def is_running(self) -> bool:
        """Whether the function runs now."""
        return self._done is not None

    def start(self) -> anyio.Event:
        """Start the function, unless it runs already. The event is set at the end of the run."""
        if self._done is None:
            self._done = anyio.Event()
            self._tasks.start_soon(self._run, self._done)
        return self._done

    async def join(self) -> None:
        """Start the function, unless it runs already, and wait for the end of the run."""
        await self.start().wait()

    async def _run(self, done: anyio.Event) -> None:
        try:
            await self._function()
        finally:
            self._done = None
            done.set()
