"""The limit of the time until a response begins."""

from __future__ import annotations

import time

import anyio
import pytest
from tests.asgi_cases import CASES, Rig

from bandmaster.contrib.web import WebSettings
from bandmaster.contrib.web.request_timeout import RequestTimeout, RequestTimeoutLayer

pytestmark = pytest.mark.anyio

QUICK = WebSettings(request_timeout=0.05)
PATIENT = WebSettings(request_timeout=30)
SCOPE = {"type": "http", "method": "POST", "path": "/", "headers": []}


def build_layer(app, settings=QUICK):
    return RequestTimeoutLayer.layer(app, settings)


async def _serve(app, *received, settings=QUICK):
    """The messages that the application sent, and the timeout that the layer raised."""
    sent = []
    coming = iter(received)

    async def receive():
        for message in coming:
            return message
        await anyio.sleep_forever()

    async def send(message):
        sent.append(message)

    try:
        await build_layer(app, settings)(SCOPE, receive, send)
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
    """The client gets 504, and the exception names the place in the application."""
    sent, error = await _serve(hanging)
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
async def test_a_slow_client_gets_408(received, status) -> None:
    """Waiting for the body is waiting for the client (408); any other delay is the application's (504)."""
    _, error = await _serve(reading, *received)
    assert status == error.status_code
    assert ({"connection": "close"} if status == 408 else None) == error.headers


async def test_waiting_for_a_disconnect_is_not_waiting_for_the_body() -> None:
    """A long poll that waits for the disconnect has read its body."""

    async def polling(scope, receive, send):
        await receive()
        await receive()

    _, error = await _serve(polling, {"type": "http.request", "body": b"", "more_body": False})
    assert 504 == error.status_code


async def test_a_response_that_has_begun_may_go_on() -> None:
    """A response that has begun is not cancelled."""

    async def streaming(scope, receive, send):
        # The response begins before the event loop can cancel, however busy the machine is.
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        await anyio.sleep(10 * QUICK.request_timeout)
        await send({"type": "http.response.body", "body": b"b"})

    sent, error = await _serve(streaming)
    assert (200, b"ab", None) == (sent[0]["status"], b"".join(message["body"] for message in sent[1:]), error)


async def test_a_response_that_comes_too_late_is_dropped() -> None:
    """A response that begins while the request is cancelled would be incomplete, so the client gets 504."""

    async def late(scope, receive, send):
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await send({"type": "http.response.start", "status": 200, "headers": []})
                await send({"type": "http.response.body", "body": b"late"})

    sent, error = await _serve(late)
    assert ([], 504) == (sent, error.status_code)


async def test_an_application_that_swallows_the_cancellation_is_answered() -> None:
    """The client gets a response although the application ends without one."""

    async def stubborn(scope, receive, send):
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            return

    sent, error = await _serve(stubborn)
    assert ([], 504, "") == (sent, error.status_code, error.where)


async def test_exceptions_of_the_application_pass() -> None:
    """An exception passes, in time and while the request is cancelled."""

    async def broken(scope, receive, send):
        raise KeyError("in time")

    async def breaking(scope, receive, send):
        try:
            await anyio.sleep_forever()
        finally:
            raise KeyError("late")

    for app in (broken, breaking):
        with pytest.raises(KeyError):
            await _serve(app)


async def test_a_cancellation_from_outside_is_no_timeout() -> None:
    """A server that stops cancels its requests."""
    with anyio.move_on_after(0.01) as outside:
        await _serve(hanging, settings=PATIENT)
    assert outside.cancelled_caught


def test_without_a_limit_the_layer_is_left_out() -> None:
    """Without a limit the layer is the application itself."""
    assert build_layer(hanging, WebSettings()) is hanging


async def test_a_function_in_a_thread_is_waited_for() -> None:
    """A thread can't be cancelled, so the timeout is answered when the function has ended."""
    ended = []

    def block() -> None:
        time.sleep(1)
        ended.append(True)

    async def threaded(scope, receive, send):
        await anyio.to_thread.run_sync(block)

    # Half a second for the one step of the event loop that starts the thread, on a machine that is busy.
    sent, error = await _serve(threaded, settings=WebSettings(request_timeout=0.5))
    assert ([True], [], 504) == (ended, sent, error.status_code)


@pytest.mark.requirement("CF-17", "CF-33", "FA-18", "FA-19")
@pytest.mark.parametrize("name", CASES)
async def test_traps(name: str) -> None:
    """Every exchange that ASGI allows passes through unharmed."""

    def wrap(app):
        timed = build_layer(app, PATIENT)

        async def chosen(scope, receive, send):
            await (timed if scope["type"] == "http" else app)(scope, receive, send)

        return chosen

    await CASES[name](Rig(wrap, hooks=False))
