"""Tests of bandmaster.kernel.lifecycle.cancellation."""

from __future__ import annotations

import asyncio

import anyio
import pytest
from tests.kernel.harness.clock import run

from bandmaster.kernel.lifecycle.cancellation import remove_cancellations, wait_through


def test_a_wait_goes_on_after_a_native_cancel() -> None:
    """A task's own ``cancel()`` is returned, once every event is set."""

    async def main() -> None:
        first, second = anyio.Event(), anyio.Event()
        task = asyncio.ensure_future(wait_through([first, second]))
        await asyncio.sleep(1)
        task.cancel()
        first.set()
        await asyncio.sleep(1)
        assert not task.done()
        second.set()
        assert isinstance(await task, asyncio.CancelledError)

    run("asyncio", main)


def test_an_outer_cancellation_does_not_end_a_wait(backend: str) -> None:
    """The wait is shielded, so that no interruption is returned."""

    async def main() -> None:
        event = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(set_later, event)
            with anyio.CancelScope() as scope:
                scope.cancel()
                assert await wait_through([event]) is None
        assert anyio.current_time() == 2

    run(backend, main)


async def set_later(event: anyio.Event) -> None:
    await anyio.sleep(2)
    event.set()


def test_a_scope_ends_a_wait(backend: str) -> None:
    """A scope with a deadline ends the wait at the deadline."""

    async def main() -> None:
        await wait_through([anyio.Event(), anyio.Event()], anyio.CancelScope(deadline=3, shield=True))
        assert anyio.current_time() == 3

    run(backend, main)


@pytest.mark.parametrize("expected", [True, False])
def test_an_error_stays_without_the_cancellations_beside_it(expected: bool) -> None:
    """The error of a clean-up in a cancelled task group is reported alone."""

    async def main() -> None:
        error = ValueError()
        own = remove_cancellations(BaseExceptionGroup("both", [asyncio.CancelledError(), error]), expected=expected)
        assert isinstance(own, ExceptionGroup)
        assert own.exceptions == (error,)
        assert remove_cancellations(error, expected=expected) is error

    run("asyncio", main)


def test_a_cancellation_is_an_error_unless_the_kernel_expects_it() -> None:
    """A cancellation that the kernel hadn't caused is the cause of the reported error."""

    async def main() -> None:
        cancelled = asyncio.CancelledError()
        assert remove_cancellations(cancelled, expected=True) is None
        outside = remove_cancellations(cancelled, expected=False)
        assert str(outside) == "its task was cancelled from outside the kernel"
        assert outside is not None
        assert outside.__cause__ is cancelled

    run("asyncio", main)


def test_a_wait_ends_with_its_event_loop() -> None:
    """A wait whose coroutine is closed ends at once: nothing sets its events any more."""

    async def main() -> None:
        waiting = wait_through([anyio.Event()])
        waiting.send(None)
        waiting.close()

    run("asyncio", main)
