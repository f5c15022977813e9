"""Tests of bandmaster.kernel.stack.exchange."""

import subprocess
import sys

import pytest
from tests.asgi_cases import http_scope, websocket_scope

from bandmaster.kernel.stack.exchange import Exchange, current_exchange
from bandmaster.kernel.stack.messages import HTTPExchange, WebSocketExchange


def request(*headers, **scope):
    return HTTPExchange({**http_scope(headers), **scope})


def test_facts_of_the_request():
    """Type, method, path and client come from the scope."""
    exchange = request(method="PUT", path="/a")
    assert (exchange.type, exchange.method, exchange.path) == ("http", "PUT", "/a")
    assert exchange.client == ("127.0.0.1", 50000)


def test_a_handshake_is_a_get():
    """The scope of a WebSocket has no method; the exchange has GET."""
    exchange = WebSocketExchange(websocket_scope())
    assert (exchange.type, exchange.method) == ("websocket", "GET")


def test_a_scope_without_client_and_headers():
    """A server may leave both out of the scope."""
    exchange = HTTPExchange({"type": "http", "path": "/"})
    assert (exchange.client, exchange.headers, exchange.header(b"host")) == (None, (), None)


def test_first_value_of_a_header():
    """`header` finds the first of several values, `header_values` all of them."""
    exchange = request((b"x-two", b"1"), (b"x-two", b"2"), (b"cookie", b"secret"))
    assert exchange.header(b"x-two") == b"1"
    assert exchange.header(b"cookie") == b"secret"
    assert exchange.header_values(b"x-two") == [b"1", b"2"]
    assert exchange.header(b"x-none") is None
    assert exchange.repeats
    assert not request((b"x-one", b"1")).repeats


@pytest.mark.parametrize(
    ("value", "length"), [(b"12", 12), (b"0", 0), (b"-1", None), (b"x", None), (b"", None), (b"9" * 5000, None)]
)
def test_content_length(value, length):
    """An announced length is a number, or None."""
    assert request((b"content-length", value)).content_length == length


def test_no_content_length():
    """Without the header there is no length."""
    exchange = request()
    assert exchange.header(b"content-length") is None
    assert exchange.content_length is None


def test_slots():
    """Attributes that the class doesn't declare are refused."""
    with pytest.raises(AttributeError):
        request().surprise = 1


def test_repr_has_no_secrets():
    """Neither headers nor query are in the repr."""
    exchange = request((b"cookie", b"secret"))
    exchange.scope["query_string"] = b"token=secret"
    assert repr(exchange) == "<Exchange: http GET /, status None>"


PUBLIC = {
    *("began", "bytes_received", "bytes_sent", "client", "content_length", "data", "disconnected", "error", "finished"),
    *(
        "header",
        "header_values",
        "headers",
        "method",
        "path",
        "repeats",
        "scope",
        "socket",
        "started",
        "status",
        "type",
    ),
    *("respond", "close", "limit_body", "limit_message"),
    *("add_header", "default_headers", "remove_header", "response_header", "response_headers"),
    *("set_header", "set_headers", "vary"),
}


def test_public_surface():
    """Authors of layers see only attributes that they may use; the frame's own are on `FrameExchange`."""
    assert {name for name in dir(Exchange) if not name.startswith("_")} == PUBLIC


@pytest.mark.parametrize(
    "act",
    [
        lambda exchange: exchange.respond(200),
        lambda exchange: exchange.close(),
        lambda exchange: exchange.limit_body(1),
        lambda exchange: exchange.limit_message(1),
    ],
    ids=["respond", "close", "limit_body", "limit_message"],
)
def test_only_frames_make_exchanges(act):
    """The public class describes an exchange; answers and limits are kept by the frame's subclasses."""
    with pytest.raises(NotImplementedError):
        act(Exchange())


def test_no_exchange_outside_of_a_request():
    """Outside of a request `current_exchange` returns None."""
    assert current_exchange() is None


def test_importing_it_is_light():
    """Neither an event loop nor Starlette's own machinery is loaded for the request stack."""
    code = (
        "import sys, bandmaster.kernel.stack.build; "
        "print([m for m in ('anyio', 'asyncio', 'starlette.applications', 'starlette.requests', "
        "'starlette.exceptions', 'http.client') if m in sys.modules])"
    )
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert output == "[]\n"
