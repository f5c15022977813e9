"""Tests of bandmaster.kernel.stack.messages."""

import pytest
from tests.asgi_cases import ClientLostError, Server, http_scope, websocket_scope

from bandmaster.kernel.stack.frame import Frame
from bandmaster.kernel.stack.messages import HTTPTraffic, Traffic, WebSocketTraffic

pytestmark = pytest.mark.anyio


class Ends:
    """Keeps what it sees at the end of each request, and the errors that it is shown."""

    def __init__(self):
        self.exchange, self.errors, self.error = None, [], None

    def on_error(self, exchange, error):
        self.errors.append(error)

    def on_end(self, exchange):
        self.exchange, self.error = exchange, exchange.error


async def visit(app, *incoming, scope=None, limit=None, lost=None):
    ends = Ends()
    scope = scope or http_scope()
    layers = [ends, Limit(limit)] if limit is not None else [ends]
    server = Server(Frame(layers, app, scope["type"]), scope, incoming)
    server.on_sent = lambda message: setattr(server, "lost", message["type"] == lost)
    try:
        await server.run()
    except OSError:
        pass
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
    """Every piece counts."""
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
    """A file ends a response as a body does."""

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200})
        await send(message)

    _, ends = await visit(app)
    assert (ends.exchange.finished is not None) is finished


async def test_second_start_is_the_servers_business():
    """A second start passes without the hooks, for the server to refuse."""

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.start", "status": 201})

    with pytest.raises(AssertionError, match=r"http\.response\.start after"):
        await visit(app)


async def test_disconnect_is_heard():
    """A client that leaves before the end of the response is noted; one that leaves after it isn't."""

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


async def test_send_that_fails():
    """An OSError that comes through send says that the client has gone; on_error isn't asked."""
    _, ends = await visit(stream, lost="http.response.start")
    assert (ends.errors, ends.exchange.disconnected, type(ends.error)) == ([], True, ClientLostError)


async def test_send_that_fails_behind_another_frame():
    """It is known further in, where the server's send is reached through another frame's."""
    inner, outer = Ends(), Ends()
    frame = Frame([outer], Frame([inner], stream, "http", inner=True), "http")
    server = Server(frame, http_scope())
    server.on_sent = lambda message: setattr(server, "lost", True)
    with pytest.raises(ClientLostError):
        await server.run()
    assert (inner.errors, outer.errors) == ([], [])
    assert (inner.exchange.disconnected, outer.exchange.disconnected) == (True, True)


async def test_send_of_an_object_that_can_be_called():
    """A server's send may be any object."""

    class Send:
        async def __call__(self, message):
            raise BrokenPipeError

    ends = Ends()
    with pytest.raises(BrokenPipeError):
        await Frame([ends], stream, "http")(http_scope(), None, Send())
    assert (ends.errors, ends.exchange.disconnected) == ([], True)


async def test_os_error_of_the_application():
    """One that comes from elsewhere is an error, also amid a response."""

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200})
        raise FileNotFoundError

    _, ends = await visit(app)
    assert [type(error) for error in ends.errors] == [FileNotFoundError]
    assert ends.exchange.disconnected is False


async def test_unknown_request_messages_are_not_counted():
    """What isn't a body has no bytes."""

    async def app(scope, receive, send):
        await receive()
        await receive()
        await stream(scope, receive, send)

    _, ends = await visit(app, {"type": "http.new"}, {"type": "http.request"})
    assert ends.exchange.bytes_received == 0


def socket_app(*messages, receives=2):
    async def app(scope, receive, send):
        heard.clear()
        for _ in range(receives):
            heard.append(await receive())
        for message in messages:
            await send(message)

    heard = app.heard = []
    return app


ACCEPT = {"type": "websocket.accept"}
CONNECT = {"type": "websocket.connect"}


async def test_messages_of_a_websocket():
    """Messages and their lengths are counted, both ways."""
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
    """The client's code is noted, and that it was the client."""
    goodbye = {"type": "websocket.disconnect", "code": 4001, "reason": "bye"}
    _, ends = await visit(socket_app(), CONNECT, goodbye, scope=websocket_scope())
    socket = ends.exchange.socket
    assert (socket.closed, socket.close_code, socket.close_reason) == (True, 4001, "bye")
    assert ends.exchange.disconnected is True


async def test_close_by_the_application():
    """The application's code stays noted when the server confirms it."""

    async def app(scope, receive, send):
        await send(ACCEPT)
        await send({"type": "websocket.close", "code": 3000})
        await receive()

    _, ends = await visit(app, scope=websocket_scope())
    assert (ends.exchange.socket.close_code, ends.exchange.status, ends.exchange.disconnected) == (3000, 101, False)


async def test_close_without_a_code():
    """It is 1000, or 1005 where the client said none; before the accept the status is 403."""
    _, ends = await visit(socket_app({"type": "websocket.close"}, receives=1), CONNECT, scope=websocket_scope())
    assert (ends.exchange.socket.close_code, ends.exchange.status) == (1000, 403)
    _, ends = await visit(socket_app(), CONNECT, {"type": "websocket.disconnect"}, scope=websocket_scope())
    assert ends.exchange.socket.close_code == 1005


async def test_denial_in_pieces():
    """A refusal with a response has a status, bytes and an end, and leaves nothing to close."""
    app = socket_app(
        {"type": "websocket.http.response.start", "status": 404},
        {"type": "websocket.http.response.body", "body": b"no", "more_body": True},
        {"type": "websocket.http.response.body", "body": b"pe"},
        receives=1,
    )
    _, ends = await visit(app, CONNECT, scope=websocket_scope())
    assert (ends.exchange.status, ends.exchange.bytes_sent, ends.exchange.socket.closed) == (404, 4, True)
    assert ends.exchange.finished is not None


@pytest.mark.parametrize("kind", ["websocket.accept", "websocket.http.response.start"])
async def test_second_start_of_a_websocket(kind):
    """It is the server's business, as a request's is."""
    message = {"type": kind, "status": 403, "headers": []}
    with pytest.raises(AssertionError, match="after"):
        await visit(socket_app(message, message, receives=1), CONNECT, scope=websocket_scope())


async def test_accept_gets_no_headers_that_nobody_set():
    """Servers from before ASGI 2.1 take no headers in an accept."""
    server, _ = await visit(socket_app(ACCEPT, receives=1), CONNECT, scope=websocket_scope())
    assert server.sent == [ACCEPT]
    server, _ = await visit(socket_app({**ACCEPT, "headers": []}, receives=1), CONNECT, scope=websocket_scope())
    assert server.sent == [{**ACCEPT, "headers": []}]


async def test_status_of_an_accept():
    """A hook can add to an accept's headers, but 101 it stays."""

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
    """A message of more bytes closes the WebSocket with 1009, and the application hears of a disconnect."""

    async def app(scope, receive, send):
        await receive()
        await send(ACCEPT)
        heard.append(await receive())

    heard = []
    message = {"type": "websocket.receive", **content}
    server, ends = await visit(app, CONNECT, message, scope=websocket_scope(), limit=8)
    if fits:
        assert (heard, server.sent) == ([message], [ACCEPT])
    else:
        assert heard == [{"type": "websocket.disconnect", "code": 1009, "reason": ""}]
        assert server.sent == [ACCEPT, {"type": "websocket.close", "code": 1009, "reason": ""}]
        assert (ends.exchange.socket.close_code, ends.exchange.disconnected) == (1009, False)


async def test_common_part_is_abstract():
    """Sending, receiving and delivering are the protocols' own."""
    traffic = Traffic(http_scope())
    with pytest.raises(NotImplementedError):
        traffic.sending({"type": "x"})
    for coroutine in (traffic.receiving(), traffic.deliver()):
        with pytest.raises(NotImplementedError):
            await coroutine
    assert issubclass(HTTPTraffic, Traffic)
    assert issubclass(WebSocketTraffic, Traffic)
