"""Tests of bandmaster.kernel.testing.running, and of what it is made of: composing, lifespan, faults, recording."""

from collections.abc import AsyncIterator
from typing import Annotated

import anyio
import pytest
from fastapi import FastAPI, Request
from pydantic_settings import BaseSettings
from starlette.applications import Starlette
from tests.kernel.testing.parts import Cache, Database, cache, database, host

from bandmaster.kernel import events
from bandmaster.kernel.contributions.bands import LifespanBand, MiddlewareBand
from bandmaster.kernel.contributions.decorators import lifespan, middleware
from bandmaster.kernel.contributions.model import RouteContribution
from bandmaster.kernel.errors import CrashError, PlanError, StartError, StopError
from bandmaster.kernel.hosting.application import create_app
from bandmaster.kernel.lifecycle.engine import Phase
from bandmaster.kernel.settings.kernel import KernelSettings
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


class ToldSettings(BaseSettings):
    word: str = "as set"


@lifespan(band=LifespanBand.PERSISTENCE, provides=str)
async def told(settings: ToldSettings) -> AsyncIterator[None]:
    yield settings.word


# -- running -------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("FA-9")
@VIAS
async def test_lifespan_for_real(via):
    """Everything is started before the block, serves in it, and is stopped after it."""
    async with run(host(), contributions=PARTS, via=via) as running:
        there = running.resources[Database]
        assert (True, Phase.READY) == (there.open, running.kernel.phase)
        assert "real" == (await running.client.get("/database")).text
        async with running.websocket("/echo") as socket:
            await socket.send_text("x")
            assert "x" == await socket.receive_text()
    assert (False, Phase.STOPPED) == (there.open, running.kernel.phase)
    assert ["database", "cache", "host"] == running.events.start_order
    assert ["host", "cache", "database"] == running.events.stop_order
    with pytest.raises(RuntimeError, match="it is stopped"):
        running.resources


async def test_nothing_given():
    """Without an app there is an empty one, and nothing is discovered."""
    async with run() as running:
        assert ([], 404) == (list(running.plan), (await running.client.get("/")).status_code)
        assert 200 == (await running.client.get("/readyz")).status_code


async def test_discovery(monkeypatch):
    """What is installed comes in where a test asks for it."""
    from bandmaster.kernel.discovery.discover import Discovery
    from bandmaster.kernel.lifecycle import composition as module

    monkeypatch.setattr(module, "discover", lambda **_: Discovery(contributions=(database,)))
    async with run(discover=True) as running:
        assert ["database"] == running.events.start_order


@pytest.mark.requirement("FA-9")
async def test_fastapi():
    """A FastAPI app is a host like any other, with its own lifespan."""

    async def own(app):
        order.append("start")
        yield {"word": "hello"}
        order.append("stop")

    order = []
    app = FastAPI(lifespan=own)

    @app.get("/")
    async def read(request: Request):
        order.append(request.state.word)
        return {"url": request.state.resources[Database].url}

    async with run(app, contributions=[database]) as running:
        assert {"url": "real"} == (await running.client.get("/")).json()
    assert ["start", "hello", "stop"] == order


async def test_overrides():
    """An override replaces a component, or settings, by type."""
    fake = Database("fake")
    async with run(
        host(), contributions=[*PARTS, told], overrides={Database: fake, ToldSettings: ToldSettings(word="x")}
    ) as running:
        assert (fake, "x") == (running.resources[Cache].database, running.resources[str])
        assert "fake" == (await running.client.get("/database")).text
    assert ["told", "cache", "host"] == running.events.start_order


async def test_role():
    """A role starts what belongs to it."""

    @lifespan(band=LifespanBand.SERVICES, roles=["worker"])
    async def jobs() -> AsyncIterator[None]:
        yield

    orders = {}
    for role in ("web", "worker", None):
        async with run(contributions=[database, jobs], role=role) as running:
            orders[role] = running.events.start_order
    assert {"web": ["database"], "worker": ["database", "jobs"], None: ["database", "jobs"]} == orders


async def test_listeners():
    """Listeners hear of everything, like the recording."""
    told = []
    async with run(contributions=PARTS, listeners=[told.append]) as running:
        pass
    assert list(running.events) == told


async def test_drain():
    """A test can drain; who streams is told."""
    async with run(host()) as running:
        assert 0 == await running.drain()
        assert 503 == (await running.client.get("/show")).status_code


@pytest.mark.requirement("FA-9")
async def test_error_of_the_body():
    """An error of the test comes out as it is, and everything is stopped."""
    with pytest.raises(AssertionError, match="mine"):
        async with run(contributions=PARTS) as running:
            raise AssertionError("mine")
    assert ["cache", "database"] == running.events.stop_order


@pytest.mark.requirement("FA-9")
async def test_requests_end_before_the_stop():
    """What is still served when the block ends is cancelled before anything stops."""
    order = []

    @lifespan(band=LifespanBand.SERVICES)
    async def last() -> AsyncIterator[None]:
        yield
        order.append("stopped")

    async def app(scope, receive, send):
        try:
            await anyio.sleep_forever()
        finally:
            order.append("cancelled")

    async with run(
        contributions=[last, RouteContribution(name="r", routes=[])], settings=KernelSettings(health=False)
    ) as running:
        running.app.host.mount("/", app)
        with anyio.move_on_after(0.02):
            await running.client.get("/")
    assert ["cancelled", "stopped"] == order


async def test_wrong_via():
    """There are two ways to start."""
    with pytest.raises(ValueError, match="via: expected 'running' or 'lifespan', got 'magic'"):
        async with run(via="magic"):
            raise NotImplementedError


@pytest.mark.parametrize("via", ["running", "lifespan"])
async def test_start_takes_too_long(via):
    """A start that takes too long says who hadn't started."""
    with pytest.raises(TimeoutError, match=r"not everything had started within 0.1 s: 'database' had not, .* 'cache'"):
        async with run(contributions=PARTS, faults=[slow("database", 9)], timeout=0.1, via=via):
            raise NotImplementedError
    with pytest.raises(TimeoutError, match=r"within 0.1 s: 'cache' had not$"):
        async with run(contributions=PARTS, faults=[slow("cache", 9)], timeout=0.1, via=via):
            raise NotImplementedError


async def test_no_timeout():
    """A timeout of none waits for ever."""
    async with run(contributions=PARTS, timeout=None) as running:
        assert running.client.timeout.read is None


async def test_outer_cancellation():
    """A cancellation from outside passes through, once everything has stopped."""
    with anyio.CancelScope() as scope:
        async with run(contributions=PARTS) as running:
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert ["cache", "database"] == running.events.stop_order


# -- an application that is there ----------------------------------------------------------------------------------


async def test_application_as_it_is():
    """An application that is there is run itself, as often as one likes, and told of nothing in between."""
    app = create_app(host(), contributions=PARTS, discover=False)
    recordings = []
    for _ in range(2):
        async with run(app) as running:
            assert app is running.app
        recordings.append(running.events.start_order)
    assert [["database", "cache", "host"]] * 2 == recordings


async def test_application_with_overrides():
    """With anything changed it is planned anew, and the one that is there stays as it is."""
    app = create_app(host(), contributions=PARTS, discover=False)
    async with run(app, overrides={Database: Database("fake")}) as running:
        assert app is not running.app
        assert "fake" == (await running.client.get("/database")).text
        assert ["cache", "host"] == running.events.start_order
    async with run(app) as running:
        assert "real" == (await running.client.get("/database")).text


async def test_application_changed_in_all_ways():
    """All parts come along: other roles, layers, routes, earlier overrides; parts can be added and left out."""

    @lifespan(band=LifespanBand.SERVICES, roles=["worker"])
    async def jobs() -> AsyncIterator[None]:
        yield

    @lifespan(band=LifespanBand.SERVICES, requires=["database"], after=["database"])
    async def needy() -> AsyncIterator[None]:
        yield

    @middleware(band=MiddlewareBand.CONTEXT)
    class Stamp:
        def on_response_start(self, exchange):
            exchange.set_header(b"x-stamp", b"yes")

    routes = RouteContribution(name="extra", routes=host().routes[:1], prefix="/extra")
    app = create_app(
        Starlette(),
        contributions=[*PARTS, jobs, needy, Stamp, routes],
        discover=False,
        overrides={Database: Database("fake")},
    )
    settings = KernelSettings(title="Another")
    async with run(app, contributions=[told], disable="cache", role="worker", settings=settings) as running:
        assert {"told", "jobs", "needy", "host"} == set(running.events.start_order)
        response = await running.client.get("/extra/show")
        assert (200, "yes", "Another") == (response.status_code, response.headers["x-stamp"], running.app.title)


async def test_application_without_a_host_of_its_own():
    """An application that was composed of parts alone gets no component more."""
    app = create_app(contributions=PARTS, discover=False)
    async with run(app, contributions=[told]) as running:
        assert {"database", "cache", "told"} == set(running.events.start_order)


async def test_application_of_another_role():
    """An application keeps its role, unless a test asks for another."""
    app = create_app(contributions=PARTS, discover=False, role="worker")
    async with run(app) as running:
        assert app is running.app
    async with run(app, contributions=[told]) as running:
        assert "worker" == running.kernel.role
    async with run(app, role=None) as running:
        assert running.kernel.role is None


async def test_application_and_discovery():
    """An application that is composed can't discover more."""
    app = create_app(contributions=PARTS, discover=False)
    with pytest.raises(ValueError, match="discover: the application is composed already"):
        async with run(app, discover=True):
            raise NotImplementedError


# -- the lifespan protocol -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at", "said"), [("start", "the application's startup failed: "), ("stop", "the application's shutdown failed: ")]
)
async def test_failure_over_the_protocol(at, said):
    """A failure is told as the protocol tells it, with the cause behind it."""
    error = ConnectionError("refused")
    with pytest.raises(LifespanError, match=said) as caught:
        async with run(contributions=PARTS, faults=[fail("cache", at=at, error=error)], via="lifespan"):
            pass
    assert (error, {"start": "startup", "stop": "shutdown"}[at]) == (caught.value.__cause__, caught.value.phase)


async def test_serving_while_starting():
    """Over the protocol, with the setting for it, requests come while things start."""
    settings = KernelSettings(serve_while_starting=True)
    async with run(
        contributions=[database], settings=settings, via="lifespan", faults=[slow("database", 0.1)]
    ) as running:
        assert 503 == (await running.client.get("/startupz")).status_code
        with pytest.raises(RuntimeError, match="it is starting"):
            running.resources
        await running.events.wait(events.Ready)
        await anyio.wait_all_tasks_blocked()
        assert 200 == (await running.client.get("/startupz")).status_code


async def test_body_error_over_the_protocol():
    """An error of the test comes out as it is, with a note if the stop fails too."""
    with pytest.raises(AssertionError, match="mine") as alone:
        async with run(contributions=PARTS, via="lifespan"):
            raise AssertionError("mine")
    assert not hasattr(alone.value, "__notes__")
    with pytest.raises(AssertionError, match="mine") as caught:
        async with run(contributions=PARTS, faults=[fail("cache", at="stop")], via="lifespan") as running:
            raise AssertionError("mine")
    assert ["database"] == running.events.stop_order
    assert "shutdown failed" in caught.value.__notes__[0]


class TestConversation:
    """The protocol with applications that don't keep to it."""

    async def hold(self, app):
        from bandmaster.kernel.testing.lifespan import lifespan

        async with lifespan(app) as state:
            return state

    async def test_state(self):
        """What the application puts into the state is what requests see."""

        async def app(scope, receive, send):
            scope["state"]["a"] = 1
            for _ in range(2):
                kind = (await receive())["type"]
                await send({"type": f"{kind}.complete"})
            with anyio.CancelScope(shield=True), anyio.move_on_after(0.01):
                await receive()  # nothing more comes
                raise NotImplementedError

        assert {"a": 1} == await self.hold(app)

    async def test_no_protocol(self):
        """One that returns without a word speaks no lifespan."""

        async def app(scope, receive, send):
            pass

        with pytest.raises(RuntimeError, match="without speaking the lifespan protocol"):
            await self.hold(app)

    async def test_raising(self):
        """What it raises is raised."""

        async def app(scope, receive, send):
            raise LookupError("boom")

        with pytest.raises(LookupError, match="boom"):
            await self.hold(app)

    async def test_ending_early(self):
        """One that ends while it should serve ends the body."""

        async def app(scope, receive, send):
            await send({"type": "lifespan.startup.complete"})

        from bandmaster.kernel.testing.lifespan import lifespan

        with pytest.raises(LifespanError, match="ended while it should serve") as caught:
            async with lifespan(app):
                await anyio.sleep_forever()
        assert "serving" == caught.value.phase

    async def test_out_of_turn(self):
        """A message out of turn is refused."""

        async def app(scope, receive, send):
            await send({"type": "lifespan.shutdown.complete"})

        with pytest.raises(RuntimeError, match=r"sent 'lifespan.shutdown.complete' out of turn"):
            await self.hold(app)

    async def test_cancelled_start(self):
        """A cancellation passes through."""

        async def app(scope, receive, send):
            await anyio.sleep_forever()

        with anyio.move_on_after(0.01) as scope:
            await self.hold(app)
        assert scope.cancelled_caught


# -- faults --------------------------------------------------------------------------------------------------------


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
    """A shielded one is slow whatever its deadline says."""
    with pytest.raises(StartError, match="didn't start within"):
        async with run(contributions=PARTS, faults=[slow("cache", 0.2, deadline=0.05, shielded=True)]):
            raise NotImplementedError


@pytest.mark.parametrize("at", ["start", "serving", "stop"])
@VIAS
async def test_cancel(at, via):
    """A cancellation of the whole run stops everything in order, and is told."""
    recording = Recording()
    with pytest.raises(RunCancelled, match=f"cancel of 'cache' at {at}"):
        async with run(contributions=PARTS, faults=[cancel("cache", at=at)], via=via, listeners=[recording]):
            if at == "serving":
                await anyio.sleep_forever()
    assert ["database"] if at == "start" else ["cache", "database"] == recording.stop_order


async def test_crash():
    """A crash ends the body, and is raised with what it died of."""
    error = OSError("gone")
    with pytest.raises(CrashError, match=r"'database' .* died while serving: OSError: gone") as caught:
        async with run(contributions=PARTS, faults=[crash("database", error=error, after=0.02)]) as running:
            await anyio.sleep_forever()
    assert error is caught.value.__cause__
    assert "cache" == running.events.stop_order[0]


async def test_crash_on_demand():
    """A test can say when."""
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
    """Under a server the application goes on without readiness, and says so at the shutdown."""
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


# -- recording -----------------------------------------------------------------------------------------------------


async def test_recording():
    """The recording can be asked."""
    async with run(contributions=PARTS) as running:
        seen = running.events
        assert ["KernelStarting", "ComponentStarting", "ComponentStarted"] == seen.kinds[:3]
        assert ["cache"] == [event.component for event in seen.of(events.ComponentStarted, component="cache")]
        assert seen[0] is seen[:1][0]
        assert seen.first(events.Ready) in seen
        with pytest.raises(AssertionError, match=r"(?s)no ComponentStarted\(component='x'\). What happened:\n.*Ready"):
            seen.first(events.ComponentStarted, component="x")
        with pytest.raises(TimeoutError, match=r"(?s)What happened:.*There was no ComponentCrashed\(\) within 0.01 s"):
            await seen.wait(events.ComponentCrashed, timeout=0.01)
        assert "<Recording: KernelStarting, " == repr(seen)[:28]
        seen.clear()
        assert ("<Recording: nothing happened>", "") == (repr(seen), str(seen))


async def test_recording_waits():
    """One can wait for what comes later, several at once."""
    recording = Recording()
    found = []

    async def wait(name):
        found.append((await recording.wait(events.ComponentStopped, component=name)).component)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait, "database")
        tasks.start_soon(wait, "cache")
        await anyio.wait_all_tasks_blocked()
        async with run(contributions=PARTS, listeners=[recording]):
            pass
    assert ["cache", "database"] == sorted(found)


async def test_recording_tells_errors_and_warnings():
    """Errors and warnings are told."""
    recording = Recording()
    recording(events.Warned(at=1.0, component="a", message="careful"))
    recording(events.ComponentStopFailed(at=1.5, component="b", error=ValueError("x"), own=0))
    assert (["careful"], "   0.000 s  Warned a careful\n   0.500 s  ComponentStopFailed b ValueError: x") == (
        recording.warnings,
        str(recording),
    )


def test_annotated_override_key():
    """Overrides of an application that is there may name resources."""
    from bandmaster.kernel.contributions.keys import Named
    from bandmaster.kernel.testing.compose import compose

    @lifespan(band=LifespanBand.PERSISTENCE)
    async def replica() -> AsyncIterator[Annotated[Database, Named("replica")]]:
        yield Database()

    app = create_app(contributions=[database, replica], discover=False)
    assert ["database"] == [part.name for part in compose(app, overrides={(Database, "replica"): Database()}).plan]
