"""Tests of bandmaster.kernel.hosting.in_flight."""

import time
from contextlib import suppress

import anyio
import pytest

from bandmaster.kernel.errors import GoneAwayError
from bandmaster.kernel.hosting.in_flight import InFlight
from bandmaster.kernel.hosting.websockets_in_flight import current_websocket

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])]


async def nothing():
    raise AssertionError("no app receives here")


class Sent(list):
    """A server's ``send`` that keeps the messages."""

    async def __call__(self, message):
        self.append(message)


class Held:
    """An application that serves until the test sets ``out``."""

    def __init__(self, *messages):
        self.messages = messages
        self.inside = anyio.Event()
        self.out = anyio.Event()

    async def __call__(self, scope, receive, send):
        for message in self.messages:
            await send(message)
        self.inside.set()
        await self.out.wait()


ACCEPT = {"type": "websocket.accept"}


async def test_requests_and_connections_are_counted():
    """A request or WebSocket counts until the app returns."""
    in_flight, request, connection = InFlight(), Held(), Held(ACCEPT)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(in_flight.serve_request, request, {}, nothing, Sent())
        tasks.start_soon(in_flight.serve_websocket, connection, {}, nothing, Sent())
        await request.inside.wait()
        await connection.inside.wait()
        assert in_flight.count == 2
        request.out.set()
        connection.out.set()
    assert in_flight.count == 0


async def test_a_request_that_fails_no_longer_counts():
    """The error is raised, and the count is right."""
    in_flight = InFlight()

    async def fails(scope, receive, send):
        raise RuntimeError("no luck")

    for enter in (in_flight.serve_request, in_flight.serve_websocket):
        with pytest.raises(RuntimeError):
            await enter(fails, {}, nothing, Sent())
    assert in_flight.count == 0


async def test_the_notice_of_the_drain():
    """The notice wakes code that waits, and can be read."""
    in_flight = InFlight()
    assert not in_flight.drain.begun
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(in_flight.drain.wait)
        await anyio.wait_all_tasks_blocked()
        await in_flight.announce_drain()
    assert in_flight.drain.begun


async def test_waiting_until_it_is_empty():
    """Two callers may wait at once; a WebSocket that comes meanwhile is waited for, too."""
    in_flight = InFlight()
    first, second = Held(), Held()
    over = []

    async def wait():
        await in_flight.wait_empty()
        over.append(in_flight.count)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(in_flight.serve_request, first, {}, nothing, Sent())
        await first.inside.wait()
        await in_flight.announce_drain()
        tasks.start_soon(wait)
        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(in_flight.serve_websocket, second, {}, nothing, Sent())
        await second.inside.wait()
        first.out.set()
        await anyio.wait_all_tasks_blocked()
        assert over == []
        second.out.set()
    assert over == [0, 0]


async def test_waiting_where_nothing_is_in_flight():
    """Waiting ends at once where nothing is in flight."""
    with anyio.fail_after(1):
        await InFlight().wait_empty()


async def test_waiting_again_after_a_newcomer():
    """A request that comes after a moment without any is waited for."""
    in_flight, late = InFlight(), Held()
    await in_flight.announce_drain()

    async def quick(scope, receive, send):
        pass

    await in_flight.serve_request(quick, {}, nothing, Sent())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(in_flight.serve_request, late, {}, nothing, Sent())
        await late.inside.wait()
        tasks.start_soon(in_flight.wait_empty)
        await anyio.wait_all_tasks_blocked()
        late.out.set()


@pytest.mark.parametrize("code", [1001, 1012])
async def test_an_open_websocket_is_closed(code):
    """The close has the code of the settings, and is sent once, however often the drain is announced."""
    in_flight, connection, sent = InFlight(code), Held(ACCEPT), Sent()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(in_flight.serve_websocket, connection, {}, nothing, sent)
        await connection.inside.wait()
        await in_flight.announce_drain()
        await in_flight.announce_drain()
        connection.out.set()
    assert sent == [ACCEPT, {"type": "websocket.close", "code": code, "reason": "the server is going away"}]


async def test_messages_while_open():
    """Messages reach the server unchanged."""
    in_flight, sent = InFlight(), Sent()
    text = {"type": "websocket.send", "text": "hello"}
    app = Held(ACCEPT, text)
    app.out.set()
    await in_flight.serve_websocket(app, {}, nothing, sent)
    assert sent == [ACCEPT, text]


@pytest.mark.parametrize("messages", [(), (ACCEPT, {"type": "websocket.close"})])
async def test_a_websocket_that_is_not_open_is_left_alone(messages):
    """A WebSocket that isn't accepted yet, or closed already, gets no close, which would be an error."""
    in_flight, connection, sent = InFlight(), Held(*messages), Sent()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(in_flight.serve_websocket, connection, {}, nothing, sent)
        await connection.inside.wait()
        await in_flight.announce_drain()
        connection.out.set()
    assert sent == list(messages)


async def test_sending_after_the_drain_has_closed():
    """Sending raises OSError, as on every closed connection; closing again is no error."""
    in_flight, sent, announced = InFlight(), Sent(), anyio.Event()

    async def app(scope, receive, send):
        await send(ACCEPT)
        await announced.wait()
        await send({"type": "websocket.close", "code": 1000})
        with pytest.raises(OSError) as failed:
            await send({"type": "websocket.send", "text": "hello"})
        assert isinstance(failed.value, GoneAwayError)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(in_flight.serve_websocket, app, {}, nothing, sent)
        await anyio.wait_all_tasks_blocked()
        await in_flight.announce_drain()
        announced.set()
    assert [message["type"] for message in sent] == ["websocket.accept", "websocket.close"]


async def test_a_client_that_has_left():
    """An error of the server at one close is ignored, and the other WebSockets are closed."""
    in_flight, connection, other, sent = InFlight(), Held(ACCEPT), Held(ACCEPT), Sent()

    async def broken(message):
        if message["type"] == "websocket.close":
            raise RuntimeError("the connection is gone")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(in_flight.serve_websocket, connection, {}, nothing, broken)
        tasks.start_soon(in_flight.serve_websocket, other, {}, nothing, sent)
        await connection.inside.wait()
        await other.inside.wait()
        await in_flight.announce_drain()
        connection.out.set()
        other.out.set()
    assert len(sent) == 2


def make_start(*headers):
    return {"type": "http.response.start", "status": 200, "headers": list(headers)}


class Streaming:
    """A response that streams until ``receive`` says that the client has left; trickles of its own between."""

    def __init__(self, *headers):
        self.start = make_start(*headers)
        self.received = []
        self.begun = anyio.Event()

    async def __call__(self, scope, receive, send):
        self.received.append((await receive())["type"])
        await send(self.start)
        self.begun.set()
        self.received.append((await receive())["type"])
        self.received.append((await receive())["type"])


class Client:
    """A client that sends a request in two parts, and then stays."""

    def __init__(self, *parts):
        self._parts = iter(parts or [{"type": "http.request", "body": b"", "more_body": False}])

    async def receive(self):
        for part in self._parts:
            return part
        await anyio.sleep_forever()


HTTP = {"type": "http", "path": "/stream", "http_version": "1.1"}


async def test_a_stream_is_disconnected():
    """A receive that waits, and each later one, answers as if the client had left."""
    in_flight, streaming, sent = InFlight(), Streaming(), Sent()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(in_flight.serve_request, streaming, HTTP, Client().receive, sent)
        await streaming.begun.wait()
        await anyio.wait_all_tasks_blocked()
        in_flight.disconnect_streams()
    assert streaming.received == ["http.request", "http.disconnect", "http.disconnect"]
    assert sent == [streaming.start]  # not completed, since the client must not take a part for the whole


async def test_a_stream_that_begins_later_is_disconnected_too():
    """A stream that begins after the disconnect gets a disconnect at the first receive after the request."""
    in_flight, streaming = InFlight(), Streaming()
    in_flight.disconnect_streams()
    with anyio.fail_after(5):
        await in_flight.serve_request(streaming, HTTP, Client().receive, Sent())
    assert streaming.received == ["http.request", "http.disconnect", "http.disconnect"]


@pytest.mark.parametrize(
    "app",
    [
        Held(make_start((b"Content-Length", b"1000"))),
        Held(),
        Held(make_start(), {"type": "http.response.body", "body": b"whole"}),
        Held(make_start(), {"type": "http.response.pathsend", "path": "/file"}),
    ],
    ids=["has an end", "not begun", "complete", "sent as a file"],
)
async def test_other_responses_are_not_disconnected(app):
    """A response with an end, one that hasn't begun, and one that is complete wait for the client itself."""
    in_flight, received = InFlight(), []
    app.inside, app.out = anyio.Event(), anyio.Event()

    async def listening(scope, receive, send):
        await receive()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(receive_one, receive)
            await app(scope, receive, send)
            tasks.cancel_scope.cancel()

    async def receive_one(receive):
        received.append(await receive())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(in_flight.serve_request, listening, HTTP, Client().receive, Sent())
        await app.inside.wait()
        in_flight.disconnect_streams()
        await anyio.wait_all_tasks_blocked()
        app.out.set()
    assert received == []


async def test_a_request_whose_body_is_still_read():
    """The whole body arrives, though the response streams already; only then the client is said to have left."""
    in_flight, received = InFlight(), []

    async def echo(scope, receive, send):
        await send(make_start())
        for _ in range(3):
            received.append((await receive())["type"])

    in_flight.disconnect_streams()
    first, last = [{"type": "http.request", "body": b"x", "more_body": more} for more in (True, False)]
    await in_flight.serve_request(echo, HTTP, Client(first, last).receive, Sent())
    assert received == ["http.request", "http.request", "http.disconnect"]


async def test_the_client_itself_leaves():
    """The server's own message is passed on."""
    in_flight, streaming = InFlight(), Streaming()
    left = {"type": "http.disconnect"}
    client = Client({"type": "http.request"}, left, left)
    await in_flight.serve_request(streaming, HTTP, client.receive, Sent())
    assert streaming.received == ["http.request", "http.disconnect", "http.disconnect"]


LAST = {"type": "http.response.body", "body": b"", "more_body": False}


@pytest.mark.parametrize(
    ("kind", "is_stopping", "drains", "completed"),
    [
        (b"text/event-stream; charset=utf-8", False, True, True),
        (b"text/event-stream", True, False, True),
        (b"text/event-stream", False, False, False),
        (b"text/plain", True, True, False),
    ],
)
async def test_event_streams_are_completed(kind, is_stopping, drains, completed):
    """An event stream that ends for the stop is complete as it is. Other streams are cut off visibly."""
    in_flight, sent = InFlight(1001, lambda: is_stopping), Sent()
    app = Held(make_start((b"content-type", kind)))
    app.out.set()
    if drains:
        await in_flight.announce_drain()
    assert await in_flight.serve_request(app, HTTP, nothing, sent)
    assert (sent[1:] == [LAST]) is completed


async def test_the_end_of_an_event_stream_whose_client_has_left():
    """The server's error is no error of the application."""
    in_flight = InFlight()
    await in_flight.announce_drain()
    app = Held(make_start((b"content-type", b"text/event-stream")))
    app.out.set()

    async def send(message):
        if message == LAST:
            raise OSError("gone")

    assert await in_flight.serve_request(app, HTTP, nothing, send)


@pytest.mark.parametrize(
    ("version", "headers", "expected"),
    [
        ("1.1", [], [(b"connection", b"close")]),
        ("1.1", [(b"Connection", b"keep-alive")], [(b"Connection", b"keep-alive")]),
        ("2", [], []),
    ],
)
async def test_the_connection_is_closed_while_draining(version, headers, expected):
    """HTTP/1 responses that begin after the drain has say so, unless the app has set the header."""
    in_flight, sent, app = InFlight(), Sent(), Held(make_start(*headers), LAST)
    app.out.set()
    await in_flight.serve_request(app, {**HTTP, "http_version": version}, nothing, sent)
    await in_flight.announce_drain()
    await in_flight.serve_request(app, {**HTTP, "http_version": version}, nothing, sent)
    assert [message["headers"] for message in sent if "headers" in message] == [headers, expected]


async def test_all_that_is_in_flight_is_cancelled():
    """Requests and WebSockets end, and only the request without a response is one to answer."""
    in_flight, silent, begun, connection = InFlight(), Held(), Held(make_start()), Held(ACCEPT)
    answered = {}

    async def serve(name, app):
        answered[name] = await in_flight.serve_request(app, HTTP, nothing, Sent())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serve, "silent", silent)
        tasks.start_soon(serve, "begun", begun)
        tasks.start_soon(in_flight.serve_websocket, connection, {}, nothing, Sent())
        await anyio.wait_all_tasks_blocked()
        assert await in_flight.cancel_all(5) == []
    assert answered == {"silent": False, "begun": True}
    assert in_flight.count == 0


async def test_a_request_that_awaits_a_thread_is_cancelled_after_it():
    """The kernel waits for a thread, which may use a resource; the request is cancelled at the next await."""
    in_flight, ended = InFlight(), []

    async def app(scope, receive, send):
        try:
            while True:
                await anyio.to_thread.run_sync(time.sleep, 0.2)
                ended.append("thread")
                await anyio.sleep(0.15)
        finally:
            ended.append("request")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(in_flight.serve_request, app, HTTP, nothing, Sent())
        await anyio.sleep(0.05)
        assert await in_flight.cancel_all(10) == []
    assert ended == ["thread", "request"]


async def test_a_request_that_ignores_its_cancellation():
    """A request that ignores the cancellation is described with the line at which the request stands."""
    in_flight, free = InFlight(), anyio.Event()

    async def ignore(scope, receive, send):
        with anyio.CancelScope(shield=True):
            while not free.is_set():
                with suppress(BaseException):
                    await free.wait()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(in_flight.serve_request, ignore, HTTP, nothing, Sent())
        await anyio.wait_all_tasks_blocked()
        (described,) = await in_flight.cancel_all(0.05)
        free.set()
    assert described.startswith("http /stream; it stood at\n")
    assert described.endswith("await free.wait()")


async def refuse(scope, send):
    await send({"type": "websocket.http.response.start", "status": 503})


@pytest.mark.parametrize(
    ("extensions", "expected"),
    [
        ({"websocket.http.response": {}}, ["websocket.http.response.start"]),
        (None, ["websocket.accept", "websocket.close"]),
    ],
)
async def test_a_handshake_that_is_not_over(extensions, expected):
    """A handshake is refused, or accepted and closed at once; a later accept by the app is no error."""
    in_flight, sent, go_on, received = InFlight(), Sent(), anyio.Event(), []

    async def app(scope, receive, send):
        received.append(await receive())
        await go_on.wait()
        await send(ACCEPT)
        received.append(await receive())
        await send({"type": "websocket.close"})

    scope = {"type": "websocket", "path": "/", "extensions": extensions}
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(in_flight.serve_websocket, app, scope, Client({"type": "websocket.connect"}).receive, sent)
        await anyio.wait_all_tasks_blocked()
        await in_flight.announce_drain()
        assert sent == []
        await in_flight.announce_drain(refuse)
        go_on.set()
    assert [message["type"] for message in sent] == expected
    assert [message["type"] for message in received] == ["websocket.connect", "websocket.disconnect"]
    assert received[1]["code"] == 1001


async def test_a_receive_that_waits_is_over_before_the_close():
    """granian sends no close while a receive is pending."""
    in_flight, sent, pending = InFlight(1012), Sent(), anyio.Lock()
    received = []

    async def receive():
        if not received:
            return {"type": "websocket.connect"}
        async with pending:
            await anyio.sleep_forever()

    async def send(message):
        async with pending:
            sent.append(message["type"])

    async def app(scope, receive, send):
        received.append(await receive())
        await send(ACCEPT)
        received.append(await receive())
        received.append(await receive())

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(in_flight.serve_websocket, app, {}, receive, send)
            await anyio.wait_all_tasks_blocked()
            await in_flight.announce_drain()
    assert sent == ["websocket.accept", "websocket.close"]
    assert received[1:] == [{"type": "websocket.disconnect", "code": 1012, "reason": "the server is going away"}] * 2


async def test_a_message_of_the_client():
    """Until the drain, messages pass."""
    in_flight, received = InFlight(), []
    messages = [{"type": "websocket.connect"}, {"type": "websocket.receive", "text": "hello"}]

    async def app(scope, receive, send):
        received.extend([await receive(), await receive()])

    await in_flight.serve_websocket(app, {}, Client(*messages).receive, Sent())
    assert received == messages


async def test_the_close_of_a_slow_client_is_waited_for_by_every_caller():
    """A second announcement returns when the close is sent, which the first one sends."""
    in_flight, connection, go_on, sent = InFlight(), Held(ACCEPT), anyio.Event(), []

    async def send(message):
        if message["type"] == "websocket.close":
            await go_on.wait()
        sent.append(message["type"])

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(in_flight.serve_websocket, connection, {}, nothing, send)
        await connection.inside.wait()
        tasks.start_soon(in_flight.announce_drain)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(set_soon, go_on)
        await in_flight.announce_drain()
        assert sent == ["websocket.accept", "websocket.close"]
        connection.out.set()


async def set_soon(event):
    await anyio.wait_all_tasks_blocked()
    event.set()


class Connected:
    """An application that notes what it receives, and what it can't send, on a WebSocket that another task closes."""

    def __init__(self, *, accepts=True):
        self.accepts = accepts
        self.websocket = None
        self.received = []
        self.errors = []
        self.inside = anyio.Event()

    async def __call__(self, scope, receive, send):
        self.websocket = current_websocket()
        self.received.append(await receive())
        if self.accepts:
            await send(ACCEPT)
        self.inside.set()
        self.received.append(await receive())
        for message in ({"type": "websocket.send", "text": "late"}, {"type": "websocket.close"}):
            try:
                await send(message)
            except GoneAwayError as error:
                self.errors.append(str(error))
        self.received.append(await receive())


class Silent:
    """A client that connects, and sends nothing more."""

    def __init__(self):
        self.connected = False

    async def __call__(self):
        if not self.connected:
            self.connected = True
            return {"type": "websocket.connect"}
        await anyio.sleep_forever()


CLOSED = {"type": "websocket.close", "code": 3000, "reason": "the session has ended"}
DISCONNECT = {"type": "websocket.disconnect", "code": 3000, "reason": "the session has ended"}


@pytest.mark.parametrize("accepts", [True, False])
async def test_another_task_closes_a_websocket(accepts):
    """The client gets the close, or a refusal before the accept; the app a disconnect, and errors for what it sends."""
    in_flight, app, sent = InFlight(), Connected(accepts=accepts), Sent()
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(in_flight.serve_websocket, app, {}, Silent(), sent)
            await app.inside.wait()
            await anyio.wait_all_tasks_blocked()
            await app.websocket.close(3000, "the session has ended")
            await app.websocket.close(4000, "again")
            await in_flight.announce_drain()
    assert sent == [*([ACCEPT] if accepts else []), CLOSED]
    assert app.received[1:] == [DISCONNECT, DISCONNECT]
    assert app.errors == ["the connection was closed: the session has ended"]
    assert in_flight.count == 0


async def test_closing_a_websocket_that_has_ended():
    """A close that comes after the app's own, or after the drain's, is none."""
    in_flight, sent, websockets = InFlight(), Sent(), []

    async def app(scope, receive, send):
        websockets.append(current_websocket())
        await send(ACCEPT)
        await send({"type": "websocket.close", "code": 1000})

    await in_flight.serve_websocket(app, {}, nothing, sent)
    await websockets[0].close(3000)
    assert [message.get("code") for message in sent] == [None, 1000]


async def test_a_client_that_has_left_takes_no_close():
    """A server that raises because the client has left doesn't fail whoever closes."""
    in_flight, app = InFlight(), Connected()

    async def send(message):
        if message["type"] == "websocket.close":
            raise OSError("the client has left")

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(in_flight.serve_websocket, app, {}, Silent(), send)
            await app.inside.wait()
            await anyio.wait_all_tasks_blocked()
            await app.websocket.close(3000, "the session has ended")
    assert app.received[-1] == DISCONNECT


async def test_code_outside_of_a_websocket():
    """Outside of a WebSocket there is none to close."""
    in_flight, found = InFlight(), []

    async def app(scope, receive, send):
        found.append(current_websocket())

    await in_flight.serve_request(app, {}, nothing, Sent())
    await in_flight.serve_websocket(app, {}, nothing, Sent())
    assert found[0] is None
    assert found[1] is not None
    assert current_websocket() is None
