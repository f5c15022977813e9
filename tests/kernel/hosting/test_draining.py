"""Tests of bandmaster.kernel.hosting.draining."""

import contextlib
import functools

import anyio
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from tests.kernel.asking import ask, websocket_scope
from tests.kernel.hosting.apps import HELLO, composed, warned
from tests.kernel.virtual import anyio_backend  # noqa: F401

from bandmaster.kernel import events
from bandmaster.kernel.contributions.bands import LifespanBand
from bandmaster.kernel.contributions.decorators import lifespan
from bandmaster.kernel.errors import CrashError
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


def lasting(facts, stop=anyio.sleep_forever):
    """A response that goes on until it is told or cancelled."""

    async def endpoint(request):
        async def chunks():
            try:
                yield b"first"
                await stop()
            finally:
                facts.append(f"stream ended at {anyio.current_time() - facts[0]:g}")

        return StreamingResponse(chunks())

    return Route("/lasting", endpoint)


def stopping(facts):
    """A component that records its stop."""

    @lifespan(band=LifespanBand.PERSISTENCE, name="database")
    async def component():
        yield
        facts.append("database stopped")

    return component


async def test_streams_are_disconnected_after_half_of_the_time():
    """A stream without end is ended by then, and before a component stops; nothing has to be cancelled."""
    facts = []
    app = composed(stopping(facts), host=Starlette(routes=[lasting(facts)]), settings={"drain_timeout": 6})
    async with app.running(), anyio.create_task_group() as tasks:
        facts.append(anyio.current_time())
        tasks.start_soon(ask, app, "/lasting")
        await anyio.sleep(1)
        assert 0 == await app.drain()
    assert ["stream ended at 4", "database stopped"] == facts[1:]


async def test_what_goes_on_is_cancelled_and_answered():
    """A request without a response gets a 503; a component stops after that."""
    facts, answers = [], []

    async def endpoint(request):
        try:
            await anyio.sleep_forever()
        finally:
            facts.append("request ended")

    app = composed(stopping(facts), host=Starlette(routes=[Route("/", endpoint)]), settings={"drain_timeout": 3})

    async def request():
        answers.append(await ask(app))

    async with app.running(), anyio.create_task_group() as tasks:
        tasks.start_soon(request)
        await anyio.sleep(1)
        assert 1 == await app.drain()
    assert ["request ended", "database stopped"] == facts
    assert [(503, "close")] == [(answer.status, answer.headers["connection"]) for answer in answers]
    (drained,) = [event for event in app.seen if isinstance(event, events.Drained)]
    assert 1 == drained.left


async def test_no_component_stops_under_a_request_where_nobody_drains():
    """The end of the run cancels the requests in flight."""
    facts = []
    app = composed(stopping(facts), host=Starlette(routes=[lasting(facts)]))
    async with anyio.create_task_group() as tasks:
        async with app.running():
            facts.append(anyio.current_time())
            tasks.start_soon(ask, app, "/lasting")
            await anyio.sleep(1)
        assert ["stream ended at 1", "database stopped"] == facts[1:]


async def test_no_component_stops_under_a_request_after_a_crash():
    """The requests in flight are cancelled first."""
    facts = []

    @lifespan(band=LifespanBand.SERVICES, name="service")
    async def component():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(crash)
            yield
            tasks.cancel_scope.cancel()

    async def crash():
        await anyio.sleep(2)
        raise RuntimeError("died")

    app = composed(component, stopping(facts), host=Starlette(routes=[lasting(facts)]))
    async with anyio.create_task_group() as tasks:
        with pytest.raises(CrashError):
            async with app.running():
                facts.append(anyio.current_time())
                tasks.start_soon(ask, app, "/lasting")
                await anyio.sleep_forever()
    assert ["stream ended at 2", "database stopped"] == facts[1:]


async def test_a_request_that_ignores_its_cancellation_is_named():
    """Components stop a second later all the same, with a warning that has the line."""
    free = anyio.Event()

    async def endpoint(request):
        with anyio.CancelScope(shield=True):
            while not free.is_set():
                with contextlib.suppress(BaseException):
                    await free.wait()
        return PlainTextResponse("late")

    app = composed(host=Starlette(routes=[Route("/deaf", endpoint)]), settings={"drain_timeout": 1})
    async with anyio.create_task_group() as tasks:
        async with app.running():
            tasks.start_soon(ask, app, "/deaf")
            await anyio.sleep(1)
            assert 1 == await app.cancel_requests()
            free.set()
    ((component, message),) = warned(app)
    assert "application" == component
    assert message.startswith(
        "a request ignores its cancellation for 1 s, and components stop under it: http /deaf; it"
    )
    assert message.endswith("await free.wait()")


async def test_the_server_is_closed_when_the_delay_is_over():
    """WebSockets are closed before, and requests are accepted until the server accepts none any more."""
    app, client, facts = with_websocket(drain_delay=2, drain_timeout=10), Client(), []

    async def close_server():
        facts.append((anyio.current_time() - began, client.codes[:]))
        await anyio.sleep(3)
        facts.append((await ask(app, "/hello")).status)

    async with app.running(), anyio.create_task_group() as tasks:
        tasks.start_soon(client.connect, app)
        await anyio.sleep(1)
        began = anyio.current_time()
        await app.drain(close_server=close_server)
        assert 503 == (await ask(app, "/hello")).status
        assert 5 == pytest.approx(anyio.current_time() - began)
    assert [(2, [None, 1001]), 200] == facts


async def test_a_handshake_in_the_drain():
    """In the delay a handshake may end; when the delay is over, one that hasn't ended is refused."""

    async def late(websocket):
        await anyio.sleep(float(websocket.query_params["seconds"]))
        await websocket.accept()
        await websocket.receive()

    app = composed(
        host=Starlette(routes=[WebSocketRoute("/ws", late)]), settings={"drain_delay": 5, "drain_timeout": 9}
    )
    early, late_one = Client(b"seconds=3"), Client(b"seconds=60")
    async with app.running(), anyio.create_task_group() as tasks:
        tasks.start_soon(early.connect, app)
        tasks.start_soon(late_one.connect, app)
        await anyio.sleep(1)
        await app.drain()
        tasks.cancel_scope.cancel()
    assert ["websocket.accept", "websocket.close"] == early.sent
    assert ["websocket.http.response.start", "websocket.http.response.body"] == late_one.sent


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

    def __init__(self, query=b""):
        self.query = query
        self.sent = []
        self.codes = []
        """The code of each message sent to the client: none for the accept."""
        self._questions = iter([{"type": "websocket.connect"}])

    async def connect(self, app):
        scope = websocket_scope("/ws", query_string=self.query, extensions={"websocket.http.response": {}})
        await app(scope, self._receive, self._send)

    async def _receive(self):
        for question in self._questions:
            return question
        await anyio.sleep_forever()

    async def _send(self, message):
        self.sent.append(message["type"])
        self.codes.append(message.get("code"))
        await anyio.sleep(0)


async def waiting(websocket):
    await websocket.accept()
    await websocket.receive()


def with_websocket(**settings):
    return composed(host=Starlette(routes=[HELLO, WebSocketRoute("/ws", waiting)]), settings=settings)


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
    """The WebSockets of a server that drains by itself are closed with a code, too."""
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
