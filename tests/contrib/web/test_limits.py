"""The layer that limits the sizes of bodies and messages."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fastapi import Body, FastAPI
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from tests.asgi_cases import CASES, Rig, http_scope

from bandmaster.contrib.web import RequestContextLayer, WebSettings
from bandmaster.contrib.web.cors import CORSLayer
from bandmaster.contrib.web.limits import LimitsLayer
from bandmaster.contrib.web.security_headers import SecurityHeadersLayer
from bandmaster.contrib.web.trusted_host import TrustedHostLayer
from bandmaster.contrib.web.websocket_origin import WebSocketOriginLayer
from bandmaster.kernel import BodyTooLarge, KernelSettings, create_app
from bandmaster.kernel.stack.build import BoundLayer, build
from bandmaster.kernel.stack.frame_exchange import Response
from bandmaster.kernel.stack.messages import HTTPExchange
from bandmaster.kernel.testing import connect, read_chunk, run

pytestmark = pytest.mark.anyio

LIMIT = 10
JSON = {"content-type": "application/json"}
KERNEL = KernelSettings(environment="production")


async def _bare(scope, receive, send) -> None:
    """An application that catches nothing, and answers with the number of bytes that it has read."""
    assert "http" == scope["type"]
    size, more = 0, True
    while more:
        message = await receive()
        size, more = size + len(message["body"]), message["more_body"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"%d" % size})


def _starlette() -> Starlette:
    async def whole(request: Request) -> PlainTextResponse:
        return PlainTextResponse(str(len(await request.body())))

    async def streamed(request: Request) -> PlainTextResponse:
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
        return PlainTextResponse(str(size))

    return Starlette(
        routes=[Route("/", whole, methods=["POST"]), Route("/{rest:path}", streamed, methods=["POST"])],
    )


def _fastapi() -> FastAPI:
    app = FastAPI()

    @app.post("/")
    async def read(body: Any = Body()) -> int:
        return len(json.dumps(body))

    @app.post("/{rest:path}")
    async def raw(request: Request) -> int:
        return len(await request.body())

    return app


HOSTS = {"bare": lambda: _bare, "starlette": _starlette, "fastapi": _fastapi}
any_host = pytest.mark.parametrize("host", HOSTS)


def _app(host: str, **settings):
    return create_app(
        HOSTS[host](),
        contributions=[LimitsLayer],
        discover=False,
        overrides={WebSettings: WebSettings(**{"max_body_bytes": LIMIT, **settings})},
    )


def _json(size: int) -> bytes:
    return b'"' + b"a" * (size - 2) + b'"'


async def _pieces(body: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


@any_host
async def test_a_body_at_the_limit_passes(host: str) -> None:
    """A body of the limit's size passes, with a Content-Length and in pieces."""
    body = _json(LIMIT)
    async with run(_app(host)) as running:
        answers = [
            await running.client.post("/", headers=JSON, content=content)
            for content in (body, *(_pieces(body, size) for size in (1, 3, LIMIT)))
        ]
    assert [(200, str(LIMIT))] * 4 == [(answer.status_code, answer.text) for answer in answers]


@any_host
async def test_a_content_length_above_the_limit_is_refused_at_once(host: str) -> None:
    """The answer comes before the body, and says that the connection is closed."""

    async def never() -> AsyncIterator[bytes]:
        read.append(True)
        yield b"a"

    read: list[bool] = []
    async with run(_app(host)) as running:
        whole = await running.client.post("/", content=_json(LIMIT + 1))
        streamed = await running.client.request("POST", "/", headers={"content-length": "11"}, content=b"")
        async with running.client.stream("POST", "/", headers={"content-length": "11"}, content=never()) as response:
            started = await read_chunk(response)
    for answer in (whole, streamed):
        assert (413, "close") == (answer.status_code, answer.headers["connection"])
        assert "The body is too large: at most 10 bytes are accepted here." == answer.json()["detail"]
    assert b"too large" in started


@pytest.mark.parametrize(("version", "sent"), [("1.1", True), ("2", False)])
async def test_only_http_1_closes_the_connection(version: str, sent: bool) -> None:
    """HTTP/2 ends the stream instead."""
    async with run(_app("bare")) as running:
        answer = await running.client.post("/", content=b"a" * 11, extensions={"asgi_scope": {"http_version": version}})
    assert (413, sent) == (answer.status_code, "connection" in answer.headers)


@any_host
@pytest.mark.parametrize("size", [1, 3, 10, 11])
@pytest.mark.parametrize("path", ["/", "/raw"])
async def test_a_body_that_grows_too_large_is_refused(host: str, size: int, path: str) -> None:
    """A body above the limit is refused in pieces of any size, on every host."""
    async with run(_app(host)) as running:
        answer = await running.client.post(path, content=_pieces(_json(LIMIT + 1), size))
    assert 413 == answer.status_code


@any_host
async def test_a_false_content_length_is_counted(host: str) -> None:
    """A body that is longer than its Content-Length is refused."""
    async with run(_app(host)) as running:
        answer = await running.client.post("/", headers={"content-length": "5"}, content=_pieces(_json(11), 4))
    assert 413 == answer.status_code


async def test_an_endless_body_is_not_read_to_its_end() -> None:
    """An endless body is read up to the piece that exceeds the limit."""
    sent = []

    async def endless() -> AsyncIterator[bytes]:
        while True:
            sent.append(b"aaa")
            yield sent[-1]

    async with run(_app("bare")) as running:
        answer = await running.client.post("/", content=endless())
    assert 413 == answer.status_code
    # The client may have sent further pieces meanwhile.
    assert len(sent) <= 5


async def test_a_refusal_after_counting_is_a_problem() -> None:
    """The layer answers where the application lets the exception pass."""
    async with run(_app("bare")) as running:
        answer = await running.client.post("/", content=_pieces(b"a" * 11, 4))
    assert ("application/problem+json", "close") == (answer.headers["content-type"], answer.headers["connection"])
    assert "The body is too large: at most 10 bytes are accepted here." == answer.json()["detail"]


async def test_a_response_that_has_begun_is_cut_off() -> None:
    """After the start of a response there is no other answer."""

    async def echo(scope, receive, send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await send({**await receive(), "type": "http.response.body"})

    layer = BoundLayer(LimitsLayer, {"settings": WebSettings(max_body_bytes=LIMIT)})
    async with connect(build([layer], echo)) as connection:
        with pytest.raises(BodyTooLarge) as raised:
            await connection.client.post("/", content=_pieces(b"a" * 30, 4))
    # The frame adds a note if a hook tries to answer.
    assert [] == getattr(raised.value, "__notes__", [])


@settings(deadline=None)
@given(st.integers(0, 20), st.lists(st.integers(0, 12), max_size=6), st.booleans())
def test_a_body_passes_if_and_only_if_it_is_within_the_limit(limit: int, sizes: list[int], announced: bool) -> None:
    """The pieces of a body and its Content-Length make no difference."""
    total = sum(sizes)
    incoming = [{"type": "http.request", "body": b"a" * size, "more_body": True} for size in sizes]
    incoming.append({"type": "http.request", "body": b"", "more_body": False})
    sent = []

    async def receive():
        return incoming.pop(0)

    async def send(message) -> None:
        sent.append(message)

    layer = BoundLayer(LimitsLayer, {"settings": WebSettings(max_body_bytes=limit)})
    headers = [(b"content-length", b"%d" % total)] if announced else []
    # Nothing here waits, so that no event loop is needed.
    with pytest.raises(StopIteration):
        build([layer], _bare)(http_scope(headers), receive, send).send(None)
    assert (200 if total <= limit else 413) == sent[0]["status"]
    if total <= limit:
        assert b"%d" % total == sent[1]["body"]
    elif announced:
        assert len(sizes) + 1 == len(incoming)


@pytest.mark.parametrize(
    ("path", "size", "status"),
    [
        ("/uploads/a/b", 100, 200),
        ("/uploads/a/b", 101, 413),
        ("/uploads/tiny", 3, 413),
        ("/other", 10, 200),
        ("/other", 11, 413),
        ("/none", 1, 413),
        ("/none", 0, 200),
    ],
)
@pytest.mark.parametrize("announced", [True, False])
async def test_paths_have_limits_of_their_own(path: str, size: int, status: int, announced: bool) -> None:
    """The first glob that matches counts, above and below the default limit."""
    limits = {"/uploads/tiny": 2, "/uploads/*": 100, "/none": 0, "/uploads/big": 1000}
    body = b"a" * size
    async with run(_app("bare", body_limits=limits)) as running:
        answer = await running.client.post(path, content=body if announced else _pieces(body, 7))
    assert status == answer.status_code


async def test_some_paths_alone_can_be_limited() -> None:
    """Without a default limit the other paths accept any body."""
    async with run(_app("bare", max_body_bytes=None, body_limits={"/small": 1})) as running:
        assert 200 == (await running.client.post("/", content=_pieces(b"a" * 100_000, 10_000))).status_code
        assert 413 == (await running.client.post("/small", content=b"aa")).status_code


def test_an_invalid_content_length_is_counted() -> None:
    """A Content-Length that is no number is ignored, and the body is counted."""
    for value in (b"x", b"", b"-5", b"9" * 30):
        exchange = HTTPExchange(http_scope([(b"content-length", value)]))
        LimitsLayer.layer(WebSettings(max_body_bytes=LIMIT)).on_request(exchange)
        assert (None, LIMIT) == (exchange.answer, exchange.body_limit)


def test_the_lowest_limit_is_named() -> None:
    """The problem names the limit that was exceeded, also one that another layer has set."""
    exchange = HTTPExchange(http_scope())
    LimitsLayer.layer(WebSettings()).on_error(exchange, BodyTooLarge(7))
    assert isinstance(exchange.answer, Response)
    assert b"at most 7 bytes" in exchange.answer.body


def test_without_limits_the_layer_is_left_out() -> None:
    """Without limits the stack is the application itself."""
    layer = BoundLayer(LimitsLayer, {"settings": WebSettings(max_body_bytes=None, max_message_bytes=None)})
    stack = build([layer], _bare)
    assert [_bare, _bare] == [stack.http, stack.websocket]


@pytest.mark.parametrize(
    ("message", "passes"),
    [("a" * 10, True), ("é" * 5, True), ("a" * 11, False), ("é" * 6, False), (b"a" * 10, True), (b"a" * 11, False)],
)
async def test_messages_have_a_limit(message: str | bytes, passes: bool) -> None:
    """A message above the limit closes the WebSocket with 1009. Its length is counted in bytes."""
    events = []

    async def listen(websocket: WebSocket) -> None:
        await websocket.accept()
        while (received := await websocket.receive())["type"] == "websocket.receive":
            events.append(received.get("text") or received.get("bytes"))
            await websocket.send_text("got it")
        events.append(received["code"])

    app = create_app(
        Starlette(routes=[WebSocketRoute("/", listen)]),
        contributions=[LimitsLayer],
        discover=False,
        overrides={WebSettings: WebSettings(max_message_bytes=LIMIT, max_body_bytes=None)},
    )
    async with run(app) as running:
        async with running.websocket("/") as socket:
            await (socket.send_text(message) if isinstance(message, str) else socket.send_bytes(message))
            if passes:
                assert "got it" == await socket.receive_text()
            else:
                assert 1009 == await socket.wait_closed()
    assert ([message, 1000] if passes else [1009]) == events


async def test_messages_can_be_without_limit() -> None:
    """Without a limit for messages a WebSocket receives messages of any size."""

    async def listen(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text(str(len(await websocket.receive_text())))

    layer = BoundLayer(LimitsLayer, {"settings": WebSettings(max_message_bytes=None)})
    app = build([layer], Starlette(routes=[WebSocketRoute("/", listen)]))
    async with connect(app) as connection, connection.websocket("/") as socket:
        await socket.send_text("a" * 2_000_000)
        assert "2000000" == await socket.receive_text()


WEB = WebSettings(
    cors_origins=("http://testserver",), allowed_hosts=("testserver",), max_body_bytes=1000, hsts_seconds=60
)
EVERY_LAYER = [
    BoundLayer(RequestContextLayer, {"settings": WEB}),
    BoundLayer(CORSLayer, {"settings": WEB}),
    BoundLayer(SecurityHeadersLayer, {"settings": WEB, "kernel": KERNEL}),
    BoundLayer(TrustedHostLayer, {"settings": WEB}),
    BoundLayer(WebSocketOriginLayer, {"settings": WEB}),
    BoundLayer(LimitsLayer, {"settings": WEB}),
]


@pytest.mark.requirement("CF-17", "CF-33", "FA-18", "FA-19")
@pytest.mark.parametrize("name", CASES)
async def test_traps(name: str) -> None:
    """Every exchange that ASGI allows passes through unharmed."""
    await CASES[name](Rig(lambda app: build(EVERY_LAYER[-1:], app)))


@pytest.mark.requirement("CF-17", "CF-33", "FA-18", "FA-19")
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("origin", [None, "http://testserver"])
async def test_traps_of_all_protecting_layers(name: str, origin: str | None) -> None:
    """The protecting layers together pass every exchange unharmed."""
    headers = () if origin is None else ((b"origin", origin.encode()),)
    await CASES[name](Rig(lambda app: build(EVERY_LAYER, app), headers))


@pytest.mark.requirement("CF-05", "FA-3", "FA-5", "XC-E2")
async def test_a_refusal_passes_the_outer_layers() -> None:
    """A page of an allowed origin can read a refusal, with its id and its security headers."""
    async with connect(build(EVERY_LAYER, _bare), headers={"origin": "http://testserver"}) as connection:
        answers = [
            await connection.client.post("/", content=b"a" * 1001),
            await connection.client.post("/", content=_pieces(b"a" * 1001, 400)),
            await connection.client.get("/", headers={"host": "elsewhere.example"}),
        ]
    assert [413, 413, 400] == [answer.status_code for answer in answers]
    for answer in answers:
        assert answer.headers["x-request-id"] == answer.json()["request_id"]
        assert ("http://testserver", "nosniff") == (
            answer.headers["access-control-allow-origin"],
            answer.headers["x-content-type-options"],
        )


def test_the_order() -> None:
    """The layers that concern every response are outside of those that refuse."""
    layers = [CORSLayer, SecurityHeadersLayer, TrustedHostLayer, WebSocketOriginLayer, LimitsLayer]
    assert ["cors", "security_headers", "trusted_host", "websocket_origin", "limits"] == [
        layer.name for layer in sorted(layers, key=lambda layer: layer.priority)
    ]
    assert [30, 40, 100, 110, 120] == [layer.priority for layer in layers]
