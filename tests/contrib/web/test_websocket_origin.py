"""The layer that refuses WebSockets of foreign pages."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket
from tests.asgi_cases import CASES, EmptyHooks, Rig, websocket_scope

from bandmaster.contrib.web import WebSettings
from bandmaster.contrib.web.websocket_origin import WebSocketOriginLayer
from bandmaster.kernel import MiddlewareContribution, create_app
from bandmaster.kernel.stack.build import BoundLayer, build
from bandmaster.kernel.stack.frame_exchange import Response
from bandmaster.kernel.stack.messages import WebSocketExchange
from bandmaster.kernel.testing import WebSocketRefused, run

pytestmark = pytest.mark.anyio


def _is_let_in(*origins: bytes, host: bytes | None = b"shop.example", scheme: str = "wss", **settings) -> bool:
    headers = [(b"origin", origin) for origin in origins]
    if host is not None:
        headers.append((b"host", host))
    exchange = WebSocketExchange({**websocket_scope(), "scheme": scheme, "headers": headers})
    WebSocketOriginLayer.layer(WebSettings(**settings)).on_request(exchange)
    answer = exchange.answer
    assert answer is None or (isinstance(answer, Response) and answer.status == 403)
    return answer is None


def test_programs_are_let_in() -> None:
    """Programs send no Origin, and no cookies of other users."""
    assert _is_let_in()
    assert _is_let_in(host=None)


@pytest.mark.parametrize(
    ("origin", "host", "same"),
    [
        (b"https://shop.example", b"shop.example", True),
        (b"https://shop.example", b"SHOP.example.", True),
        (b"HTTPS://Shop.Example", b"shop.example", True),
        (b"https://shop.example", b"shop.example:443", True),
        (b"https://shop.example:443", b"shop.example", True),
        (b"http://shop.example", b"shop.example", True),
        (b"http://shop.example", b"shop.example:80", True),
        (b"http://localhost:8000", b"localhost:8000", True),
        (b"http://[::1]:8000", b"[0:0::1]:8000", True),
        (b"https://shop.example:8443", b"shop.example", False),
        (b"https://shop.example", b"shop.example:8443", False),
        (b"https://shop.example", b"shop.example:80", False),
        (b"http://localhost:3000", b"localhost:8000", False),
        (b"https://www.shop.example", b"shop.example", False),
        (b"https://shop.example", b"www.shop.example", False),
        (b"https://shop.example.evil.example", b"shop.example", False),
        (b"https://evilshop.example", b"shop.example", False),
        (b"chrome-extension://shop", b"shop", False),
        (b"https://shop.example", b"user@shop.example", False),
        (b"https://shop.example", None, False),
    ],
)
@pytest.mark.parametrize("scheme", ["ws", "wss"])
def test_pages_of_the_same_host_are_let_in(origin: bytes, host: bytes | None, same: bool, scheme: str) -> None:
    """Name and port are compared, and the scheme isn't, since a proxy may terminate TLS."""
    assert same == _is_let_in(origin, host=host, scheme=scheme)


@pytest.mark.parametrize(
    "origin",
    [
        b"null",
        b"",
        b"shop.example",
        b"//shop.example",
        b"https://",
        b"https:///",
        b"https://shop.example/",
        b"https://shop.example/x",
        b"https://user@shop.example",
        b"https://shop.example https://shop.example",
        b"https://shop.example, https://evil.example",
        b"https://shop.example\x00",
        b"https://shop.example:port",
        b"https://evil.example?shop.example",
        b"https://evil.example#@shop.example",
    ],
)
def test_a_malformed_origin_is_refused(origin: bytes) -> None:
    """Pages that hide their origin are refused as well."""
    assert not _is_let_in(origin)
    assert not _is_let_in(origin, cors_origins="https://app.example", websocket_origins="https://app.example")


def test_several_origins_are_refused() -> None:
    """Programs disagree about the one of several headers that counts."""
    assert not _is_let_in(b"https://shop.example", b"https://evil.example")
    assert not _is_let_in(b"https://shop.example", b"https://shop.example")


@pytest.mark.parametrize("field", ["websocket_origins", "cors_origins"])
def test_named_origins_are_let_in(field: str) -> None:
    """Pages that may read responses may open WebSockets as well."""
    settings = {field: "https://app.example,http://localhost:3000,chrome-extension://abc"}
    for origin in (b"https://app.example", b"http://localhost:3000", b"chrome-extension://abc"):
        assert _is_let_in(origin, **settings)
    for origin in (b"http://app.example", b"https://app.example:8443", b"https://app.example.evil.example"):
        assert not _is_let_in(origin, **settings)


def test_origins_that_match_the_expression_are_let_in() -> None:
    """The expression is compared with the whole origin."""
    settings = {"cors_origin_regex": r"https://pr-\d+\.shop\.example"}
    assert _is_let_in(b"https://pr-1.shop.example", **settings)
    assert not _is_let_in(b"https://pr-1.shop.example.evil.example", **settings)
    assert not _is_let_in(b"https://pr-1.shop.example:1", **settings)


@pytest.mark.requirement("CF-05", "FA-5")
def test_cors_for_every_origin_opens_no_websockets() -> None:
    """The `*` of CORS is for responses without cookies, and a WebSocket brings cookies."""
    assert not _is_let_in(b"https://evil.example", cors_origins="*")
    assert not _is_let_in(b"*", cors_origins="*")
    assert _is_let_in(b"https://shop.example", cors_origins="*")


def test_for_every_origin_the_layer_is_left_out() -> None:
    """With `*` for WebSockets the stack is the application itself."""

    async def bare(scope, receive, send) -> None:
        """Do nothing."""

    layer = BoundLayer(WebSocketOriginLayer, {"settings": WebSettings(websocket_origins="*")})
    assert bare is build([layer], bare).websocket


@pytest.mark.parametrize("extensions", [{}, {"websocket.http.response": {}}])
async def test_a_page_of_a_foreign_origin_is_refused(extensions) -> None:
    """A foreign page gets 403 before the application is called, or a close if the server has no other way."""
    reached = []

    async def echo(websocket: WebSocket) -> None:
        reached.append(websocket.headers.get("origin"))
        await websocket.accept()
        await websocket.send_text("hello")

    app = create_app(
        Starlette(routes=[WebSocketRoute("/", echo)]),
        contributions=[WebSocketOriginLayer],
        discover=False,
        overrides={WebSettings: WebSettings()},
    )
    async with run(app) as running:
        async with running.websocket("/", headers={"origin": "http://testserver"}) as socket:
            assert "hello" == await socket.receive_text()
        with pytest.raises(WebSocketRefused) as refused:
            async with running.websocket(
                "/", headers={"origin": "https://evil.example"}, extensions={"asgi_scope": {"extensions": extensions}}
            ):
                pass
    assert (403, ["http://testserver"]) == (refused.value.status_code, reached)
    if extensions:
        assert "Pages of this origin may not open WebSockets here." == refused.value.response.json()["detail"]
    else:
        assert 1008 == refused.value.code


@pytest.mark.requirement("CF-17", "CF-33", "FA-18", "FA-19")
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("origin", [None, "http://testserver"])
async def test_traps(name: str, origin: str | None) -> None:
    """Every exchange that ASGI allows passes through unharmed."""
    layer = BoundLayer(WebSocketOriginLayer, {"settings": WebSettings()})
    headers = () if origin is None else ((b"origin", origin.encode()),)
    # The cases expect an exchange, and the layer has none for HTTP.
    other = BoundLayer(MiddlewareContribution(name="other", layer=EmptyHooks, priority=199), {})
    await CASES[name](Rig(lambda app: build([layer, other], app), headers))
