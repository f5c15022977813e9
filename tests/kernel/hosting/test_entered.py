"""Tests of bandmaster.kernel.hosting.entered: a mounted app that the host starts in any way lives once."""

import functools
import sys
from contextlib import AsyncExitStack, asynccontextmanager

import anyio
import pytest
from asgi_lifespan import LifespanManager
from fastapi import FastAPI
from litestar import Litestar
from starlette.applications import Starlette
from starlette.routing import Mount
from tests.kernel.hosting.lives import composed, warned
from tests.kernel.virtual import anyio_backend  # noqa: F401

from bandmaster.kernel import events
from bandmaster.kernel.errors import StartError
from bandmaster.kernel.hosting.entered import AsyncGeneratorWatch

pytestmark = pytest.mark.anyio


class Pool:
    """An object that lifespans open, in all the ways that such objects have."""

    def __init__(self):
        self.opened = 0

    @asynccontextmanager
    async def run(self, name="main"):
        self.opened += 1
        yield self

    async def connect(self):
        self.opened += 1

    async def __aenter__(self):
        self.opened += 1

    async def __aexit__(self, *error):
        pass

    @property
    def inner(self):
        raise AssertionError("a property was read")


class Scheduler:
    """An object that is started without waiting, as many schedulers are, and once only."""

    started = False

    def start(self):
        if self.started:
            raise RuntimeError("can only be started once")
        self.started = True


pool = Pool()
other_pool = Pool()
holder = type("Holder", (), {})()
holder.clients = type("Clients", (), {})()
holder.clients.pool = pool


@pytest.fixture(autouse=True)
def closed():
    pool.opened = other_pool.opened = 0


async def connect_all():
    pool.opened += 1


def count_up():
    pool.opened += 1


@asynccontextmanager
async def open_with(target):
    target.opened += 1
    yield


@asynccontextmanager
async def run_pool(app):
    async with pool.run():
        yield


@asynccontextmanager
async def connect_pool(app):
    await pool.connect()
    yield


@asynccontextmanager
async def hold_pool(app):
    async with pool:
        yield


@asynccontextmanager
async def call_function(app):
    await connect_all()
    yield


@asynccontextmanager
async def follow_attributes(app):
    await holder.clients.pool.connect()
    yield


def by_the_function(sub):
    @asynccontextmanager
    async def own(host):
        async with run_pool(sub):
            yield

    return own


def by_the_function_with_the_host(sub):
    @asynccontextmanager
    async def own(host):
        async with run_pool(host):
            yield

    return own


def looked_up_earlier(sub):
    early = sub.router.lifespan_context

    class Own:
        def __init__(self, host):
            self.stack = AsyncExitStack()

        async def __aenter__(self):
            await self.stack.enter_async_context(early(sub))

        async def __aexit__(self, *error):
            await self.stack.aclose()

    return Own


def by_a_lifespan_manager(sub):
    @asynccontextmanager
    async def own(host):
        async with LifespanManager(sub):
            yield

    return own


def by_all_mounts(sub):
    @asynccontextmanager
    async def own(host):
        async with AsyncExitStack() as stack:
            for route in host.routes:
                if isinstance(route, Mount):
                    await stack.enter_async_context(route.app.router.lifespan_context(route.app))
            yield

    return own


def by_the_object(sub):
    @asynccontextmanager
    async def own(host):
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(pool.run())
            yield

    return own


async def connects(app):
    await pool.connect()
    yield


async def holds(app):
    async with pool:
        yield


async def calls(app):
    await connect_all()
    yield


async def follows(app):
    await holder.clients.pool.connect()
    yield


# Functions of hosts that do the work of the lifespans of mounted apps.
copies = {connect_pool: connects, hold_pool: holds, call_function: calls, follow_attributes: follows}

WAYS = [
    (run_pool, by_the_function),
    (run_pool, by_the_function_with_the_host),
    (run_pool, looked_up_earlier),
    (run_pool, by_a_lifespan_manager),
    (run_pool, by_all_mounts),
    (run_pool, by_the_object),
    (functools.partial(run_pool), by_the_object),
    (lambda app: pool.run(), by_the_object),
    *((lifespan, lambda _sub, copy=copy: asynccontextmanager(copy)) for lifespan, copy in copies.items()),
]


@pytest.mark.parametrize("kind", [Starlette, FastAPI])
@pytest.mark.parametrize(("theirs", "way"), WAYS)
async def test_a_mounted_app_that_the_host_starts_lives_once(theirs, way, kind):
    """Each run opens the pool once, and an event says that the app is left to the host."""
    sub = kind(lifespan=theirs)
    host = kind(lifespan=way(sub))
    host.mount("/sub", sub)
    app = composed(host)
    hooks = sys.get_asyncgen_hooks()
    for run in range(1, 3):
        async with app.running():
            assert run == pool.opened
    left = [event for event in app.seen if isinstance(event, events.MountedAppLeftToHost)]
    assert (["host.sub", "host.sub"], []) == ([event.component for event in left], warned(app))
    assert "the host's own lifespan" in left[0].reason
    assert hooks == sys.get_asyncgen_hooks()


@pytest.mark.parametrize("handler", [connect_all, count_up])
async def test_event_handlers_that_the_host_calls_run_once(handler):
    """A host may call the handlers of a mounted app's start, or the method that runs them."""

    async def by_name(sub):
        await connect_all()
        yield

    async def by_name_without_waiting(sub):
        count_up()
        yield

    async def by_the_router(host):
        await subs[-1].router._startup()
        yield

    subs = []
    for own in (by_name if handler is connect_all else by_name_without_waiting, by_the_router):
        sub = FastAPI()
        sub.router.add_event_handler("startup", handler)
        subs.append(sub)
        host = FastAPI(lifespan=asynccontextmanager(own))
        host.mount("/sub", sub)
        async with composed(host).running():
            pass
    assert len(subs) == pool.opened


async def test_a_litestar_app_that_the_host_starts_by_the_protocol(lives):
    """An app of another framework is known by the generator that is its own."""
    sub = Litestar([], lifespan=[lambda app: lives.of("sub")(app)], openapi_config=None)

    @asynccontextmanager
    async def own(host):
        async with LifespanManager(sub):
            yield

    async with composed(Starlette(routes=[Mount("/sub", sub)], lifespan=own)).running():
        pass
    assert ["sub up", "sub down"] == lives.trace


@asynccontextmanager
async def open_two(app):
    async with pool.run(), other_pool.run():
        yield


@pytest.mark.parametrize(("setting", "expected"), [("auto", (1, 0)), (True, (2, 1)), (False, (1, 0))])
async def test_an_app_of_which_the_host_starts_a_part(setting, expected):
    """Where nobody can know, the app isn't started, a warning names both remedies, and the setting decides."""
    host = Starlette(routes=[Mount("/sub", Starlette(lifespan=open_two))], lifespan=by_the_object(None))
    app = composed(host, mounted_lifespans=setting)
    async with app.running():
        assert expected == (pool.opened, other_pool.opened)
    if setting == "auto":
        (message,) = warned(app)
        assert (
            "the app mounted at '/sub' isn't started: the host's own lifespan has entered something that the app's "
            "lifespan enters as well. If the host starts the app, BANDMASTER_DISABLE=host.sub says so; otherwise "
            "BANDMASTER_MOUNTED_LIFESPANS=true starts it"
        ) == message
    else:
        assert [] == warned(app)


async def test_a_setting_starts_what_the_host_seems_to_start():
    """With mounted_lifespans on, an app is started although the host enters all that it enters."""
    host = Starlette(routes=[Mount("/sub", Starlette(lifespan=run_pool))], lifespan=by_the_object(None))
    async with composed(host, mounted_lifespans=True).running():
        assert 2 == pool.opened


@asynccontextmanager
async def open_another(app):
    async with open_with(other_pool):
        yield


@asynccontextmanager
async def sleep_and_open(app):
    await anyio.sleep(0)
    async with anyio.create_task_group():
        pool.opened += 1
        yield


@asynccontextmanager
async def sleep_and_open_another(app):
    await anyio.sleep(0)
    async with anyio.create_task_group():
        other_pool.opened += 1
        yield


def make_lifespan(target):
    @asynccontextmanager
    async def lifespan(app):
        target.opened += 1
        yield

    return lifespan


@asynccontextmanager
async def run_other_pool(app):
    async with other_pool.run():
        yield


@pytest.mark.parametrize(
    ("theirs", "hosts"),
    [
        (run_pool, run_other_pool),
        (make_lifespan(pool), make_lifespan(other_pool)),
        (lambda app: open_with(pool), open_another),
        (sleep_and_open, sleep_and_open_another),
    ],
    ids=["another object", "another closure", "another argument", "a library's functions"],
)
async def test_a_host_that_starts_something_alike(theirs, hosts):
    """The method of another object, or a function with another argument, makes another lifespan."""
    host = Starlette(routes=[Mount("/sub", Starlette(lifespan=theirs))], lifespan=hosts)
    async with composed(host).running():
        assert (1, 1) == (pool.opened, other_pool.opened)


async def test_one_of_two_apps_with_one_lifespan():
    """A host that starts one of two apps by the function that both have leaves the other one to the kernel."""
    shared = make_lifespan(pool)
    first, second = Starlette(lifespan=shared), Starlette(lifespan=shared)

    @asynccontextmanager
    async def own(host):
        async with both[0](first):
            yield

    both = [shared]
    app = composed(Starlette(routes=[Mount("/1", first), Mount("/2", second)], lifespan=own))
    async with app.running():
        assert 2 == pool.opened
    assert ["host.1"] == [event.component for event in app.seen if isinstance(event, events.MountedAppLeftToHost)]


async def test_a_failed_start_names_the_line_that_mends_it():
    """A host that starts an app in a way that nothing shows gets the remedy with the error of the second start."""

    @asynccontextmanager
    async def theirs(app):
        scheduler.start()
        yield

    @asynccontextmanager
    async def own(host):
        scheduler.start()
        yield

    scheduler = Scheduler()
    host = Starlette(routes=[Mount("/sub", Starlette(lifespan=theirs))], lifespan=own)
    with pytest.raises(StartError, match=r"host\.sub") as raised:
        async with composed(host).running():
            pytest.fail("served")
    assert (
        "if the host's own lifespan starts the app mounted at '/sub', leave that to the host: "
        "BANDMASTER_DISABLE=host.sub, or BANDMASTER_MOUNTED_LIFESPANS=false for every mounted app"
    ) in raised.value.__cause__.__notes__


class Library:
    """A library with lifespans that are methods, and functions that belong to the class."""

    opened = 0

    @classmethod
    async def open_all(cls):
        cls.opened += 1

    async def opening(self):
        self.opened += 1

    def lifespan(self, app):
        return pool.run()


@asynccontextmanager
async def open_library(app):
    await Library.open_all()
    yield


async def open_library_again(app):
    await Library.open_all()
    yield


library = Library()
opening = library.opening


@asynccontextmanager
async def open_by_the_method(app):
    await opening()
    yield


async def open_by_the_method_again(app):
    await opening()
    yield


@pytest.mark.parametrize(
    ("theirs", "own"),
    [
        (open_library, asynccontextmanager(open_library_again)),
        (open_by_the_method, asynccontextmanager(open_by_the_method_again)),
        (library.lifespan, by_the_object(None)),
    ],
    ids=["a method of a class", "a bound method", "a lifespan that is a method"],
)
async def test_methods_that_both_lifespans_call_are_called_once(theirs, own):
    """A method of a class, a bound method, and a lifespan that is a plain method are known by their owners."""
    Library.opened, library.opened = 0, 0
    app = composed(Starlette(routes=[Mount("/sub", Starlette(lifespan=theirs))], lifespan=own))
    async with app.running():
        assert 1 == Library.opened + library.opened + pool.opened


def test_a_watch_without_an_event_loop():
    """Where no event loop has a hook, none is called."""

    async def generator():
        yield 1

    with AsyncGeneratorWatch() as watch:
        begun = generator()
        with pytest.raises(StopIteration):
            begun.__anext__().send(None)
        assert [generator.__code__] == [opened.code for opened in watch.list_open()]
    with pytest.raises(StopIteration):
        begun.aclose().send(None)


async def test_two_watches_may_end_in_any_order():
    """Two hosts that start side by side in one thread leave the event loop's own hook in place."""

    async def generator():
        yield

    before = sys.get_asyncgen_hooks()
    first, second = AsyncGeneratorWatch(), AsyncGeneratorWatch()
    first.__enter__()
    second.__enter__()
    seen = generator()
    await anext(seen)
    assert 1 == len(first.list_open()) == len(second.list_open())
    first.end()
    late = generator()
    await anext(late)
    assert ([], 2) == (first.list_open(), len(second.list_open()))
    second.end()
    sys.set_asyncgen_hooks(*before)
    await seen.aclose()
    await late.aclose()
