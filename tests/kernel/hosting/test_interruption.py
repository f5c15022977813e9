"""Tests of bandmaster.kernel.hosting.interruption."""

import threading

import anyio
import pytest
import sniffio

from bandmaster.kernel.hosting.interruption import Interruption

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])]


async def run_and_interrupt(awaitable):
    """Run, interrupt when everything waits, and return the result and a step after the result in the same task."""
    interruption, results = Interruption(), []

    async def run():
        results.append(await interruption.run(awaitable))
        await anyio.sleep(0)
        results.append("goes on")

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            await anyio.wait_all_tasks_blocked()
            interruption.interrupt()
    assert interruption.requested
    return results


async def test_an_await_is_cancelled_and_its_task_goes_on():
    """The result is None then."""
    assert await run_and_interrupt(anyio.sleep_forever()) == [None, "goes on"]


async def test_an_await_that_is_not_interrupted():
    """The result is the awaitable's own, and an interruption afterwards has no effect."""

    async def answer():
        await anyio.sleep(0)
        return 42

    interruption = Interruption()
    interruption.interrupt()
    assert await interruption.run(answer()) == 42
    interruption.interrupt()
    assert not interruption.requested


async def test_an_await_that_fails():
    """The error of an await that fails is raised."""

    async def fails():
        await anyio.sleep(0)
        raise RuntimeError("no luck")

    with pytest.raises(RuntimeError, match="no luck"):
        await Interruption().run(fails())


async def test_an_await_that_ends_in_spite_of_its_cancellation():
    """The result of a cancelled await counts, and the task isn't cancelled any more."""

    async def stubborn():
        try:
            await anyio.sleep_forever()
        except BaseException:
            return "done all the same"

    assert await run_and_interrupt(stubborn()) == ["done all the same", "goes on"]


async def test_the_error_of_a_clean_up():
    """The error of a clean-up is raised, as without an interruption."""

    async def fails():
        try:
            await anyio.sleep_forever()
        finally:
            raise RuntimeError("no luck")

    with pytest.raises(ExceptionGroup) as raised:
        await run_and_interrupt(fails())
    assert "no luck" in str(raised.value.exceptions)


async def test_a_cancellation_by_others_passes():
    """An outer scope's cancellation isn't mistaken for the interruption, though both come at once."""
    interruption = Interruption()
    with anyio.CancelScope() as outer:
        async with anyio.create_task_group() as tasks:

            async def cancel_both():
                await anyio.wait_all_tasks_blocked()
                interruption.interrupt()
                outer.cancel()

            tasks.start_soon(cancel_both)
            await interruption.run(anyio.sleep_forever())
            await anyio.sleep(0)
            pytest.fail("the outer scope is cancelled")
    assert outer.cancelled_caught


async def test_a_task_does_not_interrupt_itself():
    """A handler may have the application drained, and isn't cancelled for that."""
    interruption = Interruption()

    async def interrupt_from_within():
        interruption.interrupt()
        return "not interrupted"

    assert await interruption.run(interrupt_from_within()) == "not interrupted"


def runs_on_trio():
    return sniffio.current_async_library() == "trio"


async def test_where_an_await_stands():
    """The stack ends in the awaitable's own line, and is empty when nothing is awaited."""
    interruption = Interruption()
    assert interruption.render_stack() == ""

    async def stand_here():
        await anyio.sleep_forever()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(interruption.run, stand_here())
        await anyio.wait_all_tasks_blocked()
        assert "in stand_here\n    await anyio.sleep_forever()" in interruption.render_stack()
        tasks.cancel_scope.cancel()


async def test_a_function_in_a_thread_is_not_abandoned():
    """The result of a thread counts, since a thread can't be ended."""
    interruption, may_end, results = Interruption(), threading.Event(), []

    async def run():
        results.append(await interruption.run(anyio.to_thread.run_sync(may_end.wait, 10)))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        await anyio.sleep(0.1)
        interruption.interrupt()
        await anyio.sleep(0.1)
        may_end.set()
    assert results == [True]


async def test_clean_up_may_await_on_asyncio():
    """The cancellation comes once there; trio's scopes cancel the clean-up as well."""
    cleaned = []

    async def work():
        try:
            await anyio.sleep_forever()
        finally:
            await anyio.sleep(0.01)
            cleaned.append(True)

    await run_and_interrupt(work())
    assert cleaned == ([] if runs_on_trio() else [True])
