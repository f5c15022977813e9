"""Tests of bandmaster.kernel.hosting.lifespans."""

import functools
from contextlib import asynccontextmanager

import anyio
import pytest
from fastapi import APIRouter, FastAPI
from litestar import Litestar, get
from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Router
from tests.kernel.asking import ask
from tests.kernel.hosting.apps import bare, handling
from tests.kernel.hosting.lives import HERE, composed, names, ran, warned
from tests.kernel.virtual import anyio_backend  # noqa: F401

from bandmaster.kernel.contributions.bands import LifespanBand
from bandmaster.kernel.contributions.decorators import lifespan
from bandmaster.kernel.contributions.model import ErrorHandlerContribution, RouteContribution
from bandmaster.kernel.errors import CrashError, StartError, StopError
from bandmaster.kernel.hosting.create import create_app
from bandmaster.kernel.lifecycle.context import Context
from bandmaster.kernel.settings.kernel import KernelSettings

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("kind", [Starlette, FastAPI, Router])
async def test_the_hosts_lifespan_runs_last(lives, kind):
    """The host's lifespan starts after all other components, which it may use, and stops before them."""

    @lifespan(band=LifespanBand.APPLICATION)
    async def component():
        lives.trace.append("component up")
        yield
        lives.trace.append("component down")

    app = await ran(kind(lifespan=lives.of("host")), component)
    assert ["component up", "host up", "host down", "component down"] == lives.trace
    assert ["component", "host"] == names(app)
    assert f"The lifespan of {kind.__module__}.{kind.__qualname__}." == app.plan.components[1].contribution.description


async def test_a_host_without_a_lifespan_is_fine():
    """Such a host has a component as well, since a router that is included later may have a lifespan."""
    assert ["host"] == names(await ran(Starlette()))


async def test_no_host_has_no_lifespan():
    """The Starlette app that is made here has nothing to start."""
    assert [] == names(await ran(None))


async def test_a_litestar_host_lives(lives):
    """A Litestar host's lifespan runs by the protocol."""

    @get("/hello")
    async def hello() -> str:
        return "hello"

    @asynccontextmanager
    async def own(app):
        lives.trace.append("up")
        yield
        lives.trace.append("down")

    app = composed(Litestar([hello], lifespan=[own], openapi_config=None))
    async with app.running():
        assert (200, b"hello") == ((await ask(app, "/hello")).status, (await ask(app, "/hello")).body)
    assert ["up", "down"] == lives.trace


async def test_a_litestar_host_that_fails():
    """The cause is the exception, not the traceback that Litestar sends."""

    @asynccontextmanager
    async def own(app):
        raise OSError("no database")
        yield

    with pytest.raises(StartError) as raised:
        await ran(Litestar([], lifespan=[own], openapi_config=None))
    assert ("host", "no database") == (raised.value.component, str(raised.value.__cause__))


async def test_a_callable_speaks_the_protocol(lives):
    """The lifespan of a bare ASGI app runs as under a server."""

    async def bare(scope, receive, send):
        lives.trace.append((await receive())["type"])
        scope["state"]["pool"] = 1
        await send({"type": "lifespan.startup.complete"})
        lives.trace.append((await receive())["type"])
        await send({"type": "lifespan.shutdown.complete"})

    await ran(bare)
    assert ["lifespan.startup", "lifespan.shutdown"] == lives.trace


async def test_a_callable_without_a_lifespan_is_served():
    """A bare ASGI app without a lifespan is served."""

    async def bare(scope, receive, send):
        assert scope["type"] == "http"
        await PlainTextResponse("hello")(scope, receive, send)

    app = composed(bare)
    async with app.running():
        assert b"hello" == (await ask(app)).body


@pytest.mark.parametrize("phase", ["start", "stop"])
@pytest.mark.parametrize("kind", [Starlette, FastAPI])
async def test_a_failing_lifespan_is_the_cause(lives, kind, phase):
    """The cause is the very error, and the component is the host."""
    with pytest.raises((StartError, StopError)) as raised:
        await ran(kind(lifespan=lives.of("host", fail=phase)))
    cause = raised.value.__cause__ if phase == "start" else raised.value.exceptions[0]
    assert (OSError, "host") == (type(cause), str(cause))


async def test_a_lifespan_may_hold_a_task_group():
    """A task that fails while serving is a crash of the host, with the cause."""

    async def dies():
        await anyio.sleep(5)
        raise OSError("gone")

    @asynccontextmanager
    async def own(app):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(dies)
            yield

    app = composed(FastAPI(lifespan=own))
    began = anyio.current_time()
    with pytest.raises(CrashError) as raised:
        async with app.running():
            await anyio.sleep(60)
    assert ("host", 5) == (raised.value.component, pytest.approx(anyio.current_time() - began))
    assert "gone" == str(raised.value.__cause__)


async def test_a_callable_that_dies_while_serving_is_a_crash():
    """An app that fails while serving is a crash of the host, with the app's error as the cause."""

    async def bare(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await anyio.sleep(5)
        raise OSError("gone")

    with pytest.raises(CrashError) as raised:
        async with composed(bare).running():
            await anyio.sleep(60)
    assert ("host", "gone") == (raised.value.component, str(raised.value.__cause__))


async def test_routers_that_are_included_later_live(lives):
    """The lifespan of a router that is included after the application was made runs."""
    host = FastAPI(lifespan=lives.of("host"))
    app = composed(host)
    host.include_router(APIRouter(lifespan=lives.of("router")))
    async with app.running():
        pass
    assert ["host up", "router up", "router down", "host down"] == lives.trace


async def test_a_wrapped_host_lives(lives):
    """The lifespan of a wrapped host runs through the wrapper, and those of mounted apps run, too."""
    inner = Starlette(routes=[Mount("/sub", Starlette(lifespan=lives.of("sub")))], lifespan=lives.of("host"))
    app = await ran(GZipMiddleware(CORSMiddleware(inner)))
    assert ["host", "host.sub"] == names(app)
    assert ["host up", "sub up", "sub down", "host down"] == lives.trace


async def test_a_wrapper_that_chokes_on_the_lifespan_is_an_error(lives):
    """A wrapper that can't handle the lifespan scope would switch off the lifespan of the wrapped host."""

    class Chokes:
        def __init__(self, app):
            self.app = app

        async def __call__(self, scope, receive, send):
            print(scope["path"])

    with pytest.raises(StartError) as raised:
        await ran(Chokes(Starlette(lifespan=lives.of("host"))))
    assert isinstance(raised.value.__cause__, KeyError)


async def test_a_wrapper_of_itself():
    """Unwrapping a host ends, also in a circle of wrappers."""

    class Round:
        async def __call__(self, scope, receive, send):
            raise AssertionError

    host = Round()
    host.app = host
    assert ["host"] == names(await ran(host))


async def test_an_app_that_is_mounted_too_late(lives):
    """A warning names an app that was mounted after the plan was made, since the lifespan isn't started."""
    host = Starlette()
    app = composed(host)
    host.router.routes.append(Mount("/late", Starlette(lifespan=lives.of("late"))))
    async with app.running():
        pass
    (message,) = warned(app)
    assert (
        "the app mounted at '/late' has a lifespan that isn't started: it came after the plan was made. Mount it "
        "before create_app(), or contribute its lifespan"
    ) == message
    assert [] == lives.trace


@pytest.mark.parametrize("host", [lambda: None, Starlette, Router, lambda: bare])
async def test_an_app_that_is_contributed(lives, host):
    """An app mounted by a contributed route is started once, as a component of the plan, in every kind of host."""
    mounts = RouteContribution(name="sub", routes=[Mount("/sub", Starlette(lifespan=lives.of("sub")))])
    handler = ErrorHandlerContribution(name="errors", exception=KeyError, handler=handling("handled"))
    app = await ran(host(), mounts, handler)
    assert ("host.sub", ["sub up", "sub down"], []) == (names(app)[-1], lives.trace, warned(app))


async def test_yielded_values_reach_requests(lives):
    """Requests have the values of the host's lifespan and of mounted apps, in both ways of running them."""

    async def speaks(scope, receive, send):
        await receive()
        scope["state"]["spoken"] = 3
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

    speaking = Attributed(speaks)
    host = Starlette(
        routes=[HERE, Mount("/a", Starlette(lifespan=lives.of("a", {"sub": 2}))), Mount("/b", speaking)],
        lifespan=lives.of("host", {"own": 1}),
    )
    app = composed(host)
    async with app.running():
        assert b"{'own': 1, 'sub': 2, 'spoken': 3}" == (await ask(app, "/state")).body
        assert b"{'mine': 0, 'own': 1, 'sub': 2, 'spoken': 3}" == (await ask(app, "/state", state={"mine": 0})).body


class Attributed:
    """An app with an attribute that shows a lifespan."""

    on_startup = ()

    def __init__(self, app):
        self._app = app

    async def __call__(self, scope, receive, send):
        await self._app(scope, receive, send)


async def test_of_two_values_the_outer_apps_is_kept(lives):
    """The outer app's value counts, and a warning names both, since the other app expects another value."""
    host = Starlette(
        routes=[
            HERE,
            Mount("/a", Starlette(lifespan=lives.of("a", {"pool": "a", "x": "a"}))),
            Mount("/b", Starlette(lifespan=lives.of("b", {"x": "b"}))),
        ],
        lifespan=lives.of("host", {"pool": "host"}),
    )
    app = composed(host)
    async with app.running():
        assert b"{'pool': 'host', 'x': 'a'}" == (await ask(app, "/state")).body
    assert [
        "the lifespans 'host' and 'host.a' both yield the state 'pool'; requests see the first one's",
        "the lifespans 'host.a' and 'host.b' both yield the state 'x'; requests see the first one's",
    ] == warned(app)


async def test_state_of_an_earlier_run():
    """The values of an earlier run are forgotten."""
    values = iter([{"first": 1}, {"second": 2}])

    @asynccontextmanager
    async def own(app):
        yield next(values)

    app = composed(Starlette(routes=[HERE], lifespan=own))
    for expected in (b"{'first': 1}", b"{'second': 2}"):
        async with app.running():
            assert expected == (await ask(app, "/state")).body


def inner_app(lives, **settings):
    @lifespan(band=LifespanBand.PERSISTENCE)
    async def database(context: Context):
        lives.trace.append("inner up")
        context.add_probe("inner database", functools.partial(answer, lives), timeout=1)
        context.on_drain(functools.partial(note, lives, "inner drains"))
        yield
        lives.trace.append("inner down")

    host = Starlette(routes=[HERE], lifespan=lives.of("inner host", {"inner": 1}))
    return create_app(host, contributions=[database], discover=False, settings=KernelSettings(**settings))


async def answer(lives):
    if "broken" in lives.trace:
        raise OSError


async def note(lives, line):
    lives.trace.append(line)


@pytest.mark.parametrize("wrapper", [lambda app: app, CORSMiddleware])
async def test_an_application_mounted_in_another_lives_once(lives, wrapper):
    """The inner application starts after the outer host, and inner requests see the inner state."""
    inner = wrapper(inner_app(lives))
    app = composed(Starlette(routes=[Mount("/inner", inner), Mount("/again", inner)], lifespan=lives.of("outer")))
    assert ["host", "host.inner"] == names(app)
    async with app.running():
        assert (200, b"{'inner': 1}") == (
            (await ask(app, "/inner/state")).status,
            (await ask(app, "/inner/state")).body,
        )
        assert 200 == (await ask(app, "/again/state")).status
        assert 200 == (await ask(app, "/inner/livez")).status
    assert ["outer up", "inner up", "inner host up", "inner host down", "inner down", "outer down"] == [
        line for line in lives.trace if not line.endswith("drains")
    ]
    assert [] == warned(app)


async def test_the_outer_application_is_ready_when_the_inner_is(lives):
    """The outer application is ready only if the inner one is, and drains the inner one."""
    app = composed(Starlette(routes=[Mount("/inner", inner_app(lives))]))
    async with app.running():
        assert "pass" == (await app.ready()).status
        lives.trace.append("broken")
        await anyio.sleep(3)
        assert [("host.inner", "fail", "NotReadyError")] == [
            (check.name, check.status, check.reason) for check in (await app.ready()).checks
        ]
        await app.drain()
        assert 503 == (await ask(app, "/inner/state")).status
    assert "inner drains" in lives.trace


async def test_an_application_around_another_is_its_lifespan(lives):
    """An application may be the host of another; the outer one runs the inner one."""
    app = composed(inner_app(lives))
    async with app.running():
        assert 200 == (await ask(app, "/state")).status
    assert ["inner up", "inner host up", "inner host down", "inner down"] == lives.trace
