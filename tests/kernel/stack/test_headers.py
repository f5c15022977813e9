"""Tests of bandmaster.kernel.stack.headers."""

import pytest
from tests.asgi_cases import http_scope

from bandmaster.kernel.stack.headers import HeaderBlock
from bandmaster.kernel.stack.messages import HTTPExchange


@pytest.fixture
def exchange():
    """A request with a response of three headers, about to start."""
    exchange = HTTPExchange(http_scope())
    exchange.response_headers = [(b"content-type", b"text/plain"), (b"set-cookie", b"a"), (b"set-cookie", b"b")]
    return exchange


def test_set_header(exchange):
    """A header gets one value in place of all earlier ones, at the first one's place; a new header is added."""
    exchange.set_header(b"set-cookie", b"c")
    exchange.set_header(b"x-new", b"1")
    exchange.set_header(b"x-new", b"2")
    assert exchange.response_headers == [(b"content-type", b"text/plain"), (b"set-cookie", b"c"), (b"x-new", b"2")]


def test_add_header(exchange):
    """A header is added to those of the same name, and counts as present."""
    exchange.add_header(b"set-cookie", b"c")
    exchange.add_header(b"x-new", b"1")
    exchange.default_headers(HeaderBlock([(b"x-new", b"2")]))
    assert exchange.response_headers[2:] == [(b"set-cookie", b"b"), (b"set-cookie", b"c"), (b"x-new", b"1")]


def test_remove_header(exchange):
    """Every value is removed, and a default for that name applies again."""
    exchange.default_headers(HeaderBlock([(b"set-cookie", b"c")]))
    exchange.remove_header(b"set-cookie")
    assert exchange.response_headers == [(b"content-type", b"text/plain")]
    exchange.default_headers(HeaderBlock([(b"set-cookie", b"c")]))
    assert exchange.response_header(b"set-cookie") == b"c"


def test_response_header(exchange):
    """The first value is found; without the header there is None."""
    assert exchange.response_header(b"set-cookie") == b"a"
    assert exchange.response_header(b"x-none") is None


def test_set_headers(exchange):
    """A block replaces headers of the same names, and adds the others."""
    exchange.set_headers(HeaderBlock([(b"Set-Cookie", b"c"), (b"x-new", b"1")]))
    assert exchange.response_headers == [(b"content-type", b"text/plain"), (b"set-cookie", b"c"), (b"x-new", b"1")]
    exchange.set_headers(HeaderBlock([(b"x-newer", b"2")]))
    exchange.set_headers(HeaderBlock([(b"x-newest", b"3")]))
    assert exchange.response_headers[3:] == [(b"x-newer", b"2"), (b"x-newest", b"3")]


def test_default_headers(exchange):
    """A default is added only for a name that the response doesn't have; a block may have a name twice."""
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
    """A name is added to Vary once, and not where Vary is ``*``."""
    exchange = HTTPExchange(http_scope())
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
def test_changes_to_a_list_that_a_layer_keeps(exchange, helper):
    """A header that a layer appends to the list is noticed."""
    headers = exchange.response_headers
    exchange.set_header(b"x-first", b"1")
    headers.append((b"x-new", b"1"))
    helper(exchange)
    assert len([name for name, _ in headers if name == b"x-new"]) == 1


def test_vary_in_a_list_that_a_layer_keeps(exchange):
    """A Vary that a layer appends to the list is noticed."""
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
    """A header that is set before there is a response is an error, not lost."""
    with pytest.raises(AttributeError):
        helper(HTTPExchange(http_scope()))
