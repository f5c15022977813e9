"""Tests of bandmaster.kernel.hosting.lifespans."""

import functools
from contextlib import AsyncExitStack, asynccontextmanager

import anyio
import pytest
from fastapi import APIRouter, FastAPI
from litestar import Litestar, get
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Host, Mount, Route, Router
from starlette.staticfiles import StaticFiles
from tests.kernel.asking import ask
from tests.kernel.virtual import anyio_backend  # noqa: F401

from bandmaster.kernel import events
from bandmaster.kernel.contributions.bands import LifespanBand
from bandmaster.kernel.contributions.decorators import lifespan
from bandmaster.kernel.contributions.model import RouteContribution
from bandmaster.kernel.errors import CrashError, StartError, StopError
from bandmaster.kernel.hosting.application import create_app
from bandmaster.kernel.lifecycle.context import Context
from bandmaster.kernel.settings.kernel import KernelSettings

pytestmark = pytest.mark.anyio


class Lives:
    """Lifespans that write down what happens to them."""

    def __init__(self):
        self.trace = []

    def of(self, name, yielded=None, fail=None):
        @asynccontextmanager
        async def lifespan(app):
            self.trace.append(f"{name} up")
            if fail == "start":
                raise OSError(name)
            yield yielded
            if fail == "stop":
                raise OSError(name)
            self.trace.append(f"{name} down")

        return lifespan


@pytest.fixture
def lives():
    return Lives()


async def endpoint(request):
    return PlainTextResponse(repr({key: value for key, value in request.state._state.items() if key not in OURS}))


OURS = ("resources", "drain")
HERE = Route("/state", endpoint)


def composed(host, *contributions, **settings):
    told = []
    app = create_app(
        host, contributions=contributions, discover=False, settings=KernelSettings(**settings), listeners=[told.append]
    )
    app.told = told
    return app


async def ran(host, *contributions, **settings):
    app = composed(host, *contributions, **settings)
    async with app.running():
        pass
    return app


def names(app):
    return [component.name for component in app.plan.components]


def warned(app):
    return [event.message for event in app.told if isinstance(event, events.Warned)]


# -- the host's own ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Starlette, FastAPI, Router])
async def test_the_hosts_lifespan_runs_last(lives, kind):
    """It may use everything, so it starts after all other components, and stops before them."""

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
    """It has a component all the same, for routers that are included later may bring one."""
    assert ["host"] == names(await ran(Starlette()))


async def test_no_host_has_no_lifespan():
    """What is made here has nothing to start."""
    assert [] == names(await ran(None))


async def test_a_litestar_host_lives(lives):
    """By the protocol, with what its lifespan raises."""

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


async def test_a_litestar_host_that_fails_tells_of_what():
    """The exception itself, and not the traceback that Litestar sends."""

    @asynccontextmanager
    async def own(app):
        raise OSError("no database")
        yield

    with pytest.raises(StartError) as raised:
        await ran(Litestar([], lifespan=[own], openapi_config=None))
    assert ("host", "no database") == (raised.value.component, str(raised.value.__cause__))


async def test_a_callable_speaks_the_protocol(lives):
    """A bare ASGI app has its lifespan run as a server would."""

    async def bare(scope, receive, send):
        lives.trace.append((await receive())["type"])
        scope["state"]["pool"] = 1
        await send({"type": "lifespan.startup.complete"})
        lives.trace.append((await receive())["type"])
        await send({"type": "lifespan.shutdown.complete"})

    await ran(bare)
    assert ["lifespan.startup", "lifespan.shutdown"] == lives.trace


async def test_a_callable_without_a_lifespan_is_served():
    """Many have none."""

    async def bare(scope, receive, send):
        assert scope["type"] == "http"
        await PlainTextResponse("hello")(scope, receive, send)

    app = composed(bare)
    async with app.running():
        assert b"hello" == (await ask(app)).body


@pytest.mark.parametrize("phase", ["start", "stop"])
@pytest.mark.parametrize("kind", [Starlette, FastAPI])
async def test_a_failing_lifespan_is_the_cause(lives, kind, phase):
    """The error itself, and whose it is."""
    with pytest.raises((StartError, StopError)) as raised:
        await ran(kind(lifespan=lives.of("host", fail=phase)))
    cause = raised.value.__cause__ if phase == "start" else raised.value.exceptions[0]
    assert (OSError, "host") == (type(cause), str(cause))


async def test_a_lifespan_may_hold_a_task_group():
    """What dies in it while serving is a crash of the host, with its cause."""

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
    assert "gone" == str(raised.value.__cause__.exceptions[0])


async def test_a_callable_that_dies_while_serving_is_a_crash():
    """With what it raised as the cause."""

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
    """A host is often finished only after the application was made around it."""
    host = FastAPI(lifespan=lives.of("host"))
    app = composed(host)
    host.include_router(APIRouter(lifespan=lives.of("router")))
    async with app.running():
        pass
    assert ["host up", "router up", "router down", "host down"] == lives.trace


async def test_a_wrapped_host_lives(lives):
    """Through its wrapper, as a server would do it, with what is mounted in it."""
    inner = Starlette(routes=[Mount("/sub", Starlette(lifespan=lives.of("sub")))], lifespan=lives.of("host"))
    app = await ran(GZipMiddleware(CORSMiddleware(inner)))
    assert ["host", "host.sub"] == names(app)
    assert ["host up", "sub up", "sub down", "host down"] == lives.trace


async def test_a_wrapper_that_chokes_on_the_lifespan_is_an_error(lives):
    """It would switch off the lifespan of everything that it wraps, and nobody would know."""

    class Chokes:
        def __init__(self, app):
            self.app = app

        async def __call__(self, scope, receive, send):
            print(scope["path"])

    with pytest.raises(StartError) as raised:
        await ran(Chokes(Starlette(lifespan=lives.of("host"))))
    assert isinstance(raised.value.__cause__, KeyError)


async def test_a_wrapper_of_itself_is_no_trap():
    """The look inside ends."""

    class Round:
        async def __call__(self, scope, receive, send):
            raise AssertionError

    host = Round()
    host.app = host
    assert ["host"] == names(await ran(host))


# -- what is mounted -----------------------------------------------------------------------------------------------


async def test_mounted_apps_live_once_each(lives):
    """Mounted twice, nested, by host name, as FastAPI's sub-application, behind middleware: each is started once."""
    twice = Starlette(lifespan=lives.of("twice"))
    inner = Starlette(lifespan=lives.of("inner"))
    host = FastAPI(lifespan=lives.of("host"))
    host.mount("/one", twice)
    host.mount("/two", twice)
    host.mount("/outer", Starlette(routes=[Mount("/inner", inner)]))
    host.mount("/fast", FastAPI(lifespan=lives.of("fast")))
    host.mount("/static", StaticFiles(directory="."))
    host.router.routes += [
        Host("api.example.org", Starlette(lifespan=lives.of("by name"))),
        Mount("/behind", Starlette(lifespan=lives.of("behind")), middleware=[Middleware(GZipMiddleware)]),
        Mount("/wrapped", CORSMiddleware(Starlette(lifespan=lives.of("wrapped")))),
        Mount("/routes", routes=[Mount("/deep", Starlette(lifespan=lives.of("deep")))]),
    ]
    app = await ran(host)
    assert [
        "host",
        "host.api.example.org",
        "host.behind",
        "host.fast",
        "host.one",
        "host.outer.inner",
        "host.routes.deep",
        "host.wrapped",
    ] == names(app)
    started = [line for line in lives.trace if line.endswith("up")]
    assert sorted(
        f"{name} up" for name in ("host", "twice", "inner", "fast", "by name", "behind", "wrapped", "deep")
    ) == sorted(started)
    assert ("host up", "host down", 16) == (lives.trace[0], lives.trace[-1], len(lives.trace))
    assert [] == warned(app)


async def test_a_setting_leaves_mounted_apps_alone(lives):
    """For hosts that start them in ways that can't be seen."""
    host = Starlette(routes=[Mount("/sub", Starlette(lifespan=lives.of("sub")))], lifespan=lives.of("host"))
    app = await ran(host, mounted_lifespans=False)
    assert (["host up", "host down"], []) == (lives.trace, warned(app))


async def test_one_mounted_app_can_be_left_alone(lives):
    """By its name, like any component."""
    subs = [Mount("/a", Starlette(lifespan=lives.of("a"))), Mount("/b", Starlette(lifespan=lives.of("b")))]
    app = await ran(Starlette(routes=subs), disable={"host.a"})
    assert (["b up", "b down"], []) == (lives.trace, warned(app))


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        (["/a-b", "/a/b", "/a_b"], ["host.a.b", "host.a.b-2", "host.a.b-3"]),
        (["/"], ["host.root"]),
        (["/ä/{tenant}"], ["host.tenant"]),
    ],
)
async def test_places_become_names(lives, places, expected):
    """Unique ones, of letters that names may have."""
    host = Starlette(routes=[Mount(place, Starlette(lifespan=lives.of(place))) for place in places])
    assert ["host", *expected] == names(await ran(host))
    assert 2 * len(places) == len(lives.trace)


async def test_apps_mounted_in_an_included_router_live(lives):
    """FastAPI keeps included routers as they are."""
    router = APIRouter()
    router.mount("/sub", Starlette(lifespan=lives.of("sub")))
    host = FastAPI()
    host.include_router(router, prefix="/api")
    assert ["host", "host.api.sub"] == names(await ran(host))
    assert ["sub up", "sub down"] == lives.trace


async def test_litestar_and_others_that_show_a_lifespan_live_when_mounted(lives):
    """They are spoken to by the protocol."""

    async def up() -> None:
        lives.trace.append("up")

    host = Starlette(routes=[Mount("/sub", Litestar([], on_startup=[up], openapi_config=None))])
    assert ["host", "host.sub"] == names(await ran(host))
    assert ["up"] == lives.trace


async def test_old_event_handlers_count_as_a_lifespan(lives):
    """FastAPI still has them."""
    router = APIRouter(on_startup=[lambda: lives.trace.append("up")], on_shutdown=[lambda: lives.trace.append("down")])
    await ran(Starlette(routes=[Mount("/sub", router)]))
    assert ["up", "down"] == lives.trace


async def test_an_app_mounted_in_itself_is_no_trap(lives):
    """The walk ends."""
    host = Starlette(lifespan=lives.of("host"))
    host.router.routes.append(Mount("/again", host))
    await ran(host)
    assert ["host up", "host down"] == lives.trace


# -- mounted apps that the host starts -----------------------------------------------------------------------------


class WithMethod:
    """A library whose lifespan is a method."""

    def __init__(self, lives):
        self.lives = lives

    @asynccontextmanager
    async def lifespan(self, app):
        self.lives.trace.append("sub up")
        yield
        self.lives.trace.append("sub down")


def handed_over(lives):
    sub = Starlette(lifespan=lives.of("sub"))
    return FastAPI(lifespan=sub.router.lifespan_context), sub


def handed_over_with_routers(lives):
    host, sub = handed_over(lives)
    host.include_router(APIRouter())
    host.include_router(APIRouter())
    return host, sub


def handed_over_as_a_method(lives):
    library = WithMethod(lives)
    return FastAPI(lifespan=library.lifespan), Starlette(lifespan=library.lifespan)


def combined(lives):
    sub = Starlette(lifespan=lives.of("sub"))

    def combine(*lifespans):
        @asynccontextmanager
        async def both(app):
            async with AsyncExitStack() as stack:
                for lifespan in lifespans:
                    await stack.enter_async_context(lifespan(app))
                yield [] and never

        if not lifespans:
            never = None  # so that there is a cell that holds nothing
        return both

    return FastAPI(lifespan=combine(lives.of("host"), sub.router.lifespan_context)), sub


def bound_by_partial(lives):
    sub = Starlette(lifespan=lives.of("sub"))

    @asynccontextmanager
    async def own(inner, app):
        async with inner(app):
            yield

    return FastAPI(lifespan=functools.partial(own, sub.router.lifespan_context)), sub


def entered_by_the_host(lives):
    apps = {}

    @asynccontextmanager
    async def own(app):
        async with apps["sub"].router.lifespan_context(apps["sub"]):
            yield

    apps["sub"] = Starlette(lifespan=lives.of("sub"))
    return Starlette(lifespan=own), apps["sub"]


def entered_behind_a_wrapper(lives):
    host, sub = entered_by_the_host(lives)
    host.router.routes.append(Mount("/sub", sub))
    return GZipMiddleware(host), sub


@pytest.mark.parametrize(
    "made",
    [
        handed_over,
        handed_over_with_routers,
        handed_over_as_a_method,
        combined,
        bound_by_partial,
        entered_by_the_host,
        entered_behind_a_wrapper,
    ],
)
async def test_a_mounted_app_that_the_host_starts_lives_once(lives, made):
    """Most servers start nothing else, so it is common; each run must start it, and once."""
    host, sub = made(lives)
    if hasattr(host, "mount"):
        host.mount("/sub", sub)
    theirs = sub.router.lifespan_context
    app = composed(host)
    for _ in range(2):
        async with app.running():
            pass
        assert ["sub up", "sub down"] == [line for line in lives.trace if line.startswith("sub")]
        lives.trace.clear()
    assert (True, []) == (theirs == sub.router.lifespan_context, warned(app))


async def test_two_mounted_apps_with_one_lifespan_are_two(lives):
    """A function that gets the app it is for may serve many."""
    shared = lives.of("sub")
    host = Starlette(routes=[Mount(f"/{number}", Starlette(lifespan=shared)) for number in range(2)])
    await ran(host)
    assert ["sub up", "sub up", "sub down", "sub down"] == lives.trace


async def test_a_host_that_fails_leaves_mounted_apps_as_they_were(lives):
    """Nothing keeps looking on after the failure."""

    @asynccontextmanager
    async def own(app):
        raise OSError
        yield

    sub = Starlette(lifespan=lives.of("sub"))
    theirs = sub.router.lifespan_context
    with pytest.raises(StartError):
        await ran(Starlette(routes=[Mount("/sub", sub)], lifespan=own))
    assert theirs is sub.router.lifespan_context


async def test_a_lifespan_that_is_replaced_meanwhile_stays_replaced(lives):
    """What a host does to its mounted apps while it starts is the host's."""
    sub, new = Starlette(lifespan=lives.of("old")), lives.of("new")

    @asynccontextmanager
    async def own(app):
        sub.router.lifespan_context = new
        yield

    await ran(Starlette(routes=[Mount("/sub", sub)], lifespan=own))
    assert (new, ["new up", "new down"]) == (sub.router.lifespan_context, lives.trace)


# -- warnings ------------------------------------------------------------------------------------------------------


async def test_an_app_that_is_mounted_too_late_is_told_of(lives):
    """Its lifespan isn't in the plan; it doesn't stay silent about that."""
    host = Starlette()
    app = composed(host)
    host.router.routes.append(Mount("/late", Starlette(lifespan=lives.of("late"))))
    async with app.running():
        pass
    (message,) = warned(app)
    assert (
        "the app mounted at '/late' has a lifespan that isn't started: it came after the plan was made. Mount it before "
        "create_app(), or contribute its lifespan"
    ) == message
    assert [] == lives.trace


@pytest.mark.parametrize("host", [None, Starlette])
async def test_an_app_that_is_contributed_is_told_of(lives, host):
    """Routes are contributed with the plan already made."""
    part = RouteContribution(name="sub", routes=[Mount("/sub", Starlette(lifespan=lives.of("sub")))])
    app = await ran(host and host(), part)
    assert ["the app mounted at '/sub' has"] == [message[:29] for message in warned(app)]


# -- state ---------------------------------------------------------------------------------------------------------


async def test_what_lifespans_yield_reaches_requests(lives):
    """The host's and those of mounted apps, by both ways of running them."""

    async def speaks(scope, receive, send):
        await receive()
        scope["state"]["spoken"] = 3
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

    speaks = Attributed(speaks)
    host = Starlette(
        routes=[HERE, Mount("/a", Starlette(lifespan=lives.of("a", {"sub": 2}))), Mount("/b", speaks)],
        lifespan=lives.of("host", {"own": 1}),
    )
    # Only what shows that it has a lifespan is spoken to.
    app = composed(host)
    async with app.running():
        assert b"{'own': 1, 'sub': 2, 'spoken': 3}" == (await ask(app, "/state")).body
        assert b"{'mine': 0, 'own': 1, 'sub': 2, 'spoken': 3}" == (await ask(app, "/state", state={"mine": 0})).body


class Attributed:
    """An app that shows that it has a lifespan."""

    on_startup = ()

    def __init__(self, app):
        self._app = app

    async def __call__(self, scope, receive, send):
        await self._app(scope, receive, send)


async def test_of_two_values_the_outer_apps_is_kept(lives):
    """And people are told, for the other app expects its own."""
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


async def test_state_is_of_one_run():
    """What a run has yielded is gone with it."""
    values = iter([{"first": 1}, {"second": 2}])

    @asynccontextmanager
    async def own(app):
        yield next(values)

    app = composed(Starlette(routes=[HERE], lifespan=own))
    for expected in (b"{'first': 1}", b"{'second': 2}"):
        async with app.running():
            assert expected == (await ask(app, "/state")).body


# -- an application in another -------------------------------------------------------------------------------------


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
    """Its own plan starts after the outer's, and its requests see its own state."""
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
    """One question for the whole process; one drain, too."""
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
    """Odd, but nothing forbids it."""
    app = composed(inner_app(lives))
    async with app.running():
        assert 200 == (await ask(app, "/state")).status
    assert ["inner up", "inner host up", "inner host down", "inner down"] == lives.trace
