"""The host's lifespan through the host's own `__call__`: the calls that the host sees, and the values there."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from fastapi import FastAPI
from litestar import Litestar
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Router
from tests.kernel.asking import ask
from tests.kernel.hosting.apps import Database, database, handling
from tests.kernel.hosting.lives import HERE, composed, names, ran, warned
from tests.kernel.virtual import anyio_backend  # noqa: F401

from bandmaster.kernel import Application, Kernel, LifespanBand, Resources, lifespan
from bandmaster.kernel.contributions.model import ErrorHandlerContribution, RouteContribution
from bandmaster.kernel.errors import HostLifespanError, StartError

pytestmark = pytest.mark.anyio


class Opening:
    """Middleware that opens something at the lifespan, and leaves a value for requests."""

    def __init__(self, app):
        self.app = app
        self.scopes = []

    async def __call__(self, scope, receive, send):
        self.scopes.append(scope["type"])
        if scope["type"] == "lifespan":
            scope["state"]["opened"] = True
        await self.app(scope, receive, send)


@pytest.mark.parametrize("kind", [Starlette, FastAPI])
async def test_the_hosts_middleware_sees_the_lifespan(lives, kind):
    """Middleware of the host gets the lifespan scope once, before any request, and its state reaches requests."""
    host = kind(routes=[HERE], lifespan=lives.of("host", {"own": 1}))
    host.add_middleware(Opening)
    app = composed(host)
    async with app.running():
        assert b"{'opened': True, 'own': 1}" == (await ask(app, "/state")).body
        layer = host.middleware_stack
        while not isinstance(layer, Opening):
            layer = layer.app
        assert ["lifespan", "http"] == layer.scopes
    assert ["host up", "host down"] == lives.trace


async def test_the_hosts_own_call_sees_the_lifespan(lives):
    """A subclass that does something in its `__call__` is called, and finds the application's values there."""
    seen = []

    class Shop(FastAPI):
        async def __call__(self, scope, receive, send):
            seen.append((scope["type"], [*scope["state"]]))
            await super().__call__(scope, receive, send)

    await ran(Shop(lifespan=lives.of("host")), database)
    assert ([("lifespan", ["resources"])], ["host up", "host down"]) == (seen, lives.trace)


async def test_a_worker_runs_the_hosts_lifespan_with_its_own_resources():
    """The kernel of another role starts the host's lifespan, which finds what that kernel's components provide."""
    seen = []

    @asynccontextmanager
    async def life(host):
        seen.append((host.state.resources[Database], app.resources[Database]))
        yield

    app = composed(Starlette(lifespan=life), database)
    async with app.kernel.for_role("worker").running() as resources:
        assert [(resources[Database], resources[Database])] == seen


class Refusing:
    """A wrapper that can handle requests only, as Django's handler."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            raise ValueError(f"can only handle HTTP, not {scope['type']}")
        await self.app(scope, receive, send)


class Choking:
    """Middleware that reads a key that only the scopes of requests have."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        if scope["path"] != "/hidden":
            await self.app(scope, receive, send)


def merged_defaults():
    from fastapi import APIRouter

    host = FastAPI()
    host.include_router(APIRouter())
    host.router.routes.append(HERE)
    return host


@pytest.mark.parametrize("made", [lambda: Starlette(routes=[HERE]), lambda: FastAPI(routes=[HERE]), merged_defaults])
@pytest.mark.parametrize("wrapper", [Refusing, Choking])
async def test_a_host_that_refuses_the_lifespan_is_served_without_one(made, wrapper):
    """Where nothing is lost, a wrapper that refuses the lifespan scope does no harm, as under a server."""
    app = composed(wrapper(made()))
    async with app.running():
        assert 200 == (await ask(app, "/state")).status


@pytest.mark.parametrize("as_middleware", [True, False])
@pytest.mark.parametrize("wrapper", [Refusing, Choking])
async def test_a_lifespan_that_isnt_reached_is_an_error(lives, wrapper, as_middleware):
    """Where a lifespan would be lost without a word, the start fails and names the fault."""
    host = Starlette(lifespan=lives.of("host"))
    if as_middleware:
        host.add_middleware(wrapper)
    with pytest.raises(StartError) as raised:
        await ran(host if as_middleware else wrapper(host))
    assert isinstance(raised.value.__cause__, (ValueError, KeyError))
    assert (
        "the lifespan scope didn't reach the lifespan of the Starlette app: middleware of the app, or a wrapper around "
        "it, failed on the scope. Let it pass on every scope that is neither http nor websocket; servers would serve "
        "the app without its lifespan"
    ) in raised.value.__cause__.__notes__


async def test_a_failure_inside_a_lifespan_has_no_such_note(lives):
    """A lifespan that was reached has failed by itself."""
    with pytest.raises(StartError) as raised:
        await ran(Starlette(lifespan=lives.of("host", fail="start")))
    assert not any("didn't reach" in note for note in raised.value.__cause__.__notes__)


async def test_a_host_that_reports_a_failure_and_returns():
    """Quart sends the failure and raises nothing: the message is the cause."""

    async def like_quart(scope, receive, send):
        while (await receive())["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.failed", "message": "no database"})

    with pytest.raises(StartError) as raised:
        await ran(like_quart)
    assert (HostLifespanError, "no database") == (type(raised.value.__cause__), str(raised.value.__cause__))


@pytest.mark.parametrize("phase", ["start", "stop"])
async def test_a_host_that_calls_sys_exit_is_rolled_back(phase):
    """A lifespan that ends the process stops no component halfway: those that have started stop in order."""
    done = []

    @lifespan(band=LifespanBand.PERSISTENCE)
    async def store() -> AsyncIterator[None]:
        yield
        await anyio.sleep(1)
        done.append("stopped")

    @asynccontextmanager
    async def own(host):
        if phase == "start":
            sys.exit("no configuration")
        yield
        sys.exit("no configuration")

    with pytest.raises(SystemExit, match="no configuration"):
        await ran(FastAPI(lifespan=own), store)
    assert ["stopped"] == done


async def test_a_cancelled_start_of_a_host_is_rolled_back():
    """Starlette answers a cancellation with a failed startup; the cancellation goes on as such."""
    done = []

    @asynccontextmanager
    async def own(host):
        try:
            await anyio.sleep_forever()
            yield
        finally:
            done.append(True)

    with anyio.move_on_after(5) as scope:
        async with composed(Starlette(lifespan=own)).running():
            pytest.fail("served")
    assert (True, [True]) == (scope.cancelled_caught, done)


@pytest.mark.parametrize("kind", [Starlette, FastAPI])
async def test_the_hosts_lifespan_finds_resources(kind):
    """The lifespans of the host and of mounted apps find the values of components, at the start and at the stop."""
    found = []

    def make_lifespan():
        @asynccontextmanager
        async def own(app):
            found.append(app.state.resources[Database])
            yield
            found.append(app.state.resources[Database])

        return own

    host = kind(routes=[Mount("/sub", kind(lifespan=make_lifespan()))], lifespan=make_lifespan())
    app = composed(host, database)
    async with app.running() as resources:
        assert host.state.resources[Database] is resources[Database]
    assert 4 * [resources[Database]] == found
    assert not hasattr(host.state, "resources")


async def test_the_application_has_resources_while_the_host_starts_and_stops():
    """The application can be asked, too, from the start of the host's lifespan to its end."""
    found = []

    @asynccontextmanager
    async def own(host):
        found.append(app.resources[Database])
        yield
        found.append(app.resources[Database])

    app = composed(Starlette(lifespan=own), database)
    async with app.running() as resources:
        assert app.resources is resources
    assert 2 * [resources[Database]] == found
    with pytest.raises(RuntimeError, match="The application has stopped"):
        _ = app.resources


async def test_an_attribute_of_the_hosts_own_is_kept():
    """A host keeps a value of its own named `resources`; the scope's state has the components' values."""
    host = Starlette()
    host.state.resources = "its own"
    async with composed(host, database).running():
        assert "its own" == host.state.resources
    assert "its own" == host.state.resources


async def test_an_attribute_that_the_hosts_lifespan_assigns_is_kept():
    """An attribute that the host's lifespan assigns in place of the components' values stays after the run."""

    @asynccontextmanager
    async def own(host):
        host.state.resources = "its own"
        yield

    host = Starlette(lifespan=own)
    await ran(host, database)
    assert "its own" == host.state.resources


async def test_an_application_around_a_kernel_starts_mounted_apps(lives):
    """An application made of a kernel and a host adds the mounted apps to the kernel's plan, and not the host."""
    host = Starlette(routes=[Mount("/sub", Starlette(lifespan=lives.of("sub")))], lifespan=lives.of("host"))
    app = Application(Kernel(discover=False), host)
    async with app.running():
        pass
    assert (["host.sub"], ["sub up", "sub down"]) == (names(app), lives.trace)


async def test_a_host_without_attributes_finds_resources_in_the_scope():
    """A plain ASGI app finds the resources in the state of the lifespan scope, without yielding them."""
    found = []

    async def bare(scope, receive, send):
        if scope["type"] == "http":
            return await PlainTextResponse(str(sorted(scope["state"])))(scope, receive, send)
        await receive()
        found.append(scope["state"]["resources"])
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

    app = composed(bare, database)
    async with app.running() as resources:
        assert resources[Database] is found[0][Database]
        assert b"['drain', 'resources']" == (await ask(app)).body
    assert isinstance(found[0], Resources)


async def test_a_host_whose_state_takes_no_attributes():
    """An attribute of that name which is no state of Starlette's kind is left alone."""

    class Odd(Router):
        state = ()

    await ran(Odd())


@pytest.mark.parametrize("host", [lambda: None, Starlette, FastAPI, lambda: Litestar([], openapi_config=None)])
@pytest.mark.parametrize("prefix", ["", "/under"])
@pytest.mark.parametrize("kind", [Router, Starlette])
async def test_a_contributed_router_lives(lives, host, prefix, kind):
    """A router with a lifespan that is contributed as such is started, and serves its routes."""
    router = kind(routes=[HERE], lifespan=lives.of("router", {"found": 1}))
    app = composed(host(), RouteContribution(name="state", routes=router, prefix=prefix), late_error_handler())
    async with app.running():
        assert b"{'found': 1}" == (await ask(app, f"{prefix}/state")).body
        assert 404 == (await ask(app, f"{prefix}/other")).status
    assert (["router up", "router down"], []) == (lives.trace, warned(app))
    assert ("host.under" if prefix else "host.root") in names(app)


def late_error_handler():
    return ErrorHandlerContribution(name="errors", exception=KeyError, handler=handling("handled"))


async def test_contributed_mounts_are_in_every_plan(lives):
    """The components of contributed mounts are in the plans of other roles as well; a run has one plan."""
    mount = RouteContribution(name="sub", routes=[Mount("/sub", Starlette(lifespan=lives.of("sub")))])

    @lifespan(band=LifespanBand.PERSISTENCE, roles={"web"})
    async def only_web():
        yield

    app = composed(Starlette(), mount, only_web)
    assert ["only_web", "host", "host.sub"] == names(app)
    assert ["host", "host.sub"] == [part.name for part in app.kernel.for_role("worker").plan.components]
    async with app.running():
        with pytest.raises(RuntimeError, match="runs already; its plan can be extended before it starts"):
            app.kernel.extend([])
