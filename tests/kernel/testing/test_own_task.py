"""Tests of bandmaster.kernel.testing.own_task."""

import asyncio
from contextlib import asynccontextmanager

import anyio
import pytest

from bandmaster.kernel.testing.own_task import in_own_task

pytestmark = pytest.mark.anyio
ASYNCIO = pytest.mark.parametrize("anyio_backend", ["asyncio"])


@pytest.fixture
def log():
    return []


@pytest.fixture
def make(log):
    """Makes a context manager that holds a task group, as a run does, and logs its steps."""

    @in_own_task
    @asynccontextmanager
    async def make(*, fail_after=None, stop_error=None, suppress=()):
        async def fail():
            await anyio.sleep(fail_after)
            raise LookupError("crash")

        log.append("start")
        error = None
        try:
            async with anyio.create_task_group() as tasks:
                if fail_after is not None:
                    tasks.start_soon(fail)
                try:
                    yield "value"
                except BaseException as raised:
                    log.append(type(raised).__name__)
                    if isinstance(raised, suppress):
                        return
                    if not isinstance(raised, Exception):
                        raise
                    error = raised
                finally:
                    with anyio.CancelScope(shield=True):
                        await anyio.sleep(0.01)
                    log.append("stop")
                tasks.cancel_scope.cancel()
        except* LookupError as group:
            raise group.exceptions[0] from None
        if error is not None or stop_error is not None:
            raise error or stop_error

    return make


async def test_value_and_order(make, log):
    """The context manager is entered before the block and exited after it."""
    async with make() as value:
        log.append(value)
    assert ["start", "value", "stop"] == log


@ASYNCIO
async def test_exit_in_another_task(make, log):
    """The context manager may be exited in another task than it was entered in."""
    manager = make()
    assert "value" == await asyncio.create_task(manager.__aenter__())
    await asyncio.create_task(manager.__aexit__(None, None, None))
    assert ["start", "stop"] == log


@ASYNCIO
async def test_failure_between_two_tasks(make, log):
    """A failure while no task is in the block is raised at the exit."""
    manager = make(fail_after=0)
    await asyncio.create_task(manager.__aenter__())
    await anyio.sleep(0.05)
    assert "stop" == log[-1]
    with pytest.raises(LookupError, match="crash"):
        await asyncio.create_task(manager.__aexit__(None, None, None))


async def test_error_of_the_block(make, log):
    """An error of the block is raised in the context manager, and comes out as the same object."""
    error = ValueError("mine")
    with pytest.raises(ValueError, match="mine") as caught:
        async with make():
            raise error
    assert (error, ["start", "ValueError", "stop"]) == (caught.value, log)


async def test_suppressed_error(make, log):
    """The context manager may suppress an error of the block."""
    async with make(suppress=ValueError):
        raise ValueError
    assert ["start", "ValueError", "stop"] == log


async def test_error_of_the_stop(make):
    """An error of the exit is raised."""
    with pytest.raises(OSError, match="stop"):
        async with make(stop_error=OSError("stop")):
            pass


async def test_error_of_the_start():
    """An error of the start is raised, and nothing is left running."""

    @in_own_task
    @asynccontextmanager
    async def broken():
        raise OSError("start")
        yield

    with pytest.raises(OSError, match="start"):
        async with broken():
            raise NotImplementedError


async def test_failure_ends_the_block(make, log):
    """A failure ends the block: first the block's own clean-up runs, then the stop, then the failure is raised."""
    with pytest.raises(LookupError, match="crash"):
        async with make(fail_after=0.01):
            try:
                await anyio.sleep_forever()
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(0.02)
                log.append("clean-up")
    assert ["start", "clean-up", "stop"] == [entry for entry in log if "Cancelled" not in entry]
    # Nothing of the cancellation is left in this task.
    await anyio.sleep(0.01)


async def test_error_of_the_clean_up(make, log):
    """An error that the block raises while it is ended reaches the context manager."""
    with pytest.raises((ValueError, LookupError)):
        async with make(fail_after=0.01):
            try:
                await anyio.sleep_forever()
            finally:
                raise ValueError("clean-up")
    assert ["start", "ValueError", "stop"] == log


async def test_failure_ends_a_block_with_tasks(make):
    """A block that waits for tasks of its own is ended with them."""
    with pytest.raises(LookupError, match="crash"):
        async with make(fail_after=0.01), anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.sleep_forever)


async def test_cancelled_block(make, log):
    """A cancellation from outside ends the block, passes through, and the stop has run."""
    with anyio.move_on_after(0.01) as scope:
        async with make():
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert ["start", "stop"] == [entry for entry in log if "Cancelled" not in entry]


async def test_cancelled_start(log):
    """A cancellation while the context manager starts reaches it, and the exit waits for its clean-up."""

    @in_own_task
    @asynccontextmanager
    async def slow():
        try:
            await anyio.sleep_forever()
            yield
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.02)
            log.append("rolled back")

    with anyio.move_on_after(0.01) as scope:
        async with slow():
            raise NotImplementedError
    assert (True, ["rolled back"]) == (scope.cancelled_caught, log)


@ASYNCIO
async def test_cancelled_by_asyncio(make, log):
    """A task that asyncio cancels leaves the block as one that anyio cancels."""

    async def hold():
        async with make():
            await anyio.sleep_forever()

    task = asyncio.create_task(hold())
    await anyio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ["start", "CancelledError", "stop"] == log


@ASYNCIO
async def test_cancelled_by_asyncio_while_it_stops(make, log):
    """asyncio's cancellation of a task that waits for the stop cuts nothing short."""

    async def hold():
        async with make():
            pass

    task = asyncio.create_task(hold())
    while "start" not in log:
        await anyio.sleep(0)
    await anyio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ["start", "stop"] == log
