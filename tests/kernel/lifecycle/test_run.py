"""Tests of bandmaster.kernel.lifecycle.run: components that were tried again, or that the run goes on without."""

from collections.abc import AsyncIterator, Sequence

import anyio
import pytest

from bandmaster.kernel import Context, DegradedError, LifespanBand, events, lifespan
from bandmaster.kernel.testing import attempt, fail, hang, run

pytestmark = pytest.mark.anyio


class Cache: ...


class Shop:
    def __init__(self, cache: Cache | None) -> None:
        self.cache = cache


async def answer() -> None:
    """A probe that passes."""


def make_cache(policy, *, fails=0, called=None):
    """A component that registers with its context everything that there is, and then fails a number of times."""
    left = [fails]
    record = [] if called is None else called

    async def drain() -> None:
        record.append("drained")

    async def serve() -> None:
        record.append("served")
        await anyio.sleep_forever()

    @lifespan(band=LifespanBand.PERSISTENCE, on_start_failure=policy)
    async def cache(context: Context) -> AsyncIterator[Cache]:
        context.add_probe("cache", answer)
        context.on_drain(drain)
        context.supervise(serve)
        if left[0]:
            left[0] -= 1
            raise ConnectionError("the cache is away")
        yield Cache()

    return cache


@lifespan(band=LifespanBand.SERVICES)
async def shop(cache: Cache | None) -> AsyncIterator[Shop]:
    yield Shop(cache)


async def test_readiness_warns_of_a_degraded_component():
    """The application is ready, with a warning that names the component, and the type of the failure only."""
    async with run(contributions=[make_cache("degrade", fails=1), shop]) as running:
        response = await running.client.get("/readyz")
        assert 200 == response.status_code
        reason = "degraded at the start: ConnectionError"
        assert {
            "status": "warn",
            "checks": {"cache": {"status": "warn", "component": "cache", "reason": reason}},
        } == response.json()
        assert 200 == (await running.client.get("/startupz")).status_code
        assert running.resources[Shop].cache is None
        with pytest.raises(DegradedError, match="its start failed: ConnectionError: the cache is away"):
            running.resources[Cache]


async def test_everything_that_a_degraded_component_registered_is_dropped():
    """No probe, no drain hook and no service of a degraded component is called."""
    called = []
    async with run(contributions=[make_cache("degrade", fails=1, called=called)]) as running:
        await running.drain()
    assert [] == called
    assert ["cache"] == running.events.degraded


async def test_each_try_registers_anew():
    """The registrations of a failed try are dropped, so that the next one may use the same names."""
    called = []
    async with run(contributions=[make_cache("retry", fails=2, called=called)]) as running:
        assert ["cache"] == [check.name for check in (await running.app.ready()).checks]
        await running.drain()
    assert ["drained", "served"] == sorted(called)
    assert [2, 3] == [event.attempt for event in running.events.of(events.ComponentStartRetrying)]


@pytest.mark.parametrize("times", [1, 3])
async def test_the_test_kit_lets_a_start_fail_some_times(times):
    """With ``times`` a fault goes away, as the absence of a server that comes up late."""
    faults = [fail("cache", error=ConnectionError, times=times)]
    outcome = await attempt(contributions=[make_cache("retry")], faults=faults)
    outcome.assert_clean()
    assert times == len(outcome.events.of(events.ComponentStartRetrying))


async def test_a_fault_that_stays_ends_the_tries():
    """The outcome has the last failure, and the number of tries."""

    @lifespan(band=LifespanBand.PERSISTENCE, on_start_failure="retry", start_timeout=0.2)
    async def cache() -> AsyncIterator[Cache]:
        yield Cache()

    outcome = await attempt(contributions=[cache], faults=[fail("cache")])
    tries = outcome.assert_failed(component="cache").tries
    assert tries == len(outcome.events.of(events.ComponentStarting))


async def test_faults_degrade_a_component():
    """An injected failure, or a start that hangs, is degraded as a real one."""
    for fault in (fail("cache"), hang("cache")):
        outcome = await attempt(contributions=[make_cache("degrade"), shop], faults=[fault])
        assert outcome.started
        assert outcome.error is None
        assert ["cache"] == outcome.events.degraded


@pytest.mark.parametrize("options", [{"times": 0}, {"times": 1, "at": "stop"}])
async def test_times_that_make_no_sense_are_refused(options):
    """Only the starts of a component are counted."""
    with pytest.raises(ValueError, match="times: expected a number from 1 up, for a fail at start"):
        fail("cache", **options)


async def test_collections_and_decorators_of_a_degraded_component():
    """A collection lacks the object of a degraded component, and a degraded decorator leaves the type without one."""

    @lifespan(band=LifespanBand.PERSISTENCE, priority=160, decorates=Shop, on_start_failure="degrade")
    async def guarded(shop: Shop) -> AsyncIterator[Shop]:
        raise OSError("no guard")
        yield shop

    @lifespan(band=LifespanBand.PERSISTENCE, name="shop")
    async def open_shop(caches: Sequence[Cache]) -> AsyncIterator[Shop]:
        assert [] == list(caches)
        yield Shop(None)

    async with run(contributions=[make_cache("degrade", fails=1), open_shop, guarded]) as running:
        assert ["cache", "guarded"] == running.events.degraded
        assert [] == list(running.resources[Sequence[Cache]])
        with pytest.raises(DegradedError, match="'guarded' would, but is degraded") as caught:
            running.resources[Shop]
        assert "guarded" == caught.value.component
