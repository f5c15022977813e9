"""Components that listen to the events of the run they are in."""

import anyio
import pytest
from tests.kernel.lifecycle.test_kernel import component, kernel_of
from tests.kernel.virtual import anyio_backend  # noqa: F401

from bandmaster.kernel import events
from bandmaster.kernel.contributions.bands import LifespanBand
from bandmaster.kernel.contributions.decorators import lifespan
from bandmaster.kernel.errors import StartError
from bandmaster.kernel.lifecycle.context import Context

pytestmark = pytest.mark.anyio


def listening(listener, name="observer", band=LifespanBand.SERVICES, **fields):
    """A component that listens from its start."""

    @lifespan(band=band, name=name, **fields)
    async def observes(context: Context):
        context.listen(listener)
        yield

    return observes


def kinds(heard):
    return [(type(event).__name__, getattr(event, "component", None)) for event in heard]


async def test_a_listener_gets_what_came_before_it_and_what_comes_after():
    """The events are the same, and in the same order, as those of a listener that was there from the beginning."""
    heard, all_events = [], []
    kernel = kernel_of(component("database"), listening(heard.append), listeners=[all_events.append])
    async with kernel.running():
        pass
    last = next(
        index
        for index, event in enumerate(all_events)
        if isinstance(event, events.ComponentStopped) and event.component == "observer"
    )
    assert all_events[: last + 1] == heard
    assert ("ComponentStarted", "database") in kinds(heard)


async def test_a_listener_hears_nothing_of_an_earlier_run():
    """A second run of one kernel begins with its own first event, and the listener of the first run is gone."""
    heard = []
    kernel = kernel_of(component("database"), listening(heard.append))
    async with kernel.running():
        pass
    first = len(heard)
    async with kernel.running():
        pass
    assert [type(heard[0]), type(heard[first])] == [events.KernelStarting, events.KernelStarting]
    assert 2 * first == len(heard)


async def test_a_listener_of_a_service_gets_the_whole_start():
    """A function that begins to listen after the start gets all events of the start."""
    heard = []

    @lifespan(band=LifespanBand.PERSISTENCE)
    async def late(context: Context):
        async def listen():
            await context.wait_ready()
            context.listen(heard.append)
            await anyio.sleep_forever()

        context.supervise(listen)
        yield

    async with kernel_of(component("database"), late).running():
        await anyio.sleep(1)
        assert isinstance(heard[0], events.KernelStarting)
        assert ("ComponentStarted", "database") in kinds(heard)


async def test_the_events_after_the_start_are_bounded():
    """A service that fails again and again doesn't fill the memory with its events."""
    heard = []

    @lifespan(band=LifespanBand.PERSISTENCE)
    async def noisy(context: Context):
        async def listen():
            await context.wait_ready()
            for number in range(1000):
                context._run.warn("noisy", str(number))
            context.listen(heard.append)
            await anyio.sleep_forever()

        context.supervise(listen)
        yield

    async with kernel_of(noisy).running():
        await anyio.sleep(1)
        warned = [event.message for event in heard if isinstance(event, events.Warned)]
        assert [str(number) for number in range(900, 1000)] == warned[-100:]
        assert len(heard) < 120


async def test_a_listener_that_fails_is_removed():
    """The run goes on, and a warning names the function."""
    told = []

    def fails(event):
        if isinstance(event, events.Ready):
            raise OSError("no")

    async with kernel_of(listening(fails), listeners=[told.append]).running():
        pass
    (message,) = [event.message for event in told if isinstance(event, events.Warned)]
    assert "was removed: OSError: no" in message


async def test_a_listener_that_fails_at_once_fails_the_start():
    """An exception for one of the events so far reaches the component that listens."""

    def fails(event):
        raise OSError("no")

    with pytest.raises(StartError, match="no"):
        async with kernel_of(listening(fails)).running():
            pass


async def test_a_listener_of_a_rolled_back_start_hears_the_rollback():
    """Failures of others and the rollback are among the events, and the listener is gone afterwards."""
    heard = []

    def fail(context):
        raise OSError("no disk")

    kernel = kernel_of(listening(heard.append, band=LifespanBand.OBSERVABILITY), component(begin=fail))
    with pytest.raises(StartError):
        async with kernel.running():
            pass
    names = [type(event) for event in heard]
    assert events.ComponentStartFailed in names
    assert events.RollingBack in names
    count = len(heard)
    kernel.emit(events.Warned(at=0, component="kernel", message="afterwards"))
    assert count == len(heard)


async def test_each_try_of_a_start_has_its_own_listener():
    """A try that fails takes its listener with it."""
    heard = []

    @lifespan(band=LifespanBand.PERSISTENCE, on_start_failure="retry")
    async def flaky(context: Context):
        mine = []
        heard.append(mine)
        context.listen(mine.append)
        if len(heard) == 1:
            raise OSError("not yet")
        yield

    async with kernel_of(flaky).running():
        pass
    first, second = heard
    assert isinstance(first[-1], events.ComponentStartRetrying)
    assert isinstance(second[-1], events.ComponentStopped)


@pytest.mark.parametrize("listener", [5, None, anyio.sleep])
def test_only_plain_functions_can_listen(listener):
    """Anything else is refused with the reason."""
    with pytest.raises(ValueError, match="listener: expected a plain function that takes an event"):
        Context("database", None).listen(listener)
