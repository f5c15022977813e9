"""Tests of bandmaster.kernel.hosting.mounted."""

import functools
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from fastapi import APIRouter, FastAPI
from litestar import Litestar, asgi
from litestar.types import Receive, Scope, Send
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import Host, Mount
from starlette.staticfiles import StaticFiles
from tests.kernel.hosting.lives import composed, names, ran, warned
from tests.kernel.virtual import anyio_backend  # noqa: F401

from bandmaster.kernel.errors import StartError

pytestmark = pytest.mark.anyio


async def test_mounted_apps_live_once_each(lives):
    """An app mounted twice, nested, by host name, in FastAPI or behind middleware is started once."""
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
    """With mounted_lifespans off, mounted apps aren't started: a host may start them in another way."""
    host = Starlette(routes=[Mount("/sub", Starlette(lifespan=lives.of("sub")))], lifespan=lives.of("host"))
    app = await ran(host, mounted_lifespans=False)
    assert (["host up", "host down"], []) == (lives.trace, warned(app))


async def test_one_mounted_app_can_be_left_alone(lives):
    """One mounted app can be disabled by name, as every component."""
    subs = [Mount("/a", Starlette(lifespan=lives.of("a"))), Mount("/b", Starlette(lifespan=lives.of("b")))]
    app = await ran(Starlette(routes=subs), disable={"host.a"})
    assert (["b up", "b down"], []) == (lives.trace, warned(app))


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["/a-b", "/a/b", "/a_b"], ["host.a.b", "host.a.b-2", "host.a.b-3"]),
        (["/"], ["host.root"]),
        (["/ä/{tenant}"], ["host.tenant"]),
    ],
)
async def test_names_of_mounted_apps(lives, paths, expected):
    """Components get unique names, of letters that names may have."""
    host = Starlette(routes=[Mount(path, Starlette(lifespan=lives.of(path))) for path in paths])
    assert ["host", *expected] == names(await ran(host))
    assert 2 * len(paths) == len(lives.trace)


async def test_apps_mounted_in_an_included_router_live(lives):
    """An app mounted in an included FastAPI router is started."""
    router = APIRouter()
    router.mount("/sub", Starlette(lifespan=lives.of("sub")))
    host = FastAPI()
    host.include_router(router, prefix="/api")
    assert ["host", "host.api.sub"] == names(await ran(host))
    assert ["sub up", "sub down"] == lives.trace


async def test_a_mounted_litestar_app_lives(lives):
    """The lifespan of a mounted app of another framework, shown by an attribute, runs by the protocol."""

    async def up() -> None:
        lives.trace.append("up")

    host = Starlette(routes=[Mount("/sub", Litestar([], on_startup=[up], openapi_config=None))])
    assert ["host", "host.sub"] == names(await ran(host))
    assert ["up"] == lives.trace


async def test_old_event_handlers_count_as_a_lifespan(lives):
    """FastAPI's on_startup and on_shutdown handlers count as a lifespan."""
    router = APIRouter(on_startup=[lambda: lives.trace.append("up")], on_shutdown=[lambda: lives.trace.append("down")])
    await ran(Starlette(routes=[Mount("/sub", router)]))
    assert ["up", "down"] == lives.trace


async def test_an_app_mounted_in_itself(lives):
    """The search for mounted apps ends, also in a circle."""
    host = Starlette(lifespan=lives.of("host"))
    host.router.routes.append(Mount("/again", host))
    await ran(host)
    assert ["host up", "host down"] == lives.trace


class WithMethod:
    """A library with a lifespan that is a method."""

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
    """A host can start a mounted app in several ways; each run starts the app exactly once."""
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
    """One lifespan function, given to two mounted apps, runs for each of them."""
    shared = lives.of("sub")
    host = Starlette(routes=[Mount(f"/{number}", Starlette(lifespan=shared)) for number in range(2)])
    await ran(host)
    assert ["sub up", "sub up", "sub down", "sub down"] == lives.trace


async def test_a_host_that_fails_leaves_mounted_apps_unchanged(lives):
    """After a failed start the mounted apps have their own lifespans back."""

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
    """A lifespan that the host assigns during the start is kept."""
    sub, new = Starlette(lifespan=lives.of("old")), lives.of("new")

    @asynccontextmanager
    async def own(app):
        sub.router.lifespan_context = new
        yield

    await ran(Starlette(routes=[Mount("/sub", sub)], lifespan=own))
    assert (new, ["new up", "new down"]) == (sub.router.lifespan_context, lives.trace)


class PassingOn:
    """A mounted app that passes other requests and the lifespan on to another app, as python-socketio's does."""

    def __init__(self, other, on_startup=None):
        self.other_asgi_app = other
        self.on_startup = on_startup
        self.on_shutdown = None

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan" and self.on_startup is not None:
            await receive()
            self.on_startup()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
        else:
            await self.other_asgi_app(scope, receive, send)


@pytest.mark.parametrize("wrap", [lambda app: app, GZipMiddleware])
async def test_a_mounted_app_that_leads_back_to_the_host(lives, wrap):
    """A mounted app that only passes the lifespan on to the host isn't started, so that the host starts once."""
    host = FastAPI(lifespan=lives.of("host"))
    host.mount("/", PassingOn(wrap(host)))
    assert ["host"] == names(await ran(host))
    assert ["host up", "host down"] == lives.trace


async def test_a_mounted_app_that_leads_back_and_has_a_start_of_its_own(lives):
    """A start of the mounted app's own runs, and doesn't reach the host."""
    host = FastAPI(lifespan=lives.of("host"))
    host.mount("/", PassingOn(host, on_startup=lambda: lives.trace.append("sub up")))
    await ran(host)
    assert ["host up", "sub up", "host down"] == lives.trace


async def test_a_mounted_app_that_hides_the_way_back(lives):
    """The host's lifespan is entered once, also where a mounted app hides the way back."""
    host = FastAPI(lifespan=lives.of("host"))
    apps = [host]

    class Hiding(PassingOn):
        async def __call__(self, scope, receive, send):
            await apps[0](scope, receive, send)

    host.mount("/", Hiding(None))
    await ran(host)
    assert ["host up", "host down"] == lives.trace


async def test_a_mounted_app_that_passes_on_to_another(lives):
    """The lifespan of an app behind a mounted one runs, through that one."""
    host = FastAPI(lifespan=lives.of("host"))
    host.mount("/", PassingOn(Starlette(lifespan=lives.of("other"))))
    await ran(host)
    assert ["host up", "other up", "other down", "host down"] == lives.trace


async def test_a_wrapped_host_that_is_mounted_in_itself(lives):
    """The search for mounted apps ends, also in a circle with a wrapper in it."""
    host = Starlette(lifespan=lives.of("host"))
    host.router.routes.append(Mount("/again", GZipMiddleware(host)))
    assert ["host"] == names(await ran(host))


async def test_an_app_that_is_mounted_plain_and_wrapped_lives_once(lives):
    """A wrapper makes no second app of the wrapped one."""
    sub = Starlette(lifespan=lives.of("sub"))
    await ran(Starlette(routes=[Mount("/plain", sub), Mount("/wrapped", GZipMiddleware(sub))]))
    assert ["sub up", "sub down"] == lives.trace


async def test_a_starlette_app_mounted_in_litestar_lives(lives):
    """An app that Litestar mounts itself is found and started; one that a function calls is told."""
    started, called = Starlette(lifespan=lives.of("started")), Starlette(lifespan=lives.of("called"))

    @asgi("/called", is_mount=True, copy_scope=True)
    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        await called(scope, receive, send)

    mounted = asgi("/started", is_mount=True, copy_scope=True)(started)
    app = await ran(Litestar([mounted, call], openapi_config=None))
    assert (["host", "host.started"], ["started up", "started down"]) == (names(app), lives.trace)
    (message,) = app.warnings
    assert (
        "the app mounted at '/called' calls a Starlette app with a lifespan, which isn't run: only apps that are "
        "mounted themselves are started. Unless the host's own lifespan starts the app, mount it without the function "
        "or object around it, or contribute its lifespan"
    ) == message


class Hidden:
    """A wrapper that keeps the app under a name that nobody knows."""

    def __init__(self, app):
        self._inside = app

    async def __call__(self, scope, receive, send):
        await self._inside(scope, receive, send)


class Unbound:
    """A proxy of something that isn't there yet."""

    def __call__(self):
        raise AssertionError

    def __getattr__(self, name):
        raise RuntimeError("not bound")


async def test_an_app_that_a_mounted_wrapper_hides_is_told(lives):
    """A warning of the plan names the mount; with mounted_lifespans off nothing is told."""
    sub = Starlette(lifespan=lives.of("sub"))
    hidden = Hidden(sub)
    hidden.proxy = Unbound()
    hidden.plain = Starlette()
    host = Starlette(routes=[Mount("/sub", hidden), Mount("/again", hidden)])
    app = await ran(host)
    assert (1, app.warnings, []) == (len(app.warnings), warned(app), lives.trace)
    assert "mounted at '/sub' calls a Starlette app" in app.warnings[0]
    assert [] == composed(host, mounted_lifespans=False).warnings


async def test_a_hidden_app_that_the_host_starts_is_not_told(lives):
    """The host's lifespan names the app, so nobody needs a warning."""
    sub = Starlette(lifespan=lives.of("sub"))

    @asynccontextmanager
    async def own(host):
        async with sub.router.lifespan_context(sub):
            yield

    app = await ran(Starlette(routes=[Mount("/sub", Hidden(sub))], lifespan=own))
    assert ([], ["sub up", "sub down"]) == (app.warnings, lives.trace)


async def test_an_application_that_the_host_starts_itself_lives_once(lives):
    """An application of bandmaster's own may be entered by the host's lifespan, which is watched all the same."""
    inner = composed(Starlette(lifespan=lives.of("inner")))

    @asynccontextmanager
    async def own(host):
        async with inner.running():
            yield

    app = composed(Starlette(routes=[Mount("/inner", inner)], lifespan=own))
    async with app.running():
        assert "pass" == (await app.ready()).status
    assert ["inner up", "inner down"] == lives.trace
