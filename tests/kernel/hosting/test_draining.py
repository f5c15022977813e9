"""Tests of bandmaster.kernel.hosting.draining."""

import functools

import anyio
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from tests.kernel.asking import ask, websocket_scope
from tests.kernel.hosting.apps import HELLO, composed
from tests.kernel.virtual import anyio_backend  # noqa: F401

from bandmaster.kernel import events
from bandmaster.kernel.contributions.bands import LifespanBand
from bandmaster.kernel.contributions.decorators import lifespan
from bandmaster.kernel.lifecycle.context import Context

pytestmark = pytest.mark.anyio


def slow(seconds):
    async def endpoint(request):
        await anyio.sleep(seconds)
        return PlainTextResponse("slow")

    return Route("/slow", endpoint)


async def test_a_drain_accepts_then_refuses_then_waits():
    """New requests are accepted for drain_delay, then refused; requests in flight may end."""
    app = composed(host=Starlette(routes=[HELLO, slow(8)]), settings={"drain_delay": 5, "drain_timeout": 10})
    answers = {}

    async def request(name, path, at):
        await anyio.sleep(at)
        answers[name] = await ask(app, path)

    async with app.running():
        began = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(request, "in flight", "/slow", 0)
            tasks.start_soon(request, "accepted", "/hello", 4)
            tasks.start_soon(request, "ready", "/readyz", 1.5)
            tasks.start_soon(request, "refused", "/hello", 7)
            await anyio.sleep(1)
            assert (1, 0) == (app.in_flight, await app.drain())
        assert 8 == pytest.approx(anyio.current_time() - began)
    assert {"in flight": 200, "accepted": 200, "ready": 503, "refused": 503} == {
        name: answer.status for name, answer in answers.items()
    }
    assert "close" == answers["refused"].headers["connection"]
    (draining,) = [event for event in app.seen if isinstance(event, events.Draining)]
    (drained,) = [event for event in app.seen if isinstance(event, events.Drained)]
    assert (5, 10, 0, 7) == (draining.delay, draining.timeout, drained.left, pytest.approx(drained.took))


async def test_a_drain_is_bounded():
    """After drain_timeout the drain ends, and returns how many requests are left."""
    app = composed(host=Starlette(routes=[slow(60)]), settings={"drain_timeout": 3})
    async with app.running(), anyio.create_task_group() as tasks:
        tasks.start_soon(ask, app, "/slow")
        await anyio.sleep(1)
        began = anyio.current_time()
        assert 1 == await app.drain()
        assert 3 == pytest.approx(anyio.current_time() - began)
        tasks.cancel_scope.cancel()


async def test_a_stream_may_look_at_the_drain():
    """A stream that waits for the drain can end by itself."""

    async def chunks(drain):
        yield b"first"
        await drain.wait()
        yield b"last"

    async def endpoint(request):
        return StreamingResponse(chunks(request.state.drain))

    app = composed(host=Starlette(routes=[Route("/", endpoint)]))
    async with app.running(), anyio.create_task_group() as tasks:
        answers = []

        async def stream():
            answers.append((await ask(app)).body)

        tasks.start_soon(stream)
        await anyio.sleep(1)
        assert 0 == await app.drain()
    assert [b"firstlast"] == answers


async def test_a_second_drain_waits_for_the_first():
    """There is one drain, and both callers return at the end."""
    app = composed(host=Starlette(routes=[slow(4)]))
    back = []

    async def drain(delay):
        back.append((await app.drain(delay=delay), anyio.current_time() - began))

    async with app.running(), anyio.create_task_group() as tasks:
        began = anyio.current_time()
        tasks.start_soon(ask, app, "/slow")
        await anyio.sleep(1)
        tasks.start_soon(drain, 1)
        await anyio.sleep(0.5)
        tasks.start_soon(drain, 0)
    assert [(0, 4), (0, 4)] == [(left, pytest.approx(at)) for left, at in back]
    assert 1 == len([event for event in app.seen if isinstance(event, events.Drained)])


async def test_a_drain_that_is_cancelled():
    """When a drain is cancelled, other callers return, and no request is accepted any more."""
    app = composed(host=Starlette(routes=[HELLO, slow(60)]), settings={"drain_delay": 5})
    async with app.running(), anyio.create_task_group() as tasks:
        tasks.start_soon(ask, app, "/slow")
        await anyio.sleep(1)

        async def wait():
            await anyio.sleep(0.5)
            assert 1 == await app.drain()
            assert 503 == (await ask(app, "/hello")).status
            tasks.cancel_scope.cancel()

        tasks.start_soon(wait)
        with anyio.move_on_after(1):
            await app.drain()
        await anyio.sleep_forever()


async def test_begin_drain():
    """After begin_drain requests are still accepted; the drain hooks run once."""
    hooks = []

    @lifespan(band=LifespanBand.PERSISTENCE)
    async def component(context: Context):
        context.on_drain(functools.partial(note, hooks))
        yield

    app = composed(component)
    async with app.running():
        await app.begin_drain(delay=3)
        assert (200, 503) == ((await ask(app, "/hello")).status, (await ask(app, "/readyz")).status)
        assert 0 == await app.drain(delay=0)
        await app.wait_empty()
    assert ([True], [3]) == (hooks, [event.delay for event in app.seen if isinstance(event, events.Draining)])


async def note(calls):
    calls.append(True)


async def test_a_drain_runs_the_hooks_at_once():
    """The drain hooks run when the drain begins, not when its delay is over."""
    hooks = []

    @lifespan(band=LifespanBand.PERSISTENCE)
    async def component(context: Context):
        context.on_drain(functools.partial(note, hooks))
        yield

    app = composed(component, settings={"drain_delay": 5})
    async with app.running(), anyio.create_task_group() as tasks:
        tasks.start_soon(app.drain)
        await anyio.sleep(1)
        assert ([True], 503) == (hooks, (await ask(app, "/readyz")).status)
    assert [True] == hooks


async def test_a_client_that_reads_nothing():
    """Closing the WebSocket of a client that reads nothing blocks, but the drain still ends in time."""
    stuck = anyio.Event()

    async def endpoint(websocket):
        await websocket.accept()
        stuck.set()
        await anyio.sleep_forever()

    async def send(message):
        if message["type"] == "websocket.close":
            await anyio.sleep_forever()

    async def receive():
        if stuck.is_set():
            await anyio.sleep_forever()
        return {"type": "websocket.connect"}

    app = composed(
        host=Starlette(routes=[HELLO, WebSocketRoute("/ws", endpoint)]), settings={"drain_delay": 2, "drain_timeout": 3}
    )
    async with app.running(), anyio.create_task_group() as tasks:
        tasks.start_soon(app, websocket_scope("/ws"), receive, send)
        await stuck.wait()
        began = anyio.current_time()
        assert 1 == await app.drain()
        assert 5 == pytest.approx(anyio.current_time() - began)
        tasks.cancel_scope.cancel()


class Client:
    """A client with one WebSocket, which stays open until the application closes it."""

    def __init__(self):
        self.codes = []
        """The code of each message sent to the client: none for the accept."""
        self._questions = iter([{"type": "websocket.connect"}])

    async def connect(self, app):
        await app(websocket_scope("/ws"), self._receive, self._send)

    async def _receive(self):
        for question in self._questions:
            return question
        await anyio.sleep_forever()

    async def _send(self, message):
        self.codes.append(message.get("code"))
        await anyio.sleep(0)


async def waiting(websocket):
    await websocket.accept()
    await websocket.receive()


def with_websocket(**settings):
    return composed(host=Starlette(routes=[WebSocketRoute("/ws", waiting)]), settings=settings)


@pytest.mark.parametrize("timeout", [0, 10])
async def test_websockets_are_closed_when_draining(timeout):
    """The drain closes WebSockets with the code of the settings, also with a drain_timeout of zero."""
    app, client = with_websocket(websocket_close_code=1012, drain_timeout=timeout), Client()
    async with app.running(), anyio.create_task_group() as tasks:
        tasks.start_soon(client.connect, app)
        await anyio.sleep(1)
        await app.drain()
        tasks.cancel_scope.cancel()
    assert [None, 1012] == client.codes


async def test_websockets_are_closed_before_and_after_the_delay():
    """Open WebSockets are closed when the drain begins, those opened during the delay when the delay is over."""
    app, early, late = with_websocket(drain_delay=5), Client(), Client()
    async with app.running(), anyio.create_task_group() as tasks:
        tasks.start_soon(early.connect, app)
        await anyio.sleep(1)
        tasks.start_soon(app.drain)
        await anyio.sleep(1)
        tasks.start_soon(late.connect, app)
        await anyio.sleep(1)
        assert ([None, 1001], [None]) == (early.codes, late.codes)
        await anyio.sleep(4)
        assert [None, 1001] == late.codes
        tasks.cancel_scope.cancel()


async def test_begin_drain_closes_websockets():
    """A server that drains by itself still has its WebSockets closed with a code."""
    app, client = with_websocket(), Client()
    async with app.running(), anyio.create_task_group() as tasks:
        tasks.start_soon(client.connect, app)
        await anyio.sleep(1)
        await app.begin_drain()
        assert [None, 1001] == client.codes
        tasks.cancel_scope.cancel()


async def test_a_drain_where_nothing_serves_does_nothing():
    """After the stop a drain has no effect; without any run a drain is an error."""
    app = composed()
    with pytest.raises(RuntimeError, match="this kernel doesn't run"):
        await app.drain()
    async with app.running():
        pass
    assert 0 == await app.drain()
