"""The event that closes a request: what handlers, dependencies, tasks and threads have bound is in it."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import anyio
import anyio.to_thread
import litestar
import pytest
import structlog
from fastapi import Depends, FastAPI
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from tests.contrib.logging.logs import Captured, make_settings, replaced_stderr

from bandmaster.contrib.logging import LogSettings, access_events, redactor
from bandmaster.contrib.logging import logging as log_component
from bandmaster.contrib.web import (
    AccessLogLayer,
    ProblemsLayer,
    RequestContextLayer,
    WebSettings,
    bind,
    http_exception,
    keep_context,
    request_context,
    request_id,
    set_tenant,
    set_user,
    transient_error,
    unhandled_error,
)
from bandmaster.kernel import create_app
from bandmaster.kernel.testing import run

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]

log = structlog.get_logger()
LAYERS = [AccessLogLayer, ProblemsLayer, RequestContextLayer, http_exception, transient_error, unhandled_error]


async def fetch(host, path, *, headers=None, web=None):
    """The response and the events of one request."""
    captured = Captured()
    app = create_app(
        host,
        contributions=[redactor, log_component, access_events, *LAYERS],
        discover=False,
        overrides={LogSettings: make_settings(), WebSettings: WebSettings(**web or {})},
    )
    with replaced_stderr(captured):
        async with run(app, raise_app_exceptions=False) as running:
            response = await running.client.get(path, headers=headers)
    return response, captured


def sync_dependency() -> None:
    set_tenant("t-1")
    bind(from_sync_dependency=1)


async def async_dependency() -> None:
    bind(from_async_dependency=2)


async def yielding_dependency():
    bind(before_yield=3)
    yield
    bind(after_yield=4)


def make_host() -> FastAPI:
    host = FastAPI()
    needs = [Depends(sync_dependency), Depends(async_dependency), Depends(yielding_dependency)]

    @host.get("/sync", dependencies=needs)
    def sync_handler() -> str:
        set_user("u-1")
        bind(from_handler=5, password="planted")
        return "sync"

    @host.get("/async", dependencies=needs)
    async def async_handler() -> str:
        set_user("u-1")
        bind(from_handler=5, password="planted")
        return "async"

    @host.get("/fails", dependencies=needs)
    def failing_handler() -> str:
        set_user("u-1")
        bind(from_handler=5, password="planted")
        raise LookupError("no such thing")

    return host


BOUND = {
    "tenant": "t-1",
    "user": "u-1",
    "from_sync_dependency": 1,
    "from_async_dependency": 2,
    "before_yield": 3,
    "from_handler": 5,
    "password": "[REDACTED]",
}


@pytest.mark.requirement("OBS-L4")
@pytest.mark.parametrize("path", ["/sync", "/async"])
async def test_what_was_bound_is_in_the_closing_event(path) -> None:
    """Sync and async dependencies and handlers run in threads and tasks of their own; all they bind is there."""
    _, captured = await fetch(make_host(), path)
    event = captured.one("request")
    assert BOUND == {name: event.get(name) for name in BOUND}
    assert 4 == event["after_yield"]


@pytest.mark.requirement("OBS-L4", "OBS-L6")
async def test_what_was_bound_is_in_the_event_of_an_error() -> None:
    """The error event, the closing event, the body and the header of a failed request name the same request."""
    response, captured = await fetch(make_host(), "/fails")
    error, closing = captured.one("unhandled error"), captured.one("request")
    for event in (error, closing):
        assert BOUND == {name: event.get(name) for name in BOUND}
    ids = {error["request_id"], closing["request_id"], response.headers["x-request-id"], response.json()["request_id"]}
    assert 1 == len(ids)
    assert 500 == response.status_code


async def fail_in_starlette(request):
    bind(order=7)
    raise LookupError("no such thing")


@litestar.get("/")
async def fail_in_litestar() -> str:
    bind(order=7)
    raise LookupError("no such thing")


def make_starlette():
    return Starlette(routes=[Route("/", fail_in_starlette)])


def make_litestar():
    return litestar.Litestar([fail_in_litestar])


def make_starlette_with_a_handler():
    async def answer(request, error):
        log.warning("answered by the application's own handler")
        return PlainTextResponse("sorry", 500)

    return Starlette(routes=[Route("/", fail_in_starlette)], exception_handlers={Exception: answer})


@pytest.mark.requirement("OBS-L6")
@pytest.mark.parametrize("make", [make_starlette, make_litestar, make_starlette_with_a_handler])
async def test_every_host_names_the_request_of_an_error(make) -> None:
    """Whichever host answers an unhandled error, the events and the header of the 500 name the same request."""
    response, captured = await fetch(make(), "/")
    assert 500 == response.status_code
    named = [event for event in captured.events if event["logger"] not in ("bandmaster.kernel", "httpx2")]
    assert {response.headers["x-request-id"]} == {event.get("request_id") for event in named}
    assert 7 == captured.one("request")["order"]
    # Litestar logs an error itself, and only while debugging.
    assert (1 if make is make_litestar else 2) <= len(named)


@pytest.mark.requirement("OBS-L5")
async def test_threads_and_tasks_of_a_request_belong_to_it() -> None:
    """Tasks, threads of asyncio, of anyio and of a pool bind to the request that started them."""

    async def handler(request):
        async def in_task():
            bind(task=1)

        await asyncio.create_task(in_task())
        await asyncio.to_thread(bind, asyncio=2)
        await anyio.to_thread.run_sync(lambda: bind(anyio=3))
        with ThreadPoolExecutor(2) as pool:
            function = keep_context(bind)
            for number in range(8):
                pool.submit(function, **{f"pool{number}": number})
        thread = threading.Thread(target=keep_context(lambda: bind(own=request_id())))
        thread.start()
        thread.join()
        return PlainTextResponse("done")

    response, captured = await fetch(Starlette(routes=[Route("/", handler)]), "/")
    event = captured.one("request")
    assert (1, 2, 3, response.headers["x-request-id"]) == (
        event["task"],
        event["asyncio"],
        event["anyio"],
        event["own"],
    )
    assert list(range(8)) == [event[f"pool{number}"] for number in range(8)]


@pytest.mark.requirement("OBS-L9")
@pytest.mark.parametrize(
    "sent",
    ["a" * 129, "x" * 30_000, "forged\tid", "id with blanks", "<script>", "é", "a;b", "-" * 128 + "!", ""],
    ids=lambda sent: repr(sent[:12]),
)
@pytest.mark.parametrize("trusted", [True, False])
async def test_a_refused_request_id_is_nowhere(sent, trusted) -> None:
    """An id outside of the alphabet or of the length is replaced, and neither logged nor sent back."""

    async def handler(request):
        return PlainTextResponse("x")

    response, captured = await fetch(
        Starlette(routes=[Route("/", handler)]),
        "/",
        headers={"x-request-id": sent.encode("latin-1"), "x-correlation-id": sent.encode("latin-1")},
        web={"trust_request_id": trusted},
    )
    event = captured.one("request")
    assert event["request_id"] == response.headers["x-request-id"]
    assert 32 == len(event["request_id"])
    assert "correlation_id" not in event
    if len(sent) > 3:
        assert sent not in captured.text
        assert sent not in str(dict(response.headers))


async def test_one_event_for_each_request() -> None:
    """A request that fails, one that is not found and one that succeeds have one closing event each."""
    for path, status in (("/fails", 500), ("/nowhere", 404), ("/sync", 200)):
        _, captured = await fetch(make_host(), path)
        assert status == captured.one("request")["status"]


def test_nothing_can_be_bound_outside_of_a_request(anyio_backend) -> None:
    """A field has to belong to something."""
    with pytest.raises(RuntimeError, match="request_context"):
        bind(a=1)


def test_a_field_is_bound_anew_and_removed(anyio_backend) -> None:
    """The last value counts, and None removes a field."""
    with request_context() as context:
        bind(a=1, b=2)
        bind(a=3, b=None)
        assert {"a": 3} == context.fields
        bind(a=None)
        assert context.fields is None


def test_the_number_of_bound_fields_is_bounded(anyio_backend) -> None:
    """A loop that binds new names fails instead of filling the memory; what was bound before stays."""
    with request_context() as context:
        bind(**{f"name{number}": number for number in range(64)})
        with pytest.raises(ValueError, match="64"):
            bind(more=1)
        bind(name1=None)
        bind(more=1)
        assert 64 == len(context.fields or {})


def test_threads_that_bind_at_once_lose_nothing(anyio_backend) -> None:
    """Forty threads bind a field each, at the same time."""
    with request_context() as context, ThreadPoolExecutor(40) as pool:
        function = keep_context(bind)
        barrier = threading.Barrier(40)

        def bind_at_once(number):
            barrier.wait()
            function(**{f"name{number}": number})

        list(pool.map(bind_at_once, range(40)))
        assert 40 == len(context.fields or {})


def test_a_function_keeps_its_name_and_result(anyio_backend) -> None:
    """keep_context changes nothing but the context."""

    def add(one: int, other: int = 2) -> int:
        """Add."""
        return one + other

    kept = keep_context(add)
    assert (3, "add", "Add.") == (kept(1), kept.__name__, kept.__doc__)
