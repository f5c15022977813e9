"""Cancel one await of another task, which then goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

import anyio

from bandmaster.kernel.lifecycle.coroutine_stacks import awaits_thread, render_coroutine_stack

T = TypeVar("T")


class Interruption:
    """One await that other code can cancel: ``await interruption.run(awaitable)``.

    On asyncio the task is cancelled once, as servers do it, so that the clean-up of a request may await. A cancel scope
    would cancel the clean-up as well, and takes ten times as long; every request passes an interruption. Trio has
    nothing but scopes.
    """

    __slots__ = ("_awaitable", "_before", "_scope", "_task", "requested")

    def __init__(self) -> None:
        self.requested = False
        """Whether `interrupt` has been called."""
        self._before = 0
        self._awaitable: Any = None
        self._scope: anyio.CancelScope | None = None
        self._task: asyncio.Task[Any] | None = None

    async def run(self, awaitable: Awaitable[T]) -> T | None:
        """Await, and return the result, or None after an interruption."""
        self._awaitable = awaitable
        try:
            self._task = task = asyncio.current_task()
        except RuntimeError:
            return await self._run_in_scope(awaitable)
        assert task is not None
        try:
            return await awaitable
        except asyncio.CancelledError:
            if not self.requested or task.cancelling() > self._before + 1:
                raise  # another one's cancellation
            return None
        finally:
            self._awaitable = self._task = None
            if self.requested:
                task.uncancel()

    async def _run_in_scope(self, awaitable: Awaitable[T]) -> T | None:
        try:
            with anyio.CancelScope() as self._scope:
                return await awaitable
        finally:
            self._awaitable = self._scope = None
        return None

    def interrupt(self) -> None:
        """Cancel the await. Has an effect once, while `run` is awaited by another task.

        Has none while a function in a thread is awaited, since the thread would go on: try again later.
        """
        if self.requested or self._awaitable is None:
            return
        if self._scope is not None:
            self._scope.cancel()
        elif self._task is None or self._task is asyncio.current_task() or awaits_thread(self._awaitable):
            return
        else:
            self._before = self._task.cancelling()
            self._task.cancel()
        self.requested = True

    def render_stack(self) -> str:
        """Render where the await stands; empty when it is over."""
        return render_coroutine_stack(self._awaitable)
