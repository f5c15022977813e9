"""Tests of bandmaster.kernel.hosting.frameworks: each internal that hosting depends on is still there.

A failure here after an upgrade names the internal, and the behaviour that breaks.
"""

import functools
import warnings
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import Host, Mount, Route, Router
from tests.kernel.asking import ask
from tests.kernel.hosting.apps import bare, failing, handling, page, read_failed

from bandmaster.kernel.hosting import frameworks


@asynccontextmanager
async def own(app):
    yield


@pytest.mark.parametrize("kind", [Starlette, FastAPI, Router, APIRouter])
def test_lifespan_context(kind):
    """Starlette's Router keeps the lifespan in lifespan_context."""
    app = kind(lifespan=own)
    router = frameworks.find_router(app)
    broken = f"{kind.__name__}: router.lifespan_context is gone: lifespans of hosts and mounted apps aren't started"
    assert router is not None, broken
    assert frameworks.includes_lifespan(router.lifespan_context, own), broken


def test_apps_without_a_router():
    """Other apps have no router; their lifespans run by the protocol."""
    assert frameworks.find_router(bare) is None


@pytest.mark.parametrize("kind", [Starlette, FastAPI, Router, APIRouter])
def test_default_lifespan(kind):
    """The class _DefaultLifespan means that there is no lifespan."""
    router = frameworks.find_router(kind())
    assert not frameworks.has_lifespan(router), (
        f"{kind.__name__}: the class _DefaultLifespan is gone: mounted apps without a lifespan become components"
    )
    assert frameworks.has_lifespan(frameworks.find_router(kind(lifespan=own)))


@pytest.mark.parametrize(("inner", "expected"), [({}, False), ({"lifespan": own}, True)])
def test_a_default_lifespan_in_a_merged_one(inner, expected):
    """An included router makes FastAPI merge lifespans, also where neither the app nor the router has one."""
    host = FastAPI()
    host.include_router(APIRouter(**inner))
    assert frameworks.has_lifespan(host.router) is expected, (
        "FastAPI's _merge_lifespan_context is another function: hosts with routers are taken for hosts with a lifespan"
    )


@pytest.mark.parametrize("event", ["on_startup", "on_shutdown"])
def test_event_handlers(event):
    """FastAPI's router has lists of event handlers, which are a lifespan, too."""
    router = APIRouter(**{event: [print]})
    assert frameworks.has_lifespan(router), f"APIRouter.{event} is gone: event handlers of mounted routers don't run"


def test_merged_lifespan():
    """FastAPI merges the lifespans of included routers into the app's, in the variables of a function."""
    host, router = FastAPI(lifespan=own), APIRouter(lifespan=asynccontextmanager(own.__wrapped__))
    host.include_router(router)
    for lifespan in (own, router.lifespan_context):
        assert frameworks.includes_lifespan(host.router.lifespan_context, lifespan), (
            "FastAPI's merged_lifespan keeps lifespans elsewhere: those that a host merges are started twice"
        )
    assert not frameworks.includes_lifespan(host.router.lifespan_context, asynccontextmanager(own.__wrapped__))


def test_combined_lifespans():
    """A lifespan is found in partials, in the variables of functions and in tuples; empty variables do no harm."""

    def combine(*lifespans):
        @asynccontextmanager
        async def combined(app):
            async with AsyncExitStack() as stack:
                for lifespan in lifespans:
                    await stack.enter_async_context(lifespan(app))
                yield [] and never

        if not lifespans:
            never = None  # so that there is a variable without a value
        return combined

    class Library:
        def lifespan(self, app):
            raise NotImplementedError

    library = Library()
    assert frameworks.includes_lifespan(combine(print, own), own)
    assert frameworks.includes_lifespan(functools.partial(print, own), own)
    assert frameworks.includes_lifespan(library.lifespan, library.lifespan)
    assert not frameworks.includes_lifespan(library.lifespan, Library().lifespan)
    assert not frameworks.includes_lifespan(combine(print), own)


@pytest.mark.parametrize("kind", [Starlette, FastAPI])
@pytest.mark.anyio
async def test_lifespan_guard(kind):
    """A lifespan is entered through lifespan_context once, and the original is put back at the end."""
    entered = []

    @asynccontextmanager
    async def recorded(app):
        entered.append(app)
        yield

    sub = kind(lifespan=recorded)
    guard = frameworks.LifespanGuard([sub.router])
    for _ in range(2):
        async with sub.router.lifespan_context(sub):
            pass
    assert [sub] == entered, "lifespan_context can't be replaced: mounted apps are started twice"
    assert guard.has_entered(sub.router)
    wrapped = sub.router.lifespan_context
    guard.end()
    assert sub.router.lifespan_context is recorded
    async with wrapped(sub):  # by somebody who has kept the replacement
        pass
    assert [sub, sub] == entered


@pytest.mark.anyio
async def test_lifespan_guard_of_event_handlers():
    """FastAPI's routers run their handlers in _startup, which programs call for mounted apps."""
    sub, called = FastAPI(), []
    sub.router.add_event_handler("startup", lambda: called.append(1))
    guard = frameworks.LifespanGuard([sub.router])
    for _ in range(2):
        await sub.router._startup()
    assert guard.has_entered(sub.router), "router._startup is gone: handlers that the host calls run twice"
    assert [1, 1] == called  # the host's own calls are the host's business
    async with sub.router.lifespan_context(sub):
        pass
    guard.end()
    assert [1, 1] == called
    assert "_startup" not in vars(sub.router)


def test_mount():
    """Mount keeps the app in _base_app, and the middleware in app; Host has no middleware."""
    app = Starlette()
    mount = Mount("/", app, middleware=[Middleware(GZipMiddleware)])
    assert frameworks.get_mounted_app(mount) is app, "Mount._base_app is gone: apps behind its middleware aren't found"
    assert frameworks.get_mounted_app(Host("example.org", app)) is app
    assert frameworks.get_mounted_app(Route("/", page(""))) is None


def test_included_router():
    """FastAPI keeps an included router as one route, with original_router and include_context.prefix."""
    host, router = FastAPI(), APIRouter()
    router.mount("/sub", Starlette())
    host.include_router(router, prefix="/api")
    included = [found for route in host.routes if (found := frameworks.get_included_router(route)) is not None]
    assert [(router, "/api")] == included, (
        "FastAPI's _IncludedRouter has no original_router or include_context.prefix: apps mounted in an included "
        "router aren't found, and their lifespans aren't started"
    )
    assert frameworks.get_included_router(Route("/", page(""))) is None


@pytest.mark.parametrize(
    ("route", "expected"),
    [
        (Mount("/", bare), True),
        (Route("/{path:path}", page("")), True),
        (Mount("/api", bare), False),
        (Route("/{name}", page("")), False),
        (Host("example.org", bare), False),
    ],
)
def test_path_regex(route, expected):
    """Routes and mounts have path_regex, which shows whether a later route can be reached."""
    assert frameworks.matches_every_path(route) is expected, (
        "path_regex is gone: contributed routes come after a front end at the root, and are never reached"
    )


def test_include_router():
    """FastAPI appends an included router to router.routes, where the new routes can be taken off."""
    host, router = FastAPI(), APIRouter()
    router.get("/hello")(lambda: None)
    before = list(host.router.routes)
    added = frameworks.include_router(host, router, prefix="/api", tags=("a",))
    assert (before, True) == (host.router.routes, bool(added)), (
        "include_router() adds routes elsewhere: a contributed router comes after a front end at the root"
    )


@pytest.mark.parametrize("kind", [Starlette, FastAPI])
@pytest.mark.anyio
async def test_exception_handlers(kind):
    """A handler is found in exception_handlers, and a new one works after middleware_stack was built."""
    app = kind()
    app.router.routes.append(Route("/", failing(KeyError())))
    assert frameworks.find_exception_handler(app, KeyError) is None
    with pytest.raises(KeyError):
        await ask(app)
    handler = handling("handled")
    frameworks.set_exception_handler(app, KeyError, handler)
    assert frameworks.find_exception_handler(app, KeyError) is handler
    assert 500 == (await ask(app)).status, "middleware_stack is built elsewhere: later error handlers don't answer"


@pytest.mark.parametrize("kind", [Starlette, FastAPI])
@pytest.mark.anyio
async def test_one_place_for_what_nobody_handles(kind):
    """Of a handler for status 500 and one for Exception the later counts, and a new one takes the place of both."""
    early, late = handling("early"), handling("late")
    app = kind(exception_handlers={Exception: early, 500: late})
    app.router.routes.append(Route("/", failing(KeyError())))
    assert late is frameworks.find_exception_handler(app, Exception)
    assert late is frameworks.find_exception_handler(app, 500)
    assert b"late" == await read_failed(app, "/"), "the order of exception_handlers doesn't decide"
    frameworks.set_exception_handler(app, Exception, early)
    assert b"early" == await read_failed(app, "/")
    assert {Exception} == {500, Exception} & set(frameworks.list_exceptions(app))


def test_default_handlers():
    """The handlers that FastAPI brings are functions of its own modules."""
    app = FastAPI()
    for exception in (HTTPException, RequestValidationError):
        handler = frameworks.find_exception_handler(app, exception)
        assert handler is not None, f"FastAPI has no default handler for {exception.__name__} in exception_handlers"
        assert frameworks.is_default_handler(handler), (
            f"FastAPI's default handler for {exception.__name__} is of another module: contributed ones give way to it"
        )
    assert not frameworks.is_default_handler(handling(""))


def test_openapi_info():
    """FastAPI keeps the generated document in openapi_schema, with title and version in info."""
    app = FastAPI(title="Old", version="1")
    app.openapi()
    frameworks.set_openapi_info(app, title="New", version="2")
    info = app.openapi()["info"]
    assert ("New", "2") == (info["title"], info["version"]), "openapi_schema is gone: an old document keeps its title"
    other = Starlette()
    frameworks.set_openapi_info(other, title="New")
    assert not hasattr(other, "title")


@pytest.mark.parametrize("kind", [Starlette, FastAPI])
def test_middleware_of_an_app(kind):
    """Both frameworks keep the list of an app's own middleware in user_middleware."""
    app = kind()
    assert not frameworks.has_middleware(app, app.router)
    app.add_middleware(GZipMiddleware)
    assert frameworks.has_middleware(app, app.router), "user_middleware is gone: contributed apps lose their middleware"


def test_middleware_of_a_router():
    """A router's middleware_stack is its method app, unless there is middleware."""
    for plain in (Router(), APIRouter()):
        assert not frameworks.has_middleware(plain, plain), "routers without middleware are mounted as a whole"
    router = Router(middleware=[Middleware(GZipMiddleware)])
    assert frameworks.has_middleware(router, router), "middleware_stack is gone: contributed routers lose middleware"


def test_root_path():
    """FastAPI sets the argument root_path in the scope in place of the server's, also behind middleware."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer versions warn of the argument
        app = FastAPI(root_path="/api")
    lost = "root_path is gone: layers would compare another path than the one that the routes match"
    assert "/api" == frameworks.find_root_path(app) == frameworks.find_root_path(GZipMiddleware(app)), lost
    for other in (FastAPI(), Starlette(), Router(), bare):
        assert "" == frameworks.find_root_path(other)
