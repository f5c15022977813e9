"""The time that a request may take."""

from __future__ import annotations

import anyio
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route
from tests.asgi_cases import CASES, Rig

from bandmaster.contrib.web import WebSettings
from bandmaster.contrib.web.request_timeout import RequestTimeout, RequestTimeoutLayer
from bandmaster.kernel import create_app
from bandmaster.kernel.testing import run

pytestmark = pytest.mark.anyio

QUICK = WebSettings(request_timeout=0.05)
FAIR = WebSettings(request_timeout=0.5)
"""For what has to begin in time, on a machine that is busy."""
PATIENT = WebSettings(request_timeout=30)
SCOPE = {"type": "http", "method": "POST", "path": "/", "headers": []}


def layer(app, settings=QUICK):
    return RequestTimeoutLayer.layer(app, settings)


async def _served(app, *received, settings=QUICK):
    """The statuses that one request is answered with, and what is raised."""
    sent = []
    coming = iter(received)

    async def receive():
        for message in coming:
            return message
        await anyio.sleep_forever()

    async def send(message):
        sent.append(message)

    try:
        await layer(app, settings)(SCOPE, receive, send)
    except RequestTimeout as error:
        return sent, error
    return sent, None


async def hanging(scope, receive, send):
    await anyio.sleep_forever()


async def reading(scope, receive, send):
    while (await receive())["more_body"]:
        pass
    await anyio.sleep_forever()


async def test_an_application_that_takes_too_long_is_cancelled() -> None:
    """The client hears 504, and the log where it was."""
    sent, error = await _served(hanging)
    assert ([], 504) == (sent, error.status_code)
    assert f"{__file__}:" in error.where
    assert error.where.endswith("in hanging")
    assert error.where not in error.detail


@pytest.mark.parametrize(
    ("received", "status"),
    [
        ((), 408),
        (({"type": "http.request", "body": b"a", "more_body": True},), 408),
        (({"type": "http.request", "body": b"a", "more_body": False},), 504),
    ],
)
async def test_a_client_that_takes_too_long_hears_so(received, status) -> None:
    """Whoever waits for the rest of a body waits for the client; after the last of it, for itself."""
    _, error = await _served(reading, *received)
    assert status == error.status_code
    assert ({"connection": "close"} if status == 408 else None) == error.headers


async def test_waiting_for_the_client_to_leave_is_not_waiting_for_its_body() -> None:
    """A long poll that listens for a disconnect has read its body."""

    async def polling(scope, receive, send):
        await receive()
        await receive()

    _, error = await _served(polling, {"type": "http.request", "body": b"", "more_body": False})
    assert 504 == error.status_code


async def test_a_response_that_has_begun_may_go_on() -> None:
    """A stream isn't cut off."""

    async def stream():
        yield "a"
        await anyio.sleep(1)
        yield "b"

    async def endpoint(request: Request) -> StreamingResponse:
        return StreamingResponse(stream())

    async with run(_app(endpoint)) as running:
        response = await running.http.get("/")
    assert (200, "ab") == (response.status, response.text)


async def test_a_response_that_comes_too_late_is_dropped() -> None:
    """What is begun while being cancelled would be cut off; the client hears 504, whole."""

    async def late(scope, receive, send):
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await send({"type": "http.response.start", "status": 200, "headers": []})
                await send({"type": "http.response.body", "body": b"late"})

    sent, error = await _served(late)
    assert ([], 504) == (sent, error.status_code)


async def test_an_application_that_swallows_the_cancellation_is_answered_for() -> None:
    """The client is not left without a response."""

    async def stubborn(scope, receive, send):
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            return

    sent, error = await _served(stubborn)
    assert ([], 504, "") == (sent, error.status_code, error.where)


async def test_its_own_errors_are_its_own() -> None:
    """What it raises passes, in time or while being cancelled."""

    async def broken(scope, receive, send):
        raise KeyError("in time")

    async def breaking(scope, receive, send):
        try:
            await anyio.sleep_forever()
        finally:
            raise KeyError("late")

    for app in (broken, breaking):
        with pytest.raises(KeyError):
            await _served(app)


async def test_a_cancellation_from_outside_is_no_timeout() -> None:
    """A server that shuts down cancels its requests."""
    with anyio.move_on_after(0.01) as outside:
        await _served(hanging, settings=PATIENT)
    assert outside.cancelled_caught


def test_without_a_limit_there_is_no_layer() -> None:
    """It costs nothing."""
    assert layer(hanging, WebSettings()) is hanging


async def test_what_runs_in_a_thread_is_waited_for() -> None:
    """It can't be cancelled; the answer comes when it has ended."""
    ended = []

    def endpoint(request: Request) -> PlainTextResponse:
        anyio.from_thread.run(anyio.sleep, 0)
        import time

        time.sleep(1)
        ended.append(True)
        return PlainTextResponse("late")

    async with run(_app(endpoint)) as running:
        with pytest.raises(RequestTimeout):
            await running.http.get("/")
    assert [True] == ended


def _app(endpoint):
    return create_app(
        Starlette(routes=[Route("/", endpoint)]),
        contributions=[RequestTimeoutLayer],
        discover=False,
        overrides={WebSettings: FAIR},
    )


@pytest.mark.requirement("CF-17", "CF-33", "FA-18", "FA-19")
@pytest.mark.parametrize("name", CASES)
async def test_traps(name: str) -> None:
    """Whatever ASGI allows passes unharmed."""

    def wrap(app):
        timed = layer(app, PATIENT)

        async def chosen(scope, receive, send):
            await (timed if scope["type"] == "http" else app)(scope, receive, send)

        return chosen

    await CASES[name](Rig(wrap, hooks=False))
