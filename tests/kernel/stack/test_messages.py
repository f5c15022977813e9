"""Tests of bandmaster.kernel.stack.messages."""

import pytest
from tests.asgi_cases import Server, http_scope, websocket_scope

from bandmaster.kernel.stack.frame import Frame

pytestmark = pytest.mark.anyio


class Ends:
    """Keeps the exchange at the end of each request, and the errors that on_error gets."""

    def __init__(self):
        self.exchange, self.errors, self.error = None, [], None

    def on_error(self, exchange, error):
        self.errors.append(error)

    def on_end(self, exchange):
        self.exchange, self.error = exchange, exchange.error


async def visit(app, *incoming, scope=None, limit=None):
    ends = Ends()
    scope = scope or http_scope()
    layers = [ends, Limit(limit)] if limit is not None else [ends]
    server = Server(Frame(layers, app, scope["type"]), scope, incoming)
    await server.run()
    return server, ends


class Limit:
    def __init__(self, limit):
        self.limit = limit

    def on_request(self, exchange):
        exchange.limit_message(self.limit)


async def stream(scope, receive, send):
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": b"abc", "more_body": True})
    await send({"type": "http.response.body", "body": b"de"})


async def test_bytes_of_a_stream():
    """The bytes of every piece of a body are counted."""
    _, ends = await visit(stream)
    assert ends.exchange.bytes_sent == 5
    assert ends.exchange.finished is not None


@pytest.mark.parametrize(
    ("message", "finished"),
    [
        ({"type": "http.response.pathsend", "path": "/"}, True),
        ({"type": "http.response.zerocopysend", "file": 1}, True),
        ({"type": "http.response.zerocopysend", "file": 1, "more_body": True}, False),
        ({"type": "http.response.body", "body": b"", "more_body": True}, False),
        ({"type": "http.response.push", "path": "/", "headers": []}, False),
    ],
)
async def test_last_of_a_response(message, finished):
    """A file that the server sends by path ends a response, as the last piece of a body does."""

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200})
        await send(message)

    _, ends = await visit(app)
    assert (ends.exchange.finished is not None) is finished


async def test_second_start_reaches_the_server():
    """A second start skips the hooks and reaches the server, which refuses."""

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.start", "status": 201})

    with pytest.raises(AssertionError, match=r"http\.response\.start after"):
        await visit(app)


async def test_disconnect():
    """A client that leaves before the end of the response counts as disconnected."""

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200})
        await receive()
        await send({"type": "http.response.body", "body": b""})

    _, ends = await visit(app, {"type": "http.disconnect"})
    assert ends.exchange.disconnected is True

    async def patient(scope, receive, send):
        await stream(scope, receive, send)
        await receive()

    _, ends = await visit(patient)
    assert ends.exchange.disconnected is False


async def test_unknown_request_messages_are_not_counted():
    """Only messages of the body have bytes that count."""

    async def app(scope, receive, send):
        await receive()
        await receive()
        await stream(scope, receive, send)

    _, ends = await visit(app, {"type": "http.new"}, {"type": "http.request"})
    assert ends.exchange.bytes_received == 0


def socket_app(*messages, receives=2):
    async def app(scope, receive, send):
        received.clear()
        for _ in range(receives):
            received.append(await receive())
        for message in messages:
            await send(message)

    received = app.received = []
    return app


ACCEPT = {"type": "websocket.accept"}
CONNECT = {"type": "websocket.connect"}


async def test_messages_of_a_websocket():
    """Messages and their lengths are counted in both directions."""
    app = socket_app(
        ACCEPT, {"type": "websocket.send", "text": "abc"}, {"type": "websocket.send", "bytes": b"\x00" * 4}, receives=3
    )
    incoming = [CONNECT, {"type": "websocket.receive", "text": "ab"}, {"type": "websocket.receive", "bytes": b"c"}]
    _, ends = await visit(app, *incoming, scope=websocket_scope())
    socket = ends.exchange.socket
    assert (socket.messages_sent, socket.messages_received) == (2, 2)
    assert (ends.exchange.bytes_sent, ends.exchange.bytes_received) == (7, 3)
    assert (socket.closed, ends.exchange.finished) == (False, None)


async def test_close_by_the_client():
    """The exchange has the client's close code and reason, and counts the client as disconnected."""
    goodbye = {"type": "websocket.disconnect", "code": 4001, "reason": "bye"}
    _, ends = await visit(socket_app(), CONNECT, goodbye, scope=websocket_scope())
    socket = ends.exchange.socket
    assert (socket.closed, socket.close_code, socket.close_reason) == (True, 4001, "bye")
    assert ends.exchange.disconnected is True


async def test_close_by_the_application():
    """The exchange keeps the application's close code when the server confirms the close."""

    async def app(scope, receive, send):
        await send(ACCEPT)
        await send({"type": "websocket.close", "code": 3000})
        await receive()

    _, ends = await visit(app, scope=websocket_scope())
    assert (ends.exchange.socket.close_code, ends.exchange.status, ends.exchange.disconnected) == (3000, 101, False)


async def test_close_without_a_code():
    """The code is 1000 if the application gave none, 1005 if the client gave none; before the accept, status 403."""
    _, ends = await visit(socket_app({"type": "websocket.close"}, receives=1), CONNECT, scope=websocket_scope())
    assert (ends.exchange.socket.close_code, ends.exchange.status) == (1000, 403)
    _, ends = await visit(socket_app(), CONNECT, {"type": "websocket.disconnect"}, scope=websocket_scope())
    assert ends.exchange.socket.close_code == 1005


async def test_denial_in_pieces():
    """A WebSocket refused with a response has a status, bytes and an end, and is closed."""
    app = socket_app(
        {"type": "websocket.http.response.start", "status": 404},
        {"type": "websocket.http.response.body", "body": b"no", "more_body": True},
        {"type": "websocket.http.response.body", "body": b"pe"},
        receives=1,
    )
    _, ends = await visit(app, CONNECT, scope=websocket_scope())
    assert (ends.exchange.status, ends.exchange.bytes_sent, ends.exchange.socket.closed) == (404, 4, True)
    assert ends.exchange.finished is not None


async def test_a_client_that_leaves_during_a_denial():
    """A client that leaves before the end of a denial counts as disconnected, and one that leaves after it doesn't."""

    async def app(scope, receive, send):
        await receive()
        await send({"type": "websocket.http.response.start", "status": 404})
        await receive()

    incoming = [CONNECT, {"type": "websocket.disconnect"}]
    _, ends = await visit(app, *incoming, scope=websocket_scope())
    assert (True, None) == (ends.exchange.disconnected, ends.exchange.finished)


@pytest.mark.parametrize("kind", ["websocket.accept", "websocket.http.response.start"])
async def test_second_start_of_a_websocket(kind):
    """A second accept or denial skips the hooks and reaches the server, which refuses."""
    message = {"type": kind, "status": 403, "headers": []}
    with pytest.raises(AssertionError, match="after"):
        await visit(socket_app(message, message, receives=1), CONNECT, scope=websocket_scope())


async def test_accept_without_headers():
    """An accept gets no list of headers unless there are some: servers from before ASGI 2.1 take none."""
    server, _ = await visit(socket_app(ACCEPT, receives=1), CONNECT, scope=websocket_scope())
    assert server.sent == [ACCEPT]
    server, _ = await visit(socket_app({**ACCEPT, "headers": []}, receives=1), CONNECT, scope=websocket_scope())
    assert server.sent == [{**ACCEPT, "headers": []}]


async def test_status_of_an_accept():
    """A hook can add headers to an accept, but the status stays 101."""

    class Start:
        def on_response_start(self, exchange):
            exchange.status = 200
            exchange.add_header(b"x-room", b"1")

    ends = Ends()
    server = Server(Frame([ends, Start()], socket_app(ACCEPT, receives=1), "websocket"), websocket_scope(), [CONNECT])
    await server.run()
    assert server.sent == [{**ACCEPT, "headers": [(b"x-room", b"1")]}]
    assert ends.exchange.status == 101


@pytest.mark.parametrize(
    ("content", "fits"),
    [
        ({"text": "a" * 8}, True),
        ({"text": "a" * 9}, False),
        ({"text": "é" * 4}, True),
        ({"text": "é" * 5}, False),
        ({"text": "ab"}, True),
        ({"bytes": b"a" * 8}, True),
        ({"bytes": b"a" * 9}, False),
        ({"text": None, "bytes": b""}, True),
    ],
)
async def test_message_limit(content, fits):
    """A larger message closes the WebSocket with 1009, and the application receives a disconnect."""

    async def app(scope, receive, send):
        await receive()
        await send(ACCEPT)
        received.append(await receive())

    received = []
    message = {"type": "websocket.receive", **content}
    server, ends = await visit(app, CONNECT, message, scope=websocket_scope(), limit=8)
    if fits:
        assert (received, server.sent) == ([message], [ACCEPT])
    else:
        assert received == [{"type": "websocket.disconnect", "code": 1009, "reason": ""}]
        assert server.sent == [ACCEPT, {"type": "websocket.close", "code": 1009, "reason": ""}]
        assert (ends.exchange.socket.close_code, ends.exchange.disconnected) == (1009, False)
