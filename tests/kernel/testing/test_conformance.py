"""Tests of bandmaster.kernel.testing.conformance: each check has a contribution that fails the check."""

import asyncio
import contextlib
import functools
import sys
import textwrap
import threading
import warnings
from collections.abc import AsyncIterator
from typing import Self

import anyio
import pytest
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from tests.kernel.testing.parts import Database, cache, database

from bandmaster.kernel.contributions.bands import LifespanBand, MiddlewareBand
from bandmaster.kernel.contributions.decorators import lifespan, middleware
from bandmaster.kernel.contributions.model import ErrorHandlerContribution, LifespanContribution, RouteContribution
from bandmaster.kernel.testing import NonconformingError, check_contribution, conformance
from bandmaster.kernel.testing.importing import import_elsewhere

pytestmark = pytest.mark.anyio

SERVICES = LifespanBand.SERVICES
IMPORTING = "opens nothing when imported"
"""The slowest check, which starts an interpreter."""


async def passes(*contributions, **options):
    return await check_contribution(*contributions, **{"skip": IMPORTING, **options})


async def expect(check, said, *contributions, **options):
    """Assert that one finding is of this check and contains this text."""
    with pytest.raises(NonconformingError) as caught:
        await passes(*contributions, **options)
    found = [(finding.check, finding.message) for finding in caught.value.findings]
    assert any(check == of and said in message for of, message in found), found


async def test_good():
    """Good parts pass all checks, alone or beside the parts that they need."""
    came = await check_contribution(database, cache)
    assert ((), {"lets requests through": "there is no layer"}) == (came.findings, came.skipped)
    assert "starts and stops" in came.checks
    await passes(cache, beside=[database])
    await passes(cache, overrides={Database: Database("fake")})


async def test_component_with_a_task_group():
    """A component that holds a task group across its yield is a good one."""

    @lifespan(band=SERVICES)
    async def busy() -> AsyncIterator[None]:
        await anyio.sleep(0)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.sleep_forever)
            await anyio.sleep(0)
            yield
            tasks.cancel_scope.cancel()

    await passes(busy)


async def test_class_as_factory():
    """So is a class that is its own context manager."""

    class Manager:
        async def __aenter__(self) -> Self:
            await anyio.sleep(0)
            return self

        async def __aexit__(self, *_):
            await anyio.sleep(0)

    await passes(LifespanContribution(name="m", factory=Manager, band=SERVICES))


async def test_doesnt_fit():
    """Parts without a plan."""
    await expect("fits together", "needs a Database", cache)


async def test_doesnt_start():
    """A part that doesn't start."""

    @lifespan(band=SERVICES)
    async def bad() -> AsyncIterator[None]:
        raise ValueError("no")
        yield

    await expect("starts and stops", "ValueError: no", bad)


async def test_starts_once():
    """Module-level state that only one run can use."""
    used = []

    @lifespan(band=SERVICES)
    async def bad() -> AsyncIterator[None]:
        if len(used) > 1:
            raise RuntimeError("used up")
        used.append(True)
        yield

    await expect("starts again", "the second of two runs", bad)


async def test_shared_value():
    """Two runs at once that have one object between them."""
    shared = Database()

    @lifespan(band=SERVICES)
    async def bad() -> AsyncIterator[Database]:
        yield shared

    await expect("runs side by side", "two runs side by side have one Database between them, from 'bad'", bad)


async def test_runs_alone():
    """A part that runs only once at a time."""
    running = []

    @lifespan(band=SERVICES)
    async def bad() -> AsyncIterator[None]:
        assert not running
        running.append(True)
        yield
        running.clear()

    await expect("runs side by side", "it doesn't run twice side by side", bad)


async def test_values_that_may_be_shared():
    """Plain values may be the same in two runs."""

    @lifespan(band=SERVICES)
    async def good() -> AsyncIterator[str]:
        yield "a word"

    await passes(good)


async def test_swallows_cancellation():
    """A start that continues after its cancellation fails the check."""

    @lifespan(band=SERVICES)
    async def bad() -> AsyncIterator[None]:
        with contextlib.suppress(BaseException):
            await anyio.sleep(0)
        yield

    await expect("ends when its start is cancelled", "'bad', cancelled at step 1, goes on as if it weren't", bad)


async def test_answers_cancellation():
    """A start that makes an error of its cancellation."""

    @lifespan(band=SERVICES)
    async def bad() -> AsyncIterator[None]:
        await anyio.sleep(0)
        try:
            await anyio.sleep(0)
        except BaseException:
            raise ValueError("interrupted") from None
        yield

    await expect("ends when its start is cancelled", "cancelled at step 2, ends by ValueError: interrupted", bad)


async def test_shielded_start():
    """A start that is shielded from cancellation passes the check."""

    @lifespan(band=SERVICES)
    async def good() -> AsyncIterator[None]:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(0)
        yield
        await anyio.sleep(0)

    await passes(good)


async def test_cancelled_start_leaves_things():
    """A cancelled start that leaves its resources open fails the check."""
    threads = []

    @lifespan(band=SERVICES)
    async def bad() -> AsyncIterator[None]:
        over = threading.Event()
        thread = threading.Thread(target=over.wait, name="forgotten")
        thread.start()
        threads.append(over)
        await anyio.sleep(0)
        yield
        over.set()
        thread.join()

    await expect("ends when its start is cancelled", "the thread 'forgotten' still runs", bad)
    for over in threads:
        over.set()


async def test_neighbours_stop_fails():
    """A cancelled start that lets others fail."""
    broken = []

    @lifespan(band=SERVICES)
    async def first() -> AsyncIterator[None]:
        yield
        if broken:
            raise ValueError("broken")

    @lifespan(band=SERVICES, after=["first"])
    async def second() -> AsyncIterator[None]:
        try:
            await anyio.sleep(0)
        except BaseException:
            broken.append(True)
            raise
        yield

    await expect("ends when its start is cancelled", "lets others fail: ValueError: broken", second, beside=[first])


async def test_most_steps():
    """A start of many steps is checked at the first of them, and the report says so."""

    @lifespan(band=SERVICES)
    async def long() -> AsyncIterator[None]:
        for _ in range(9):
            await anyio.sleep(0)
        yield

    came = await passes(long, most_steps=3)
    assert "only the first 3 steps of 'long'" == came.skipped["ends when its start is cancelled"]


async def test_fails_when_rolled_back():
    """A part that doesn't stand being stopped at once."""
    ready = []

    @lifespan(band=SERVICES)
    async def bad() -> AsyncIterator[None]:
        ready.clear()
        yield
        if not ready:
            raise ValueError("stopped too early")

    @lifespan(band=LifespanBand.APPLICATION, priority=499, after=["bandmaster-neighbour"])
    async def last() -> AsyncIterator[None]:
        ready.append(True)
        yield

    await expect("stops beside failures", "ValueError: stopped too early", bad, beside=[last])


async def test_swallows_crashes():
    """A component that suppresses the exception of a crash fails the check."""

    @lifespan(band=SERVICES)
    async def bad() -> AsyncIterator[None]:
        with contextlib.suppress(Exception):
            yield

    await expect("lets crashes through", "'bad' swallows what it dies of", bad)


async def test_task_is_left():
    """A part that leaves a task."""
    left = []

    @lifespan(band=SERVICES)
    async def bad() -> AsyncIterator[None]:
        left.append(asyncio.get_running_loop().create_task(asyncio.sleep(99), name="forgotten"))
        yield

    if anyio.get_cancelled_exc_class() is not asyncio.CancelledError:
        pytest.skip("trio has no tasks outside of nurseries")
    await expect("starts and stops", "the task 'forgotten' still runs", bad)
    for task in left:
        task.cancel()


async def test_something_isnt_closed():
    """A part that leaves something open."""

    class Connection:
        def __del__(self):
            warnings.warn("unclosed connection", ResourceWarning, stacklevel=1)
            warnings.warn("something else", UserWarning, stacklevel=1)

    @lifespan(band=SERVICES)
    async def bad() -> AsyncIterator[Connection]:
        yield Connection()

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        await expect("closes what it opens", "something was thrown away open: unclosed connection", bad)
    assert {"something else"} == {str(warning.message) for warning in caught}


def layer(call):
    """A layer in ASGI form, of one function."""

    class Layer:
        def __init__(self, app):
            self.app = app

        async def __call__(self, scope, receive, send):
            await call(self.app, scope, receive, send)

    return middleware(band=MiddlewareBand.CONTEXT, name="layer")(Layer)


async def test_good_layer():
    """A good layer passes."""

    async def call(app, scope, receive, send):
        await app(scope, receive, send)

    assert [IMPORTING] == list((await passes(layer(call))).skipped)


async def test_layer_that_refuses():
    """A layer may refuse everything, or answer for errors."""

    async def call(app, scope, receive, send):
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close"})
            return
        with contextlib.suppress(Exception):
            await app(scope, receive, lambda _: anyio.sleep(0))
        await send({"type": "http.response.start", "status": 401, "headers": []})
        await send({"type": "http.response.body"})

    async def eager(app, scope, receive, send):
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 401, "headers": []})
            await send({"type": "http.response.body"})
        else:
            await call(app, scope, receive, send)

    await passes(layer(eager))


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("body", r"a request doesn't get through: its body has become b''"),
        ("twice", "a request doesn't get through: ASGIViolationError"),
        ("deaf", "a stream whose client leaves doesn't get through: ReadTimeout"),
        ("swallow", "an error of the application doesn't get through: a 200 was made of it"),
        ("mute", "a WebSocket doesn't get through: its message has become 'changed'"),
        ("broken", "a WebSocket doesn't get through: KeyError: 'method'"),
    ],
)
async def test_bad_layers(fault, said):
    """A layer that damages requests fails the check."""

    async def call(app, scope, receive, send):
        if fault == "broken":
            scope["method"]

        async def deaf():
            message = await receive()
            return await anyio.sleep_forever() if message["type"] == "http.disconnect" else message

        async def sending(message):
            if fault == "body" and message["type"] == "http.response.body":
                message = {**message, "body": b""}
            if fault == "mute" and message["type"] == "websocket.send":
                message = {**message, "text": "changed"}
            await send(message)
            if fault == "twice" and message["type"] == "http.response.start":
                await send(message)

        try:
            await app(scope, deaf if fault == "deaf" else receive, sending)
        except Exception:
            if fault != "swallow":
                raise
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body"})

    await expect("lets requests through", said, layer(call), timeout=0.3)


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write a module, and make a contribution that names the module."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(text):
        (tmp_path / "bandmaster_test_module.py").write_text(textwrap.dedent(text))

        @lifespan(band=SERVICES)
        async def good() -> AsyncIterator[None]:
            yield

        good.factory.__module__ = "bandmaster_test_module"
        return good

    return write


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import os; os.environ['X']", "can't be imported with an empty environment: KeyError: 'X'"),
        ("import nowhere", "can't be imported with an empty environment: ModuleNotFoundError"),
        ("import sqlite3; sqlite3.connect(':memory:')", "does more than define things: sqlite3.connect"),
        ("open(__file__ + '.txt', 'w').close()", "open for writing: "),
        ("import os; os._exit(3)", "the process ended with 3"),
    ],
)
async def test_bad_imports(module, text, said):
    """A module that does more than define things."""
    await expect(IMPORTING, said, module(text), skip=())


async def test_module_that_cant_be_found(module):
    """A module that only this process can import is skipped, and the report says so."""
    part = module("")
    part.factory.__module__ = "nowhere.to.be.found"
    said = (await passes(part, skip=())).skipped[IMPORTING]
    assert "nowhere.to.be.found can't be imported in another process" == said


async def test_failed_stop():
    """A part that doesn't stop."""

    @lifespan(band=SERVICES)
    async def bad() -> AsyncIterator[None]:
        yield
        raise ValueError("no")

    await expect("starts and stops", "StopError of ValueError: no", bad)
    assert "nothing" == conformance._describe(None)


async def test_other_parts():
    """Routes, error handlers, layers and partial functions are imported, too."""

    async def through(app, scope, receive, send):
        await app(scope, receive, send)

    async def named(word) -> AsyncIterator[None]:
        yield

    async def show(request):
        return PlainTextResponse("")

    def handle(request, error):
        return PlainTextResponse("")

    routes = RouteContribution(name="routes", routes=[Route("/x", show)])
    made = RouteContribution(name="made", routes=list)
    handler = ErrorHandlerContribution(name="handler", exception=KeyError, handler=handle)
    part = LifespanContribution(
        name="part", factory=functools.partial(contextlib.asynccontextmanager(named), "word"), band=SERVICES
    )
    await check_contribution(routes, made, handler, part, layer(through))


def test_import_that_doesnt_end(monkeypatch, module):
    """An import is waited for only so long."""
    from bandmaster.kernel.testing import importing

    module("import time; time.sleep(99)")
    monkeypatch.setattr(importing, "_SECONDS", 0.5)
    assert "it doesn't end within 0.5 s" == import_elsewhere("bandmaster_test_module").error
    assert sys.modules.get("bandmaster_test_module") is None


async def test_all_findings_are_told():
    """The error lists all findings."""
    with pytest.raises(AssertionError, match=r"^1 finding:\n  - fits together: ") as caught:
        await passes(cache)
    assert 1 == len(caught.value.findings)


async def test_unknown_check():
    """Only checks that there are can be left out."""
    with pytest.raises(ValueError, match=r"skip: there is no check 'starts'. Did you mean 'starts again'"):
        await check_contribution(database, skip="starts")
