"""Tests of bandmaster.kernel.testing.websocket."""

import anyio
import pytest
from tests.kernel.testing.parts import host

from bandmaster.kernel.testing import (
    ASGIViolationError,
    ClientGoneError,
    WebSocketClosed,
    WebSocketRefused,
    connect,
)

pytestmark = pytest.mark.anyio

ACCEPT = {"type": "websocket.accept"}
SEND = {"type": "websocket.send", "text": "x"}
CLOSE = {"type": "websocket.close"}


def sending(*messages):
    """An application that reads the first message and sends these."""

    async def app(scope, receive, send):
        await receive()
        for message in messages:
            await send(message)

    return app


@pytest.fixture
def app():
    return host()


async def test_messages(app):
    """Messages go both ways, as text, bytes or JSON."""
    async with connect(app) as connection, connection.websocket("/echo") as socket:
        await socket.send_text("hello")
        await socket.send_bytes(b"hello")
        await socket.send_json({"a": 1})
        await socket.send_json({"a": 1}, mode="binary")
        assert ["hello", b"hello", {"a": 1}, {"a": 1}] == [
            await socket.receive_text(),
            await socket.receive_bytes(),
            await socket.receive_json(),
            await socket.receive_json(),
        ]


async def test_accept(app):
    """The test sees the subprotocol and the headers of the accept."""
    async with connect(app) as connection:
        async with connection.websocket("/echo", subprotocols=["v1", "v2"]) as socket:
            assert ("v2", "yes", None) == (socket.subprotocol, socket.headers["X-Seen"], socket.close_code)
        async with connection.websocket("/echo") as socket:
            assert socket.subprotocol is None


async def test_scope():
    """The handshake has the scope and the headers of a server."""
    scopes = []

    async def app(scope, receive, send):
        scopes.append(scope)
        await sending(ACCEPT, CLOSE)(scope, receive, send)

    async with connect(app, base_url="https://example.org") as connection:
        async with connection.websocket("/a", params={"b": 1}, subprotocols=["v1"], headers={"X-A": "b"}):
            pass
        async with connection.websocket("/", extensions={"asgi_scope": {"extensions": {}}}):
            pass
    first, second = scopes
    headers = dict(first["headers"])
    assert ("websocket", "wss", "/a", b"b=1", ["v1"]) == (
        first["type"],
        first["scheme"],
        first["path"],
        first["query_string"],
        first["subprotocols"],
    )
    assert (b"websocket", b"v1", b"b", b"example.org") == tuple(
        headers[name] for name in (b"upgrade", b"sec-websocket-protocol", b"x-a", b"host")
    )
    assert ({"websocket.http.response": {}}, {}) == (first["extensions"], second["extensions"])


async def test_end_of_the_block(app):
    """The end of the block closes with 1000, and the application has ended then."""
    async with connect(app) as connection:
        async with connection.websocket("/echo"):
            pass
        assert (1000, "") == app.state.ended


async def test_close(app):
    """The client closes with code and reason; nothing can be sent any more."""
    async with connect(app) as connection, connection.websocket("/echo") as socket:
        await socket.close(4002, "enough")
        await socket.close()
        await connection.wait_idle()
        assert ((4002, "enough"), 4002, "enough") == (app.state.ended, socket.close_code, socket.close_reason)
        for use in (socket.receive(), socket.send_text("x")):
            with pytest.raises(WebSocketClosed, match="closed with 4002: enough"):
                await use


async def test_messages_come_before_the_close(app):
    """Messages before the close reach the application before the close."""
    seen = []

    async def app(scope, receive, send):
        await sending(ACCEPT)(scope, receive, send)
        while (message := await receive())["type"] != "websocket.disconnect":
            seen.append(message["text"])

    async with connect(app) as connection, connection.websocket("/") as socket:
        await socket.send_text("one")
        await socket.send_text("two")
    assert ["one", "two"] == seen


async def test_drop(app):
    """A lost connection is 1006 to the application."""
    async with connect(app) as connection, connection.websocket("/echo") as socket:
        await socket.drop()
        await connection.wait_idle()
        assert ((1006, ""), 1006) == (app.state.ended, socket.close_code)


async def test_closed_by_the_application(app):
    """Code and reason of the application's close are seen, whether one receives or sends."""
    async with connect(app) as connection:
        async with connection.websocket("/echo") as socket:
            await socket.send_text("close")
            with pytest.raises(WebSocketClosed) as caught:
                await socket.receive()
            assert (4000, "as you wish", 4000) == (caught.value.code, caught.value.reason, socket.close_code)
        assert (4000, "as you wish") == app.state.ended
        async with connection.websocket("/echo") as socket:
            await socket.send_text("close")
            await connection.wait_idle()
            with pytest.raises(WebSocketClosed, match="4000"):
                await socket.send_text("more")


async def test_wait_closed(app):
    """A test can wait for the close, or iterate until the close."""
    async with connect(app) as connection:
        async with connection.websocket("/greet") as socket:
            assert 1000 == await socket.wait_closed()
        async with connection.websocket("/greet") as socket:
            assert ['{"hello":"you"}'] == [message async for message in socket]


async def test_return_is_a_close(app):
    """An application that returns has closed."""
    async with connect(app) as connection, connection.websocket("/echo") as socket:
        await socket.send_text("return")
        assert 1000 == await socket.wait_closed()


async def test_refused(app):
    """An application that closes before it accepts refuses: a client sees 403."""
    async with connect(app) as connection:
        with pytest.raises(WebSocketRefused, match="the application closed with 4001, no") as caught:
            async with connection.websocket("/refuse"):
                raise NotImplementedError
    refused = caught.value
    assert (403, 4001, "no") == (refused.status_code, refused.code, refused.reason)


async def test_denied(app):
    """A response in place of the WebSocket is seen as a whole."""
    async with connect(app) as connection:
        with pytest.raises(WebSocketRefused, match=r'answered 401 Unauthorized: {"why":"not you"}') as caught:
            async with connection.websocket("/deny"):
                raise NotImplementedError
    response = caught.value.response
    assert (401, {"why": "not you"}, None) == (response.status_code, response.json(), caught.value.code)


async def test_streamed_denial():
    """Such a response may come in several pieces."""
    body = {"type": "websocket.http.response.body", "body": b"x"}
    start = {"type": "websocket.http.response.start", "status": 418, "headers": []}
    async with connect(sending(start, {**body, "more_body": True}, body)) as connection:
        with pytest.raises(WebSocketRefused) as caught:
            async with connection.websocket("/"):
                raise NotImplementedError
    assert (418, b"xx") == (caught.value.status_code, caught.value.response.content)


async def test_no_denial_without_the_extension():
    """Where the extension isn't offered, such a response is a violation."""
    start = {"type": "websocket.http.response.start", "status": 418, "headers": []}
    async with connect(sending(start)) as connection:
        with pytest.raises(ASGIViolationError, match="while it was connecting"):
            async with connection.websocket("/", extensions={"asgi_scope": {"extensions": {}}}):
                raise NotImplementedError


async def test_neither_accepted_nor_refused(app):
    """An application that returns without a word has a fault."""
    async with connect(app) as connection:
        with pytest.raises(ASGIViolationError, match="WebSocket /lazy: the application returned without accepting"):
            async with connection.websocket("/lazy"):
                raise NotImplementedError
    async with connect(app, raise_app_exceptions=False) as connection:
        with pytest.raises(WebSocketRefused) as caught:
            async with connection.websocket("/lazy"):
                raise NotImplementedError
    assert 500 == caught.value.status_code


async def test_error(app):
    """An exception of the application is raised in the test, at the next step or at the end of the block."""
    async with connect(app) as connection:
        with pytest.raises(LookupError, match="boom"):
            async with connection.websocket("/echo") as socket:
                await socket.send_text("boom")
                await socket.receive()
        with pytest.raises(LookupError, match="boom"):
            async with connection.websocket("/echo") as socket:
                await socket.send_text("boom")


async def test_error_as_a_client_sees_it(app):
    """Without raising, a client sees 1011."""
    async with connect(app, raise_app_exceptions=False) as connection, connection.websocket("/echo") as socket:
        await socket.send_text("boom")
        assert 1011 == await socket.wait_closed()


async def test_error_before_the_accept():
    """An exception of the application before the accept is raised in the test."""

    async def app(scope, receive, send):
        raise LookupError("boom")

    async with connect(app) as connection:
        with pytest.raises(LookupError, match="boom"):
            async with connection.websocket("/"):
                raise NotImplementedError


async def test_error_in_the_block(app):
    """An error of the test is raised as the same object, and the application receives a lost connection."""
    async with connect(app) as connection:
        with pytest.raises(AssertionError, match="mine"):
            async with connection.websocket("/echo"):
                raise AssertionError("mine")
        await connection.wait_idle()
    assert (1006, "") == app.state.ended


async def test_unhandled_disconnect():
    """That an application lets the news of the disconnect pass is no error."""

    async def app(scope, receive, send):
        from starlette.websockets import WebSocket

        socket = WebSocket(scope, receive, send)
        await socket.accept()
        await socket.receive_text()

    async with connect(app) as connection, connection.websocket("/"):
        pass


async def test_wrong_kind(app):
    """The error about a message of the wrong kind shows the message."""
    async with connect(app) as connection, connection.websocket("/echo") as socket:
        await socket.send_text("x")
        with pytest.raises(TypeError, match="expected a binary message, got 'x'"):
            await socket.receive_bytes()
        await socket.send_bytes(b"x")
        with pytest.raises(TypeError, match="expected a text message, got b'x'"):
            await socket.receive_text()


async def test_timeout(app):
    """A test never hangs: the error of the timeout names the missing step and the application's line."""
    async with connect(app, timeout=0.05) as connection:
        with pytest.raises(TimeoutError, match=r"(?s)WebSocket /echo: the application sent nothing; .*in echo"):
            async with connection.websocket("/echo") as socket:
                await socket.receive()

    async def undecided(scope, receive, send):
        await anyio.sleep_forever()

    async with connect(undecided) as connection:
        with pytest.raises(TimeoutError, match="neither accepted nor refused"):
            async with connection.websocket("/", timeout=0.05):
                raise NotImplementedError

    async def stubborn(scope, receive, send):
        await send(ACCEPT)
        await anyio.sleep_forever()

    async with connect(stubborn) as connection:
        with pytest.raises(TimeoutError, match="WebSocket /: the application did not end"):
            async with connection.websocket("/", timeout=0.05):
                pass


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([SEND], "sent 'websocket.send' while it was connecting"),
        ([ACCEPT, ACCEPT], "sent 'websocket.accept' while it was open"),
        ([ACCEPT, CLOSE, SEND], "sent 'websocket.send' while it was closed"),
        ([ACCEPT, {"type": "websocket.send"}], "expected either text or bytes"),
        ([ACCEPT, {**SEND, "bytes": b"x"}], "expected either text or bytes"),
    ],
)
async def test_violations(messages, said):
    """A violation of the specification is raised, in the application and in the test."""
    async with connect(sending(*messages)) as connection:
        with pytest.raises(ASGIViolationError, match=said):
            async with connection.websocket("/") as socket:
                await socket.wait_closed()


async def test_sending_to_nobody():
    """Sending after the disconnect raises; closing after the disconnect doesn't."""
    raised = []

    async def app(scope, receive, send):
        await sending(ACCEPT)(scope, receive, send)
        await receive()
        await send(CLOSE)
        try:
            await send(SEND)
        except OSError as error:
            raised.append(type(error))

    async with connect(app) as connection, connection.websocket("/"):
        pass
    assert [ClientGoneError] == raised


async def test_closed_while_the_application_sends():
    """A disconnect releases an application that waits for its client to read."""

    async def app(scope, receive, send):
        await send(ACCEPT)
        await send({"type": "websocket.send", "text": "x" * 100_000})

    async with connect(app) as connection, connection.websocket("/"):
        await anyio.wait_all_tasks_blocked()

    async def closing(scope, receive, send):
        await app(scope, receive, send)
        await send(CLOSE)

    async with connect(closing) as connection, connection.websocket("/") as socket:
        assert 100_000 == len(await socket.receive())
