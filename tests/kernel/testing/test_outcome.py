"""Tests of bandmaster.kernel.testing.outcome."""

from collections.abc import AsyncIterator

import anyio
import pytest
from tests.kernel.testing.parts import Cache, Database, cache, database, host

from bandmaster.kernel.contributions.bands import LifespanBand
from bandmaster.kernel.contributions.decorators import lifespan
from bandmaster.kernel.errors import CrashError, DeadlineExceeded, DiscoveryError, PlanError, StartError, StopError
from bandmaster.kernel.testing import LifespanError, RunCancelled, attempt, cancel, crash, fail, hang

pytestmark = pytest.mark.anyio

PARTS = [database, cache]


async def test_clean():
    """A clean run has an outcome, too."""
    outcome = await attempt(host(), contributions=PARTS)
    outcome.assert_clean()
    assert (True, None, None, []) == (outcome.started, outcome.error, outcome.cause, outcome.rolled_back)
    assert ["database", "cache", "host"] == outcome.start_order == outcome.stop_order[::-1]


async def test_failed_start():
    """The outcome of a failed start has the component, the cause and the rollback."""
    outcome = await attempt(contributions=PARTS, faults=[fail("cache", error=OSError("refused"))])
    error = outcome.assert_failed(StartError, "cache")
    outcome.assert_rolled_back("database")
    assert (False, error, OSError) == (outcome.started, outcome.error, type(outcome.cause))
    assert (["database"], ["database"]) == (outcome.start_order, outcome.stop_order)


async def test_no_plan():
    """Parts without a plan are handed out with their problems."""
    outcome = await attempt(contributions=[cache])
    error = outcome.assert_failed(PlanError)
    outcome.assert_problem("'cache'", "needs a Database")
    assert (None, 1, []) == (outcome.plan, len(error.problems), list(outcome.events))


async def test_no_discovery(monkeypatch):
    """So are installed parts that can't be found."""
    from bandmaster.kernel.errors import Problem
    from bandmaster.kernel.lifecycle import composition as module

    def discover(**_):
        raise DiscoveryError([Problem("'audit' can't be imported")])

    monkeypatch.setattr(module, "discover", discover)
    (await attempt(discover=True)).assert_failed(DiscoveryError)


async def test_failed_stop():
    """A failed stop is a start that went well."""
    outcome = await attempt(contributions=PARTS, faults=[fail("cache", at="stop"), hang("database", at="stop")])
    error = outcome.assert_failed(StopError, "cache")
    outcome.assert_failed(StopError, "database")
    assert (True, DeadlineExceeded) == (outcome.started, type(error.exceptions[1]))
    with pytest.raises(AssertionError, match="expected a StopError of 'other', but everything started, then StopError"):
        outcome.assert_failed(StopError, "other")


async def test_crash():
    """The crash that a fault brings is waited for."""
    outcome = await attempt(contributions=PARTS, faults=[crash("database", after=0.01)])
    outcome.assert_failed(CrashError, "database")


async def test_crash_that_degrades():
    """Also where the rest goes on."""

    @lifespan(band=LifespanBand.SERVICES, on_crash="degrade")
    async def fragile() -> AsyncIterator[None]:
        yield

    outcome = await attempt(contributions=[fragile], faults=[crash("fragile")])
    outcome.assert_failed(CrashError, "fragile")


@pytest.mark.parametrize("at", ["start", "serving", "stop"])
async def test_cancelled(at):
    """A run that a fault cancels is handed out, and clean but for that."""
    outcome = await attempt(contributions=PARTS, faults=[cancel("cache", at=at)])
    outcome.assert_failed(RunCancelled)
    assert (at != "start", "database") == (outcome.started, outcome.stop_order[-1])


async def test_over_the_protocol():
    """The lifespan protocol is spoken where asked for."""
    outcome = await attempt(contributions=PARTS, faults=[fail("cache")], via="lifespan")
    outcome.assert_failed(LifespanError)
    outcome.assert_rolled_back("database")


async def test_body():
    """A body is called while the application runs, and its exceptions are raised."""

    async def look(running):
        seen.append(running.resources[Database].open)

    async def fault(running):
        raise AssertionError("mine")

    seen = []
    (await attempt(contributions=PARTS, body=look)).assert_clean()
    assert [True] == seen
    with pytest.raises(AssertionError, match="mine"):
        await attempt(contributions=PARTS, body=fault)


async def test_wrong_arguments():
    """A wrong argument is the test's own."""
    with pytest.raises(ValueError, match="no component 'x'"):
        await attempt(contributions=PARTS, faults=[fail("x")])
    with pytest.raises(ValueError, match="contributions: "):
        await attempt(contributions=[object()])


@pytest.mark.parametrize("error", [SystemExit(3), SystemExit])
async def test_injected_exit(error):
    """An injected SystemExit is handed out."""
    outcome = await attempt(contributions=PARTS, faults=[fail("cache", error=error)])
    assert isinstance(outcome.error, SystemExit)


async def test_injected_exit_beside_another():
    """Also in a group."""
    exits = [fail("cache", error=SystemExit), fail("database", at="stop", error=ValueError)]
    outcome = await attempt(contributions=PARTS, faults=exits)
    assert isinstance(outcome.error, BaseExceptionGroup)


async def test_own_exit():
    """One that no fault brought passes."""

    async def leave(running):
        raise SystemExit

    with pytest.raises(SystemExit):
        await attempt(contributions=PARTS, body=leave)


async def test_outer_cancellation():
    """A cancellation from outside passes."""

    async def wait(running):
        scope.cancel()
        await anyio.sleep_forever()

    with anyio.CancelScope() as scope:
        await attempt(contributions=PARTS, body=wait)
    assert scope.cancelled_caught


@pytest.mark.parametrize(
    ("check", "said"),
    [
        (lambda outcome: outcome.assert_clean(), "expected a clean run, but not everything started: StartError"),
        (lambda outcome: outcome.assert_failed(StopError), "expected a StopError, but not"),
        (lambda outcome: outcome.assert_failed(component="database"), "expected a StartError of 'database', but"),
        (lambda outcome: outcome.assert_rolled_back("cache"), r"expected a rollback of \['cache'\], but"),
        (lambda outcome: outcome.assert_problem("a", "b"), "expected a problem that says 'a' and 'b', but"),
    ],
)
async def test_assertions(check, said):
    """A failed assertion shows the outcome."""
    outcome = await attempt(contributions=PARTS, faults=[fail("cache")])
    with pytest.raises(AssertionError, match=f"(?s){said}.*What happened:.*RollingBack") as caught:
        check(outcome)
    assert outcome.error is caught.value.__cause__


async def test_assertion_on_a_clean_run():
    """A failed assertion on a clean run says that no exception was raised."""
    outcome = await attempt(contributions=PARTS)
    with pytest.raises(AssertionError, match="expected a StartError, but everything started, then nothing was raised"):
        outcome.assert_failed()


async def test_overridden():
    """The arguments are those of run."""
    fake = Database("fake")
    seen = []

    async def look(running):
        seen.append(running.resources[Cache].database)

    (await attempt(contributions=PARTS, overrides={Database: fake}, body=look)).assert_clean()
    assert [fake] == seen
