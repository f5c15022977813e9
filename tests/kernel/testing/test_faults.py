"""Tests of bandmaster.kernel.testing.faults and injection."""

import anyio
import pytest
from tests.kernel.testing.parts import Database, cache, database, host

from bandmaster.kernel import events
from bandmaster.kernel.errors import CrashError, PlanError, StartError, StopError
from bandmaster.kernel.hosting.create import create_app
from bandmaster.kernel.testing import (
    Fault,
    InjectedError,
    LifespanError,
    Recording,
    RunCancelled,
    cancel,
    crash,
    fail,
    hang,
    run,
    slow,
)

pytestmark = pytest.mark.anyio

VIAS = pytest.mark.parametrize("via", ["running", "lifespan"])
PARTS = [database, cache]


@pytest.mark.parametrize("error", [ConnectionError("refused"), ConnectionError, None])
async def test_fail_at_start(error):
    """A start fails with an error, a type of error, or the kit's own."""
    with pytest.raises(StartError) as caught:
        async with run(contributions=PARTS, faults=[fail("cache", error=error)]):
            raise NotImplementedError
    cause = caught.value.__cause__
    assert "cache" == caught.value.component
    if error is None:
        assert "injected: fail of 'cache' at start" == str(cause)
    assert isinstance(cause, InjectedError if error is None else ConnectionError)


async def test_fail_at_stop():
    """A stop fails after the component's own stop, so that nothing stays open."""
    with pytest.raises(StopError) as caught:
        async with run(contributions=PARTS, faults=[fail("database", at="stop")]) as running:
            there = running.resources[Database]
    assert ([InjectedError], False) == ([type(error) for error in caught.value.exceptions], there.open)


@pytest.mark.parametrize(("at", "kind"), [("start", StartError), ("stop", StopError)])
async def test_hang(at, kind):
    """A hang lasts until the component's deadline, which is short."""
    with pytest.raises(kind, match="cache"):
        async with run(contributions=PARTS, faults=[hang("cache", at=at, deadline=0.05)]) as running:
            pass
    assert at == "stop" or "running" not in locals()


async def test_slow():
    """A slow start takes its time."""
    async with run(contributions=PARTS, faults=[slow("cache", 0.05), slow("cache", 0.05, at="stop")]) as running:
        pass
    assert running.events.first(events.ComponentStarted, component="cache").own >= 0.05
    assert running.events.first(events.ComponentStopped, component="cache").own >= 0.05


async def test_slow_and_shielded():
    """A shielded start exceeds its deadline."""
    with pytest.raises(StartError, match="didn't start within"):
        async with run(contributions=PARTS, faults=[slow("cache", 0.2, deadline=0.05, shielded=True)]):
            raise NotImplementedError


@pytest.mark.parametrize("at", ["start", "serving", "stop"])
@VIAS
async def test_cancel(at, via):
    """A cancellation of the whole run stops the components in order, and the run raises `RunCancelled`."""
    recording = Recording()
    with pytest.raises(RunCancelled, match=f"cancel of 'cache' at {at}"):
        async with run(contributions=PARTS, faults=[cancel("cache", at=at)], via=via, listeners=[recording]):
            if at == "serving":
                await anyio.sleep_forever()
    assert ["database"] if at == "start" else ["cache", "database"] == recording.stop_order


async def test_crash():
    """A crash ends the body, and is raised with its cause."""
    error = OSError("gone")
    with pytest.raises(CrashError, match=r"'database' .* died while serving: OSError: gone") as caught:
        async with run(contributions=PARTS, faults=[crash("database", error=error, after=0.02)]) as running:
            await anyio.sleep_forever()
    assert error is caught.value.__cause__
    assert "cache" == running.events.stop_order[0]


async def test_crash_on_demand():
    """A test can trigger a crash."""
    with pytest.raises(CrashError):
        async with run(contributions=PARTS, faults=[crash("database", after=None)]) as running:
            await running.client.get("/livez")
            running.crash("database")
            await anyio.sleep_forever()


async def test_crash_that_isnt_prepared():
    """Only a prepared crash can be triggered."""
    async with run(contributions=PARTS, faults=[crash("cache", after=None)]) as running:
        with pytest.raises(ValueError, match=r"component: no crash of 'database' .* faults=\[crash\('database'"):
            running.crash("database")


async def test_crash_over_the_protocol():
    """Over the protocol the application continues without readiness, and the shutdown reports the crash."""
    with pytest.raises(LifespanError, match=r"shutdown failed: 'database' .* died while serving"):
        async with run(contributions=PARTS, faults=[crash("database")], via="lifespan") as running:
            await running.events.wait(events.KernelStopped)
            assert 503 == (await running.client.get("/readyz")).status_code


async def test_several_faults_at_one_component():
    """Faults add up."""
    with pytest.raises(StartError) as caught:
        async with run(contributions=PARTS, faults=[slow("cache", 0.05), fail("cache")]):
            raise NotImplementedError
    assert isinstance(caught.value.__cause__, InjectedError)


async def test_faults_leave_no_trace():
    """The application's own plan is as before when the run is over."""
    app = create_app(contributions=PARTS, discover=False)
    plan = app.plan
    with pytest.raises(StartError):
        async with run(app, faults=[fail("cache")]):
            raise NotImplementedError
    assert plan is app.plan
    async with run(app):
        pass


async def test_fault_at_the_host():
    """The host's own lifespan is a component like any other."""
    with pytest.raises(StartError, match="host"):
        async with run(host(), faults=[fail("host")]):
            raise NotImplementedError


async def test_unknown_component():
    """A fault of a component that isn't there names the near one."""
    with pytest.raises(
        ValueError, match=r"no component 'databse' in the plan. Did you mean 'database'\? There is: data"
    ):
        async with run(contributions=PARTS, faults=[fail("databse")]):
            raise NotImplementedError


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"kind": "fail", "at": "serving"}, "at: a fail comes at start or stop, got 'serving'; use crash"),
        ({"kind": "crash", "at": "start"}, "at: a crash comes at serving, got 'start'"),
        ({"kind": "slow", "seconds": -1}, "seconds: "),
        ({"kind": "hang", "deadline": 0}, "deadline: "),
    ],
)
def test_wrong_fault(fields, said):
    """A fault that can't be is refused."""
    with pytest.raises(ValueError, match=said):
        Fault(component="x", **fields)


async def test_plan_errors_come_out():
    """Parts that don't fit together fail before anything starts."""
    with pytest.raises(PlanError, match="needs a Database"):
        async with run(contributions=[cache]):
            raise NotImplementedError
