"""Tests of bandmaster.kernel.stack.frame_exchange."""

import pytest
from tests.asgi_cases import http_scope, websocket_scope

from bandmaster.kernel.stack.frame_exchange import Close, FrameExchange, Response
from bandmaster.kernel.stack.messages import HTTPExchange, WebSocketExchange


def request(*headers, **scope):
    return HTTPExchange({**http_scope(headers), **scope})


def test_respond_adds_the_length():
    """An answer is complete: header names in lower case, and a content-length."""
    exchange = request()
    exchange.respond(403, [(b"X-Why", b"no")], b"nope")
    assert exchange.answer == Response(403, [(b"x-why", b"no"), (b"content-length", b"4")], b"nope")


@pytest.mark.parametrize(
    ("status", "headers"), [(204, []), (304, []), (200, [(b"content-length", b"0")])], ids=["204", "304", "given"]
)
def test_respond_without_a_length(status, headers):
    """No content-length is added where the status forbids one, or where the hook gave one."""
    exchange = request()
    exchange.respond(status, headers)
    assert exchange.answer == Response(status, headers, b"")


@pytest.mark.parametrize("status", [0, 101, 199, 600])
@pytest.mark.requirement("P-18")
def test_respond_without_a_final_status(status):
    """A status that isn't final is a `ValueError` that names the argument."""
    with pytest.raises(ValueError, match="status: expected"):
        request().respond(status)


@pytest.mark.parametrize(("answerable", "started"), [(False, False), (True, True)])
def test_respond_too_late(answerable, started):
    """Once the application has been called, or the response has started, a hook can't answer."""
    exchange = request()
    exchange.answerable, exchange.started = answerable, started
    with pytest.raises(RuntimeError, match="only on_request can answer"):
        exchange.respond(200)


def test_close_of_a_websocket():
    """A WebSocket can be closed with a code and a reason."""
    exchange = WebSocketExchange(websocket_scope())
    exchange.close(4001, "bye")
    assert exchange.answer == Close(4001, "bye")


def test_close_of_a_request():
    """A request can't be closed."""
    with pytest.raises(RuntimeError, match="only a WebSocket"):
        request().close()


def test_close_too_late():
    """Once the application has been called, a hook can't close the WebSocket."""
    exchange = WebSocketExchange(websocket_scope())
    exchange.answerable = False
    with pytest.raises(RuntimeError, match="only on_request and on_error"):
        exchange.close()


@pytest.mark.parametrize("code", [0, 999, 1005, 1006, 1015, 2000, 5000])
@pytest.mark.requirement("P-18")
def test_close_with_a_code_that_is_not_for_sending(code):
    """A code that RFC 6455 keeps off the wire is a `ValueError` that names the argument."""
    with pytest.raises(ValueError, match="code: expected"):
        WebSocketExchange(websocket_scope()).close(code)


def test_the_lowest_limit_counts():
    """Of the limits that several layers set, the lowest counts."""
    exchange = WebSocketExchange(websocket_scope())
    for limit in (10, 5, 7):
        exchange.limit_body(limit)
        exchange.limit_message(limit)
    assert (exchange.body_limit, exchange.message_limit) == (5, 5)


def test_message_limit_of_a_request():
    """A layer that serves both protocols may set a limit for messages in either."""
    request().limit_message(1)


@pytest.mark.parametrize("limit", ["limit_body", "limit_message"])
@pytest.mark.requirement("P-18")
def test_negative_limits(limit):
    """A negative limit is a `ValueError` that names the argument."""
    with pytest.raises(ValueError, match="max_bytes: expected"):
        getattr(request(), limit)(-1)


@pytest.mark.anyio
async def test_common_part_is_abstract():
    """Sending, receiving and answering belong to the protocols' own classes."""
    exchange = FrameExchange(http_scope())
    with pytest.raises(NotImplementedError):
        exchange.send_for_app({"type": "x"})
    for coroutine in (exchange.receive_for_app(), exchange.send_answer()):
        with pytest.raises(NotImplementedError):
            await coroutine
    assert issubclass(HTTPExchange, FrameExchange)
    assert issubclass(WebSocketExchange, FrameExchange)
