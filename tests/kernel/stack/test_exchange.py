"""Tests of bandmaster.kernel.stack.exchange."""

import subprocess
import sys

import pytest
from tests.asgi_cases import http_scope, websocket_scope

from bandmaster.kernel.stack.exchange import Close, Exchange, HeaderBlock, Response, Socket, current_exchange


@pytest.fixture
def exchange():
    """A request whose response is about to start, with some headers."""
    exchange = Exchange(http_scope([(b"x-two", b"1"), (b"x-two", b"2"), (b"cookie", b"secret")]))
    exchange.response_headers = [(b"content-type", b"text/plain"), (b"set-cookie", b"a"), (b"set-cookie", b"b")]
    return exchange


def request(*headers, **scope):
    return Exchange({**http_scope(headers), **scope})


def test_facts_of_the_request():
    """Type, method, path and client are the scope's."""
    exchange = request(method="PUT", path="/a")
    assert (exchange.type, exchange.method, exchange.path) == ("http", "PUT", "/a")
    assert exchange.client == ("127.0.0.1", 50000)


def test_a_handshake_is_a_get():
    """A WebSocket, whose scope has no method, says GET."""
    exchange = Exchange(websocket_scope())
    assert (exchange.type, exchange.method) == ("websocket", "GET")


def test_what_the_server_left_out():
    """Neither client nor headers need be in the scope."""
    exchange = Exchange({"type": "http", "path": "/"})
    assert (exchange.client, exchange.headers, exchange.header(b"host")) == (None, (), None)


def test_first_value_of_a_header(exchange):
    """Of several values the first is found, and all of them where all are asked for."""
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
    """An announced length is a number, or it is none."""
    assert request((b"content-length", value)).content_length == length


def test_no_content_length():
    """A body of unknown length has none."""
    exchange = request()
    assert exchange.header(b"content-length") is None
    assert exchange.content_length is None


def test_slots():
    """An exchange has no room for what nobody declared."""
    with pytest.raises(AttributeError):
        request().surprise = 1


def test_repr_tells_no_secrets(exchange):
    """Neither headers nor query show."""
    exchange.scope["query_string"] = b"token=secret"
    assert repr(exchange) == "<Exchange: http GET /, status None>"


def test_respond_adds_the_length():
    """An answer is whole: its headers are in lower case, its length is said."""
    exchange = request()
    exchange.respond(403, [(b"X-Why", b"no")], b"nope")
    assert exchange.answer == Response(403, [(b"x-why", b"no"), (b"content-length", b"4")], b"nope")


@pytest.mark.parametrize(
    ("status", "headers"), [(204, []), (304, []), (200, [(b"content-length", b"0")])], ids=["204", "304", "given"]
)
def test_respond_without_a_length(status, headers):
    """It isn't added where it must not stand or stands already."""
    exchange = request()
    exchange.respond(status, headers)
    assert exchange.answer == Response(status, headers, b"")


@pytest.mark.parametrize("status", [0, 101, 199, 600])
@pytest.mark.requirement("P-18")
def test_respond_with_no_final_status(status):
    """Only a final status can answer."""
    with pytest.raises(ValueError, match="status: expected"):
        request().respond(status)


@pytest.mark.parametrize(("answerable", "started"), [(False, False), (True, True)])
def test_respond_too_late(answerable, started):
    """Nobody answers once it is the application's turn, or the response has started."""
    exchange = request()
    exchange.answerable, exchange.started = answerable, started
    with pytest.raises(RuntimeError, match="only on_request can answer"):
        exchange.respond(200)


def test_close_of_a_websocket():
    """A WebSocket can be closed with a code and a reason."""
    exchange = Exchange(websocket_scope())
    exchange.socket = Socket()
    exchange.close(4001, "bye")
    assert exchange.answer == Close(4001, "bye")


def test_close_of_a_request():
    """A request can't be closed."""
    with pytest.raises(RuntimeError, match="only a WebSocket"):
        request().close()


def test_close_too_late():
    """Nobody closes while the application talks."""
    exchange = Exchange(websocket_scope())
    exchange.socket, exchange.answerable = Socket(), False
    with pytest.raises(RuntimeError, match="only on_request and on_error"):
        exchange.close()


@pytest.mark.parametrize("code", [0, 999, 1005, 1006, 1015, 2000, 5000])
@pytest.mark.requirement("P-18")
def test_close_with_a_code_that_is_not_for_sending(code):
    """Some codes never go over the wire."""
    with pytest.raises(ValueError, match="code: expected"):
        Exchange(websocket_scope()).close(code)


def test_the_lowest_limit_counts():
    """Of several layers' limits, the lowest holds."""
    exchange = Exchange(websocket_scope())
    exchange.socket = Socket()
    for limit in (10, 5, 7):
        exchange.limit_body(limit)
        exchange.limit_message(limit)
    assert (exchange.body_limit, exchange.socket.message_limit) == (5, 5)


def test_message_limit_of_a_request():
    """A layer for both protocols needn't ask which it is."""
    request().limit_message(1)


@pytest.mark.parametrize("limit", ["limit_body", "limit_message"])
@pytest.mark.requirement("P-18")
def test_negative_limits(limit):
    """A limit isn't negative."""
    with pytest.raises(ValueError, match="max_bytes: expected"):
        getattr(request(), limit)(-1)


def test_set_header(exchange):
    """A header gets one value in place of all it had, where the first stood; or is added."""
    exchange.set_header(b"set-cookie", b"c")
    exchange.set_header(b"x-new", b"1")
    exchange.set_header(b"x-new", b"2")
    assert exchange.response_headers == [(b"content-type", b"text/plain"), (b"set-cookie", b"c"), (b"x-new", b"2")]


def test_add_header(exchange):
    """A header is added beside those of its name, and known to be there."""
    exchange.add_header(b"set-cookie", b"c")
    exchange.add_header(b"x-new", b"1")
    exchange.default_headers(HeaderBlock([(b"x-new", b"2")]))
    assert exchange.response_headers[2:] == [(b"set-cookie", b"b"), (b"set-cookie", b"c"), (b"x-new", b"1")]


def test_remove_header(exchange):
    """Every value goes, and the name is free again."""
    exchange.default_headers(HeaderBlock([(b"set-cookie", b"c")]))
    exchange.remove_header(b"set-cookie")
    assert exchange.response_headers == [(b"content-type", b"text/plain")]
    exchange.default_headers(HeaderBlock([(b"set-cookie", b"c")]))
    assert exchange.response_header(b"set-cookie") == b"c"


def test_response_header(exchange):
    """The first value is found, or none."""
    assert exchange.response_header(b"set-cookie") == b"a"
    assert exchange.response_header(b"x-none") is None


def test_set_headers(exchange):
    """A block replaces what was there of its names, and adds the rest."""
    exchange.set_headers(HeaderBlock([(b"Set-Cookie", b"c"), (b"x-new", b"1")]))
    assert exchange.response_headers == [(b"content-type", b"text/plain"), (b"set-cookie", b"c"), (b"x-new", b"1")]
    exchange.set_headers(HeaderBlock([(b"x-newer", b"2")]))
    exchange.set_headers(HeaderBlock([(b"x-newest", b"3")]))
    assert exchange.response_headers[3:] == [(b"x-newer", b"2"), (b"x-newest", b"3")]


def test_default_headers(exchange):
    """A block yields to what is there, duplicates of the block's own names included."""
    exchange.default_headers(HeaderBlock([(b"Set-Cookie", b"c"), (b"link", b"1"), (b"link", b"2")]))
    exchange.default_headers(HeaderBlock([(b"x-new", b"1"), (b"link", b"3")]))
    exchange.default_headers(HeaderBlock([(b"x-newer", b"1")]))
    assert exchange.response_headers[3:] == [(b"link", b"1"), (b"link", b"2"), (b"x-new", b"1"), (b"x-newer", b"1")]


@pytest.mark.parametrize(
    ("there", "then"),
    [
        ([], [b"origin"]),
        ([b"accept"], [b"accept, origin"]),
        ([b"accept", b"cookie"], [b"accept, cookie, origin"]),
        ([b"Accept,  Origin"], [b"Accept,  Origin"]),
        ([b"*"], [b"*"]),
        ([b""], [b"origin"]),
    ],
)
def test_vary(there, then):
    """A name is added to Vary once, and never to a star."""
    exchange = request()
    exchange.response_headers = [(b"vary", value) for value in there]
    exchange.vary(b"origin")
    exchange.vary(b"origin")
    assert [value for _, value in exchange.response_headers] == then


@pytest.mark.parametrize(
    "helper",
    [
        lambda exchange: exchange.set_header(b"x-new", b"2"),
        lambda exchange: exchange.set_headers(HeaderBlock([(b"x-new", b"2")])),
        lambda exchange: exchange.default_headers(HeaderBlock([(b"x-new", b"1")])),
    ],
    ids=["set_header", "set_headers", "default_headers"],
)
def test_changes_to_a_list_that_was_kept(exchange, helper):
    """A layer that keeps the list and appends to it isn't overlooked."""
    headers = exchange.response_headers
    exchange.set_header(b"x-first", b"1")
    headers.append((b"x-new", b"1"))
    helper(exchange)
    assert len(exchange.header_values(b"x-new") + [n for n, _ in headers if n == b"x-new"]) == 1


def test_vary_in_a_list_that_was_kept(exchange):
    """Nor is a Vary that was appended that way."""
    headers = exchange.response_headers
    exchange.set_header(b"x-first", b"1")
    headers.append((b"vary", b"origin"))
    exchange.vary(b"origin")
    assert headers[-1] == (b"vary", b"origin")
    exchange.vary(b"accept")
    assert headers[-1] == (b"vary", b"origin, accept")


@pytest.mark.parametrize(
    "helper",
    [
        lambda exchange: exchange.set_header(b"x", b"1"),
        lambda exchange: exchange.set_headers(HeaderBlock([(b"x", b"1")])),
        lambda exchange: exchange.default_headers(HeaderBlock([(b"x", b"1")])),
        lambda exchange: exchange.vary(b"x"),
    ],
    ids=["set_header", "set_headers", "default_headers", "vary"],
)
def test_headers_before_there_is_a_response(helper):
    """A header that is set too early fails, rather than getting lost."""
    with pytest.raises(AttributeError):
        helper(request())


def test_no_exchange_outside_of_a_request():
    """Elsewhere there is none."""
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
