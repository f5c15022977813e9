"""Tests of bandmaster.kernel.testing.running."""

from collections.abc import AsyncIterator

import anyio
import pytest
from fastapi import FastAPI, Request
from pydantic_settings import BaseSettings
from tests.kernel.testing.parts import Cache, Database, cache, database, host

from bandmaster.kernel.contributions.bands import LifespanBand
from bandmaster.kernel.contributions.decorators import lifespan
from bandmaster.kernel.contributions.model import RouteContribution
from bandmaster.kernel.lifecycle.phases import Phase
from bandmaster.kernel.settings.kernel import KernelSettings
from bandmaster.kernel.testing import (
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


@pytest.mark.requirement("FA-9")
@VIAS
async def test_lifespan_for_real(via):
    """The components start before the block, serve during the block, and stop after the block."""
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
    with pytest.raises(RuntimeError, match="The application has stopped"):
        running.resources


async def test_nothing_given():
    """Without an app there is an empty one, and nothing is discovered."""
    async with run() as running:
        assert ([], 404) == (list(running.plan), (await running.client.get("/")).status_code)
        assert 200 == (await running.client.get("/readyz")).status_code


async def test_discovery(monkeypatch):
    """Installed parts are found with `discover=True`."""
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
    """A role starts its own components."""

    @lifespan(band=LifespanBand.SERVICES, roles=["worker"])
    async def jobs() -> AsyncIterator[None]:
        yield

    orders = {}
    for role in ("web", "worker", None):
        async with run(contributions=[database, jobs], role=role) as running:
            orders[role] = running.events.start_order
    assert {"web": ["database"], "worker": ["database", "jobs"], None: ["database", "jobs"]} == orders


async def test_listeners():
    """Listeners receive all events, like the recording."""
    told = []
    async with run(contributions=PARTS, listeners=[told.append]) as running:
        pass
    assert list(running.events) == told


async def test_drain():
    """A test can drain the application."""
    async with run(host()) as running:
        assert 0 == await running.drain()
        assert 503 == (await running.client.get("/show")).status_code


@pytest.mark.requirement("FA-9")
async def test_error_of_the_body():
    """An error of the test is raised as the same object, and the components are stopped."""
    with pytest.raises(AssertionError, match="mine"):
        async with run(contributions=PARTS) as running:
            raise AssertionError("mine")
    assert ["cache", "database"] == running.events.stop_order


@pytest.mark.requirement("FA-9")
async def test_requests_end_before_the_stop():
    """Requests that are still served at the end of the block are cancelled before a component stops."""
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
    """A start that takes too long names the components that haven't started."""
    with pytest.raises(TimeoutError, match=r"not everything had started within 1 s: 'database' had not, .* 'cache'"):
        async with run(contributions=PARTS, faults=[slow("database", 90)], timeout=1, via=via):
            raise NotImplementedError
    with pytest.raises(TimeoutError, match=r"within 1 s: 'cache' had not$"):
        async with run(contributions=PARTS, faults=[slow("cache", 90)], timeout=1, via=via):
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
