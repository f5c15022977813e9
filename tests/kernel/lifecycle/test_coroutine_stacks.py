"""Where a suspended coroutine stands."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio

from bandmaster.kernel.lifecycle.coroutine_stacks import where


async def innermost() -> None:
    await asyncio.Event().wait()


async def outer() -> None:
    await innermost()


@asynccontextmanager
async def component() -> AsyncIterator[None]:
    await innermost()
    yield
    await innermost()


class Waiter:
    def __await__(self) -> Any:
        yield from _pause()


def _pause() -> Any:
    yield


def _suspended(awaitable: Any) -> str:
    async def main() -> str:
        task = asyncio.ensure_future(_drive(awaitable))
        await anyio.wait_all_tasks_blocked()
        try:
            return where(awaitable)
        finally:
            task.cancel()

    return asyncio.run(main())


async def _drive(awaitable: Any) -> None:
    await awaitable


def test_a_coroutine_is_told_frame_by_frame() -> None:
    """The stack names every frame of the caller's own, the innermost last, without those of the event loop."""
    told = _suspended(outer())
    assert [line.rpartition("in ")[2] for line in told.splitlines()[::2]] == ["outer", "innermost"]
    assert told.splitlines()[1] == "    await innermost()"


def test_a_context_manager_of_an_async_generator() -> None:
    """What lies between a context manager's ``__aenter__`` and its generator is looked through."""
    told = _suspended(component().__aenter__())
    assert [line.rpartition("in ")[2] for line in told.splitlines()[::2]] == ["component", "innermost"]


def test_a_context_manager_that_was_entered() -> None:
    """Between its start and its stop, a generator stands at its ``yield``."""

    @asynccontextmanager
    async def entered() -> AsyncIterator[None]:
        yield

    async def main() -> str:
        async with (manager := entered()):
            return where(manager)
        raise AssertionError

    assert asyncio.run(main()).endswith("    yield")


def test_an_object_that_can_be_awaited() -> None:
    """A generator behind ``__await__`` is a frame like any other."""
    waiter = Waiter().__await__()
    waiter.send(None)
    told = where(waiter)
    waiter.close()
    assert [line.rpartition("in ")[2] for line in told.splitlines()[::2]] == ["__await__", "_pause"]


def test_what_doesn_t_wait_stands_nowhere() -> None:
    """Nothing, and objects that are no coroutines, give no text."""
    assert (where(None), where(3), where(object())) == ("", "", "")
