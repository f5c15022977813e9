"""Failed starts and stops under the clients that run lifespans in tests: none waits, and each raises the cause."""

from contextlib import asynccontextmanager

import pytest
from asgi_lifespan import LifespanManager
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.testclient import TestClient
from tests.kernel.hosting.lives import composed

from bandmaster.kernel import LifespanBand, StartError, StopError, lifespan


def failing_in(phase):
    @lifespan(band=LifespanBand.PERSISTENCE)
    async def pool():
        if phase == "start":
            raise ConnectionError("nobody there")
        yield
        raise ConnectionError("nobody there")

    return composed(Starlette(), pool)


def host_failing_in(phase):
    @asynccontextmanager
    async def own(host):
        if phase == "start":
            raise ConnectionError("nobody there")
        yield
        raise ConnectionError("nobody there")

    return composed(Starlette(lifespan=own))


class Refusing:
    """A middleware that knows requests only."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            raise NotImplementedError(scope["type"])
        await self.app(scope, receive, send)


class HttpxHarness:
    """A harness as people write it around httpx's ASGITransport: a task for the lifespan, and queues for messages."""

    def __init__(self, app):
        self.app = app

    async def __aenter__(self):
        import asyncio

        self.asked, self.sent = asyncio.Queue(), asyncio.Queue()
        scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
        self.task = asyncio.create_task(self.app(scope, self.asked.get, self.sent.put))
        await self.ask("startup")

    async def __aexit__(self, *error):
        await self.ask("shutdown")
        await self.task

    async def ask(self, question):
        await self.asked.put({"type": f"lifespan.{question}"})
        if (await self.sent.get())["type"] != f"lifespan.{question}.complete":
            await self.task


@pytest.fixture
def anyio_backend():
    """The clients that have an event loop of their own choice run asyncio."""
    return "asyncio"


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_failed_start_under_starlettes_test_client(backend):
    """The client raises the error on entering, with the first failure as its cause."""
    with pytest.raises(StartError) as raised, TestClient(failing_in("start"), backend=backend):
        pytest.fail("entered")
    assert (ConnectionError, "nobody there") == (type(raised.value.__cause__), str(raised.value.__cause__))


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_failed_stop_under_starlettes_test_client(backend):
    """The client raises the error on leaving; a failed stop would go unnoticed otherwise."""
    with pytest.raises(StopError) as raised, TestClient(failing_in("stop"), backend=backend) as client:
        assert 200 == client.get("/livez").status_code
    assert ["nobody there"] == [str(error) for error in raised.value.exceptions]


@pytest.mark.parametrize("phase", ["start", "stop"])
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_host_alone_fails_under_starlettes_test_client_as_it_would_by_itself(phase, backend):
    """Where nothing but the host's lifespan runs, the client raises the host's own exception."""
    with pytest.raises(ConnectionError, match="nobody there"), TestClient(host_failing_in(phase), backend=backend):
        pass


def test_a_middleware_of_the_host_that_refuses_the_lifespan():
    """A framework's object always has a lifespan: an exception of the middleware fails the start."""
    host = Starlette(middleware=[Middleware(Refusing)])
    for app in (host, composed(host)):
        with pytest.raises(NotImplementedError, match="lifespan"), TestClient(app):
            pytest.fail("entered")


def test_a_wrapper_that_refuses_the_lifespan():
    """A wrapper of one's own around a host without a lifespan is served without one, as servers do."""
    with TestClient(composed(Refusing(Starlette()))) as client:
        assert 404 == client.get("/").status_code


@pytest.mark.anyio
@pytest.mark.parametrize("manager", [LifespanManager, HttpxHarness])
async def test_a_failed_start_under_a_lifespan_manager(manager):
    """The manager raises the error on entering, with the first failure as its cause."""
    with pytest.raises(StartError) as raised:
        async with manager(failing_in("start")):
            pytest.fail("entered")
    assert "nobody there" == str(raised.value.__cause__)


@pytest.mark.anyio
async def test_a_failed_stop_under_a_harness():
    """The error of a stop reaches the code that awaits the lifespan."""
    with pytest.raises(StopError):
        async with HttpxHarness(failing_in("stop")):
            pass
