"""The trusted host layer: hosts that are served, and requests that are ambiguous."""

from __future__ import annotations

import doctest

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.asgi_cases import CASES, Rig, http_scope, websocket_scope

from bandmaster.contrib.web import WebSettings, addresses
from bandmaster.contrib.web.addresses import read_authority
from bandmaster.contrib.web.trusted_host import TrustedHostLayer
from bandmaster.kernel.stack.build import BoundLayer, build
from bandmaster.kernel.stack.frame_exchange import Response
from bandmaster.kernel.stack.messages import HTTPExchange
from bandmaster.kernel.testing import WebSocketRefused, connect

pytestmark = pytest.mark.anyio


def _layer(**settings):
    return TrustedHostLayer.layer(WebSettings(**settings))


def _answer_of(*headers: tuple[bytes, bytes], layer=None, kind: str = "http", **scope) -> Response | None:
    """The layer's answer to a request with these headers; None if the layer lets the request pass."""
    base = websocket_scope() if kind == "websocket" else http_scope()
    exchange = HTTPExchange({**base, "headers": list(headers), **scope})
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
    """Headers above the limit are refused with 431 (RFC 6585, 5), and headers at the limit pass."""
    layer = _layer(max_header_bytes=100)
    base = websocket_scope() if kind == "websocket" else http_scope()
    exchange = HTTPExchange({**base, "headers": [HOST, (b"x-a", b"a" * 50), (b"x-b", b"b" * 39)]})
    layer.on_request(exchange)
    assert isinstance(exchange.answer, Response)
    assert 431 == exchange.answer.status
    assert _answer_of(HOST, (b"x-a", b"a" * 50), (b"x-b", b"b" * 38), layer=layer, kind=kind) is None


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
def test_allowed_hosts_are_served(allowed: str, host: bytes, served: bool, kind: str) -> None:
    """Hosts are compared by name, without the port, the case and a dot at the end."""
    layer = _layer(allowed_hosts=allowed)
    # The second answer comes from the cache.
    assert [served, served] == [_answer_of((b"host", host), layer=layer, kind=kind) is None for _ in range(2)]


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
    """A malformed host is refused also where any host is served, since applications build links with it."""
    layer = _layer(allowed_hosts="*")
    assert None not in [_answer_of((b"host", host), layer=layer, kind=kind) for _ in range(2)]


@KINDS
def test_several_hosts_are_refused(kind: str) -> None:
    """Several Host headers are refused, also equal ones (RFC 9112, 3.2)."""
    assert _answer_of(HOST, (b"host", b"evil.example"), kind=kind) is not None
    assert _answer_of(HOST, HOST, kind=kind) is not None
    assert _answer_of(HOST, (b"cookie", b"a"), (b"cookie", b"b"), kind=kind) is None


@pytest.mark.parametrize(
    ("version", "allowed", "served"),
    [
        ("1.1", "*", False),
        ("1.0", "*", True),
        ("1", "*", True),
        ("2", "*", True),
        ("1.0", "shop.example", False),
        ("1", "shop.example", False),
        ("2", "shop.example", False),
    ],
)
def test_a_missing_host_is_refused(version: str, allowed: str, served: bool) -> None:
    """HTTP/1.1 requires a Host header. Other versions do where the allowed hosts are named."""
    assert served == (_answer_of(layer=_layer(allowed_hosts=allowed), http_version=version) is None)


@pytest.mark.parametrize("version", ["1", "1.0", "1.1", "2"])
@pytest.mark.parametrize("allowed", ["*", "shop.example"])
def test_an_empty_host_is_none_in_http_1_0(version: str, allowed: str) -> None:
    """granian adds an empty Host header to requests of HTTP/1.0 without one, and gives their version as 1."""
    served = _answer_of((b"host", b""), layer=_layer(allowed_hosts=allowed), http_version=version) is None
    assert (version in ("1", "1.0") and allowed == "*") == served


@settings(deadline=None)
@given(st.binary(max_size=40) | st.from_regex(rb"[A-Za-z0-9.:\[\]@/-]{1,30}", fullmatch=True))
def test_a_parsed_host_can_be_put_into_a_link(host: bytes) -> None:
    """A name has no character that ends the host in a URL, and is parsed to itself."""
    authority = read_authority(host)
    if authority is not None:
        name, port = authority
        assert not set(name) & set("/?#@\\ %,<>\"'")
        assert (name, port) == read_authority((name if port is None else f"{name}:{port}").encode())


def test_the_example_of_the_docstring() -> None:
    """The doctest of `read_authority` passes."""
    assert 0 == doctest.testmod(addresses).failed


def test_the_cache_is_bounded() -> None:
    """A client can send any number of hosts."""
    layer = _layer()
    for number in range(1000):
        assert _answer_of((b"host", b"a%d.example" % number), layer=layer) is None
    assert layer._check_host.cache_info().currsize < 200


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
def test_a_body_without_a_clear_end_is_refused(headers, kind: str) -> None:
    """Another program could take part of the body for the next request (RFC 9112, 6.3), so the connection is closed."""
    assert _closes(_answer_of(HOST, *headers, kind=kind))


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
def test_a_body_with_a_clear_end_passes(headers) -> None:
    """A length that a proxy has repeated unchanged is clear as well (RFC 9112, 6.3)."""
    assert _answer_of(HOST, *headers) is None


@pytest.mark.parametrize("version", ["1", "1.0", "2"])
def test_transfer_codings_are_for_http_1_1(version: str) -> None:
    """HTTP/1.0 has no transfer codings (RFC 9112, 6.1), and HTTP/2 has none either (RFC 9113, 8.2.2)."""
    answer = _answer_of(HOST, _coding(b"chunked"), http_version=version)
    assert answer is not None
    assert (version != "2") == _closes(answer)


@pytest.mark.parametrize("code", [*range(32), 127])
@KINDS
def test_control_characters_are_refused(code: int, kind: str) -> None:
    """A header may have no control character but the tab (RFC 9110, 5.5)."""
    answer = _answer_of(HOST, (b"x-one", b"1"), (b"x-note", b"a%cb" % code), (b"x-two", b"2"), kind=kind)
    assert (code != ord("\t")) == _closes(answer)


def test_other_characters_pass() -> None:
    """Characters beyond ASCII pass."""
    assert _answer_of(HOST, (b"x-note", bytes([*range(32, 127), *range(128, 256)]))) is None


async def _unreached(scope, receive, send) -> None:
    raise AssertionError("the application was reached")


@pytest.mark.requirement("FA-3", "XC-E2")
async def test_a_refusal_is_a_problem() -> None:
    """The problem names the mistake, and not the allowed hosts."""
    app = build([BoundLayer(TrustedHostLayer, {"settings": WebSettings(allowed_hosts="secret.example")})], _unreached)
    async with connect(app) as connection:
        response = await connection.client.get("/")
        with pytest.raises(WebSocketRefused) as refused:
            async with connection.websocket("/"):
                pass
    for answer in (response, refused.value.response):
        assert (400, "application/problem+json") == (answer.status_code, answer.headers["content-type"])
        assert "secret" not in answer.text
        assert "The Host header names no host that is served here." == answer.json()["detail"]


@pytest.mark.requirement("CF-17", "CF-33", "FA-18", "FA-19")
@pytest.mark.parametrize("name", CASES)
async def test_traps(name: str) -> None:
    """Every exchange that ASGI allows passes through unharmed."""
    layer = BoundLayer(TrustedHostLayer, {"settings": WebSettings(allowed_hosts="testserver")})
    await CASES[name](Rig(lambda app: build([layer], app)))
