"""Tests of bandmaster.kernel.hosting.mounted."""

import functools
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from fastapi import APIRouter, FastAPI
from litestar import Litestar
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
    """A lifespan that the host assigns while it starts is kept."""
    sub, new = Starlette(lifespan=lives.of("old")), lives.of("new")

    @asynccontextmanager
    async def own(app):
        sub.router.lifespan_context = new
        yield

    await ran(Starlette(routes=[Mount("/sub", sub)], lifespan=own))
    assert (new, ["new up", "new down"]) == (sub.router.lifespan_context, lives.trace)
