"""Tests of bandmaster.kernel.lifecycle.blocked_phases."""

import inspect
import threading
import time

import anyio
import pytest

from bandmaster.kernel import Context, Kernel, KernelSettings, LifespanBand, events, lifespan
from bandmaster.kernel.errors import StartError
from bandmaster.kernel.lifecycle.blocked_phases import BlockedPhases

LOOPS = [("asyncio", {}), ("asyncio", {"use_uvloop": True}), ("trio", {})]

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", LOOPS, ids=["asyncio", "uvloop", "trio"])]


def block(seconds):
    """Block the event loop in the line after this one."""
    time.sleep(seconds)


BLOCKED = f'  File "{__file__}", line {inspect.getsourcelines(block)[1] + 2}, in block\n    time.sleep(seconds)'


async def run(*components, blocked=None, fails=False):
    """Run components once, and return the warnings."""
    seen = []
    kernel = Kernel(contributions=components, discover=False, listeners=[seen.append], settings=KernelSettings())
    kernel.report_blocked_to(blocked)
    if fails:
        with pytest.raises(StartError):
            async with kernel.running():
                pass
    else:
        async with kernel.running():
            pass
    assert not [thread for thread in threading.enumerate() if thread.name == "bandmaster: blocked phases"]
    return [(event.component, event.message) for event in seen if isinstance(event, events.Warned)]


async def test_a_start_that_blocks_past_its_deadline():
    """The warning names component, times and line, and comes though the start completes."""

    @lifespan(band=LifespanBand.SERVICES, start_timeout=0.2)
    async def model():
        block(0.8)
        yield

    ((component, message),) = await run(model)
    assert component == "model"
    first, *lines = message.splitlines()
    assert first.startswith("the start of 'model' (in code, ")
    assert first.endswith(" in place of 200 ms at most, since the event loop was blocked at")
    assert "\n".join(lines[:2]) == BLOCKED
    assert lines[2] == "Await something there, or call it in a thread: await anyio.to_thread.run_sync(function)"


async def test_a_stop_that_blocks_past_its_deadline():
    """The warning of a stop that blocks past the deadline names component, times and line."""

    @lifespan(band=LifespanBand.SERVICES, stop_timeout=0.2)
    async def model():
        yield
        block(0.8)

    ((_, message),) = await run(model)
    assert message.startswith("the stop of 'model'")
    assert BLOCKED in message


async def test_a_start_that_awaits_after_it_has_blocked():
    """The deadline cancels the start late; the warning has the line that had blocked, which the error can't know."""

    @lifespan(band=LifespanBand.SERVICES, start_timeout=0.2)
    async def model():
        block(0.8)
        await anyio.sleep_forever()
        yield

    ((_, message),) = await run(model, fails=True)
    assert BLOCKED in message


async def test_a_rollback_that_blocks():
    """Undoing a start is a stop, and has the deadline of a stop."""

    @lifespan(band=LifespanBand.SERVICES, start_timeout=60, stop_timeout=0.2)
    async def model():
        try:
            await anyio.sleep_forever()
        finally:
            block(0.8)
        yield

    @lifespan(band=LifespanBand.SERVICES)
    async def failing():
        await anyio.sleep(0.1)
        raise RuntimeError("no luck")
        yield

    ((_, message),) = await run(model, failing, fails=True)
    assert message.startswith("the start of 'model'")
    assert BLOCKED in message


async def test_deadlines_that_are_met():
    """No warning comes where the event loop is free, or blocked in time, also where a start has got more time."""

    @lifespan(band=LifespanBand.SERVICES, start_timeout=20)
    async def quick():
        block(0.2)
        yield

    @lifespan(band=LifespanBand.SERVICES, start_timeout=0.2)
    async def extended(context: Context):
        context.extend_timeout(20)
        block(0.5)
        yield
        context.extend_timeout(30)

    assert await run(quick, extended) == []
    assert await run() == []


async def test_a_start_that_hangs_blocks_nothing():
    """The deadline cancels a hanging start in time, and no warning comes."""

    @lifespan(band=LifespanBand.SERVICES, start_timeout=0.2)
    async def hanging():
        await anyio.sleep_forever()
        yield

    assert await run(hanging, fails=True) == []


async def test_the_watchdog_hears_of_it_while_the_event_loop_is_blocked():
    """The function is called in another thread, before the event loop is free."""
    heard = threading.Event()
    names = []

    def blocked(component):
        names.append((component, threading.current_thread().name))
        heard.set()

    @lifespan(band=LifespanBand.SERVICES, start_timeout=0.1)
    async def model():
        assert heard.wait(10)
        yield

    await run(model, blocked=blocked)
    assert names == [("model", "bandmaster: blocked phases")]


async def test_a_deadline_before_the_one_that_is_waited_for():
    """A stop with a short deadline is noticed, though a start with a long one came first."""

    @lifespan(band=LifespanBand.SERVICES, start_timeout=60, stop_timeout=0.2)
    async def model():
        await anyio.sleep(0.1)
        yield
        block(0.8)

    assert len(await run(model)) == 1


async def test_more_time_for_a_component_that_serves():
    """There is no deadline to move, and nothing is said."""
    contexts = []

    @lifespan(band=LifespanBand.SERVICES)
    async def model(context: Context):
        contexts.append(context)
        yield

    kernel = Kernel(contributions=[model], discover=False)
    async with kernel.running():
        contexts[0].extend_timeout(5)


async def test_an_event_loop_that_is_merely_late():
    """An event loop that waits when a deadline has passed isn't blocked."""
    seen = []

    @lifespan(band=LifespanBand.SERVICES, start_timeout=0.1)
    async def model():
        yield

    plan = Kernel(contributions=[model], discover=False).plan
    with BlockedPhases(plan, seen.append) as phases:
        phases.handle_event(events.ComponentStarting(at=0.0, component="model", waited=0.0))
        await anyio.sleep(0.5)
        phases.handle_event(events.ComponentStarted(at=0.5, component="model", waited=0.0, own=0.5))
    assert seen == []
