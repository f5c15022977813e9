"""Requests that leave no doubt for whom they are, nor where they end."""

from __future__ import annotations

import doctest

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.asgi_cases import CASES, Rig, http_scope, websocket_scope

from bandmaster.contrib.web import WebSettings, hosts
from bandmaster.contrib.web.hosts import TrustedHostLayer, read_authority
from bandmaster.kernel import Exchange
from bandmaster.kernel.stack.build import BoundLayer, build
from bandmaster.kernel.stack.exchange import Response
from bandmaster.kernel.testing import WebSocketRefused, connect

pytestmark = pytest.mark.anyio


def _layer(**settings):
    return TrustedHostLayer.layer(WebSettings(**settings))


def _asked(*headers: tuple[bytes, bytes], layer=None, kind: str = "http", **scope) -> Response | None:
    """What the layer answers to a request with these headers; none if it lets it in."""
    base = websocket_scope() if kind == "websocket" else http_scope()
    exchange = Exchange({**base, "headers": list(headers), **scope})
    (layer or _layer()).on_request(exchange)
    answer = exchange.answer
    assert answer is None or (isinstance(answer, Response) and answer.status == 400)
    return answer


def _closes(answer: Response | None) -> bool:
    return answer is not None and (b"connection", b"close") in answer.headers


HOST = (b"host", b"shop.example")
KINDS = pytest.mark.parametrize("kind", ["http", "websocket"])


@KINDS
def test_headers_that_are_too_large_are_refused(kind: str) -> None:
    """With 431 (RFC 6585, 5); just as large as allowed they pass."""
    layer = _layer(max_header_bytes=100)
    base = websocket_scope() if kind == "websocket" else http_scope()
    exchange = Exchange({**base, "headers": [HOST, (b"x-a", b"a" * 50), (b"x-b", b"b" * 39)]})
    layer.on_request(exchange)
    assert isinstance(exchange.answer, Response)
    assert 431 == exchange.answer.status
    assert _asked(HOST, (b"x-a", b"a" * 50), (b"x-b", b"b" * 38), layer=layer, kind=kind) is None


# -- the host --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("allowed", "host", "served"),
    [
        ("shop.example", b"shop.example", True),
        ("shop.example", b"SHOP.Example", True),
        ("shop.example", b"shop.example:8443", True),
        ("shop.example", b"shop.example.", True),
        ("shop.example", b"shop.example.:80", True),
        ("shop.example", b"www.shop.example", False),
        ("shop.example", b"evilshop.example", False),
        ("shop.example", b"shop.example.evil.example", False),
        ("shop.example", b"127.0.0.1", False),
        ("*.shop.example", b"www.shop.example", True),
        ("*.shop.example", b"a.b.Shop.example:1", True),
        ("*.shop.example", b"shop.example", False),
        ("*.shop.example", b"evilshop.example", False),
        ("*.shop.example,shop.example", b"shop.example", True),
        ("[::1]", b"[::1]", True),
        ("[::1]", b"[::1]:8000", True),
        ("[::1]", b"[0:0:0:0:0:0:0:1]", True),
        ("[2001:DB8::1]", b"[2001:db8::1]", True),
        ("[::1]", b"[::2]", False),
        ("127.0.0.1", b"127.0.0.1:8000", True),
        ("*", b"anything.at-all_1~:65535", True),
        ("*", b"[::ffff:127.0.0.1]", True),
    ],
)
@KINDS
def test_hosts_are_served_or_not(allowed: str, host: bytes, served: bool, kind: str) -> None:
    """By name; the port, upper and lower case and a dot at the end make no difference."""
    layer = _layer(allowed_hosts=allowed)
    # The second time it is remembered.
    assert [served, served] == [_asked((b"host", host), layer=layer, kind=kind) is None for _ in range(2)]


@pytest.mark.parametrize(
    "host",
    [
        b"",
        b" ",
        b".",
        b":80",
        b"shop..example",
        b".shop.example",
        b"shop.example..",
        b"user@shop.example",
        b"user:password@shop.example",
        b"shop.example/path",
        b"shop.example?x",
        b"shop.example#x",
        b"shop.example\\x",
        b"http://shop.example",
        b"shop.example,evil.example",
        b"shop.example, evil.example",
        b"shop example",
        b"shop.example\t",
        b"shop.example:port",
        b"shop.example:-1",
        b"shop.example:65536",
        b"shop.example:80:80",
        b"shop.example:080000",
        b"'onload='x",
        b'"><script>',
        b"shop%2eexample",
        b"sh\xc3\xb6p.example",
        b"::1",
        b"[::1",
        b"[::1]x",
        b"[::1].",
        b"[]",
        b"[::g]",
        b"[1::2::3]",
        b"[fe80::1%25eth0]",
        b"[v1.a]",
        b"a" * 256,
    ],
)
@KINDS
def test_a_malformed_host_is_refused(host: bytes, kind: str) -> None:
    """Even where any is served: links are made of it, and others may read it in another way."""
    layer = _layer(allowed_hosts="*")
    assert None not in [_asked((b"host", host), layer=layer, kind=kind) for _ in range(2)]


@KINDS
def test_several_hosts_are_refused(kind: str) -> None:
    """Even if they are the same (RFC 9112, 3.2)."""
    assert _asked(HOST, (b"host", b"evil.example"), kind=kind) is not None
    assert _asked(HOST, HOST, kind=kind) is not None
    assert _asked(HOST, (b"cookie", b"a"), (b"cookie", b"b"), kind=kind) is None


@pytest.mark.parametrize(
    ("version", "allowed", "served"),
    [
        ("1.1", "*", False),
        ("1.0", "*", True),
        ("2", "*", True),
        ("1.0", "shop.example", False),
        ("2", "shop.example", False),
    ],
)
def test_a_host_is_missing(version: str, allowed: str, served: bool) -> None:
    """In HTTP/1.1 there must be one; elsewhere it is refused where the name matters."""
    assert served == (_asked(layer=_layer(allowed_hosts=allowed), http_version=version) is None)


@settings(deadline=None)
@given(st.binary(max_size=40) | st.from_regex(rb"[A-Za-z0-9.:\[\]@/-]{1,30}", fullmatch=True))
def test_what_is_read_can_be_put_into_a_link(host: bytes) -> None:
    """What is let in has nothing that would end the host's part of one, and is read the same again."""
    authority = read_authority(host)
    if authority is not None:
        name, port = authority
        assert not set(name) & set("/?#@\\ %,<>\"'")
        assert (name, port) == read_authority((name if port is None else f"{name}:{port}").encode())


def test_the_example_holds() -> None:
    """The one of the docstring."""
    assert 0 == doctest.testmod(hosts).failed


def test_what_is_remembered_is_bounded() -> None:
    """Anybody can make hosts up."""
    layer = _layer()
    for number in range(1000):
        assert _asked((b"host", b"a%d.example" % number), layer=layer) is None
    assert layer._fault.cache_info().currsize < 200


# -- the end of the body ---------------------------------------------------------------------------------------------


def _length(value: bytes) -> tuple[bytes, bytes]:
    return (b"content-length", value)


def _coding(value: bytes) -> tuple[bytes, bytes]:
    return (b"transfer-encoding", value)


@pytest.mark.parametrize(
    "headers",
    [
        [_length(b"5"), _coding(b"chunked")],
        [_coding(b"chunked"), _length(b"0")],
        [_coding(b"identity"), _length(b"5")],
        [_length(b"5"), _length(b"6")],
        [_length(b"5"), _length(b"05")],
        [_length(b"5"), _length(b"")],
        [_length(b"")],
        [_length(b"five")],
        [_length(b"-1")],
        [_length(b"+5")],
        [_length(b"5.0")],
        [_length(b"0x5")],
        [_length(b"5 ")],
        [_length(b"5,5")],
        [_length("٥".encode())],
        [_length(b"9" * 19)],
        [_coding(b"")],
        [_coding(b"gzip")],
        [_coding(b"xchunked")],
        [_coding(b"chunked, gzip")],
        [_coding(b"chunked, chunked")],
        [_coding(b"chunked"), _coding(b"identity")],
        [_coding(b"chunked"), _coding(b"chunked")],
    ],
)
@KINDS
def test_a_body_of_doubtful_end_is_refused(headers, kind: str) -> None:
    """Another program could take part of it for the next request (RFC 9112, 6.3): the connection ends with it."""
    assert _closes(_asked(HOST, *headers, kind=kind))


@pytest.mark.parametrize(
    "headers",
    [
        [_length(b"0")],
        [_length(b"5")],
        [_length(b"0005")],
        [_length(b"5"), _length(b"5")],
        [_length(b"5"), (b"cookie", b"a"), (b"cookie", b"b")],
        [_coding(b"chunked")],
        [_coding(b"Chunked")],
        [_coding(b"gzip, chunked")],
        [_coding(b"gzip"), _coding(b"chunked")],
    ],
)
def test_a_body_of_certain_end_is_let_in(headers) -> None:
    """Also where a proxy has repeated the length (RFC 9112, 6.3)."""
    assert _asked(HOST, *headers) is None


@pytest.mark.parametrize("version", ["1.0", "2"])
def test_transfer_codings_are_for_one_version(version: str) -> None:
    """HTTP/1.0 doesn't know them (RFC 9112, 6.1), and HTTP/2 has none (RFC 9113, 8.2.2)."""
    answer = _asked(HOST, _coding(b"chunked"), http_version=version)
    assert answer is not None
    assert (version == "1.0") == _closes(answer)


# -- control characters ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sign", [*range(32), 127])
@KINDS
def test_control_characters_are_refused(sign: int, kind: str) -> None:
    """In whichever header; all but the tab (RFC 9110, 5.5)."""
    answer = _asked(HOST, (b"x-one", b"1"), (b"x-note", b"a%cb" % sign), (b"x-two", b"2"), kind=kind)
    assert (sign != ord("\t")) == _closes(answer)


def test_all_else_is_let_in() -> None:
    """Letters beyond ASCII included, whose meaning is the application's affair."""
    assert _asked(HOST, (b"x-note", bytes([*range(32, 127), *range(128, 256)]))) is None


# -- on the wire -----------------------------------------------------------------------------------------------------


async def _unreached(scope, receive, send) -> None:
    raise AssertionError("the application was reached")


@pytest.mark.requirement("FA-3", "XC-E2")
async def test_a_refusal_is_a_problem() -> None:
    """It says what is wrong, and nothing of what would be right."""
    app = build([BoundLayer(TrustedHostLayer, {"settings": WebSettings(allowed_hosts="secret.example")})], _unreached)
    async with connect(app) as client:
        response = await client.get("/")
        with pytest.raises(WebSocketRefused) as refused:
            async with client.websocket("/"):
                pass
    for answer in (response, refused.value.response):
        assert (400, "application/problem+json") == (answer.status, answer.headers["content-type"])
        assert "secret" not in answer.text
        assert "The Host header names no host that is served here." == answer.json()["detail"]


@pytest.mark.requirement("CF-17", "CF-33", "FA-18", "FA-19")
@pytest.mark.parametrize("name", CASES)
async def test_traps(name: str) -> None:
    """Whatever ASGI allows passes unharmed."""
    layer = BoundLayer(TrustedHostLayer, {"settings": WebSettings(allowed_hosts="testserver")})
    await CASES[name](Rig(lambda app: build([layer], app)))
