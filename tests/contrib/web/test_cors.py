"""The CORS layer: preflight requests and the headers of responses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from tests.asgi_cases import CASES, EmptyHooks, Rig

from bandmaster.contrib.web import WebSettings
from bandmaster.contrib.web.cors import CORSLayer
from bandmaster.contrib.web.trusted_host import TrustedHostLayer
from bandmaster.kernel import Exchange, MiddlewareBand, MiddlewareContribution, create_app
from bandmaster.kernel.stack.build import BoundLayer, build
from bandmaster.kernel.stack.messages import HTTPExchange
from bandmaster.kernel.testing import run

pytestmark = pytest.mark.anyio

SHOP = "https://shop.example"
EVIL = "https://evil.example"
PREFLIGHT = {"origin": SHOP, "access-control-request-method": "PUT", "access-control-request-headers": "x-token"}


async def _hello(request: Request) -> PlainTextResponse:
    return PlainTextResponse("hello")


async def _boom(request: Request) -> PlainTextResponse:
    raise RuntimeError("boom")


def _app(*others, **settings):
    host = Starlette(routes=[Route("/", _hello, methods=["GET", "PUT"]), Route("/boom", _boom)])
    return create_app(
        host,
        contributions=[CORSLayer, *others],
        discover=False,
        overrides={WebSettings: WebSettings(**{"cors_origins": SHOP, **settings})},
    )


async def test_a_page_of_a_named_origin_may_read() -> None:
    """A named origin gets the headers that let its pages read the response."""
    async with run(_app()) as running:
        response = await running.client.get("/", headers={"origin": SHOP})
    assert "hello" == response.text
    assert SHOP == response.headers["access-control-allow-origin"]
    assert "x-request-id" == response.headers["access-control-expose-headers"]
    assert "Origin" == response.headers["vary"]


@pytest.mark.parametrize("origin", [EVIL, "null", "", SHOP + ":443", SHOP.upper(), SHOP + "/", SHOP + ".evil.example"])
async def test_a_page_of_another_origin_may_not_read(origin: str) -> None:
    """Origins are compared byte by byte."""
    async with run(_app()) as running:
        response = await running.client.get("/", headers={"origin": origin})
    assert "access-control-allow-origin" not in response.headers
    assert "Origin" == response.headers["vary"]


async def test_caches_learn_that_responses_depend_on_the_origin() -> None:
    """A response without an Origin in the request has the Vary header, too."""
    async with run(_app()) as running:
        response = await running.client.get("/")
    assert ["Origin"] == response.headers.get_list("vary")
    assert "access-control-allow-origin" not in response.headers


async def test_a_preflight_never_reaches_the_application() -> None:
    """The layer answers a preflight request, and no layer inside is called."""
    reached = []

    class Inside:
        def on_request(self, exchange: Exchange) -> None:
            reached.append(exchange.method)

    inside = MiddlewareContribution(name="inside", layer=Inside, band=MiddlewareBand.SECURITY)
    async with run(_app(inside)) as running:
        response = await running.client.options("/nowhere", headers=PREFLIGHT)
        refused = await running.client.options("/nowhere", headers={**PREFLIGHT, "origin": EVIL})
        asked = await running.client.options("/", headers={"origin": SHOP})
    assert (200, SHOP) == (response.status_code, response.headers["access-control-allow-origin"])
    assert "PUT" in response.headers["access-control-allow-methods"]
    assert "600" == response.headers["access-control-max-age"]
    assert 400 == refused.status_code
    assert "access-control-allow-origin" not in refused.headers
    assert (405, ["OPTIONS"]) == (asked.status_code, reached)


async def test_private_networks_are_allowed_by_a_setting() -> None:
    """A preflight for a private network is allowed only if the setting says so."""
    headers = {**PREFLIGHT, "access-control-request-private-network": "true"}
    for allowed in (False, True):
        async with run(_app(cors_private_network=allowed)) as running:
            response = await running.client.options("/", headers=headers)
        assert allowed == ("access-control-allow-private-network" in response.headers)


@pytest.mark.requirement("CF-05", "FA-5")
async def test_errors_can_be_read() -> None:
    """A page can read an error of the host, of a route and of a layer inside."""
    async with run(_app(TrustedHostLayer, allowed_hosts="testserver"), raise_app_exceptions=False) as running:
        headers = {"origin": SHOP}
        answers = [
            await running.client.get("/nowhere", headers=headers),
            await running.client.get("/boom", headers=headers),
            await running.client.get("/", headers={**headers, "host": "elsewhere.example"}),
        ]
    assert [404, 500, 400] == [answer.status_code for answer in answers]
    assert [SHOP] * 3 == [answer.headers.get("access-control-allow-origin") for answer in answers]


async def test_an_answer_of_an_outer_layer_can_be_read() -> None:
    """The answer of an outer layer to an exception has the headers as well."""

    class Answering:
        def on_error(self, exchange: Exchange, error: Exception) -> None:
            exchange.respond(500, body=b"sorry")

    async def bare(scope, receive, send) -> None:
        raise RuntimeError("boom")

    outside = MiddlewareContribution(name="outside", layer=Answering, priority=20)
    layers = [BoundLayer(outside, {}), BoundLayer(CORSLayer, {"settings": WebSettings(cors_origins=SHOP)})]
    async with run(build(layers, bare)) as running:
        response = await running.client.get("/", headers={"origin": SHOP})
    assert (500, SHOP) == (response.status_code, response.headers["access-control-allow-origin"])


def test_without_origins_the_layer_is_left_out() -> None:
    """Without allowed origins the stack is the application itself."""

    async def bare(scope, receive, send) -> None:
        """Do nothing."""

    stack = build([BoundLayer(CORSLayer, {"settings": WebSettings()})], bare)
    assert bare is stack.http
    assert bare is stack.websocket


async def test_the_cache_is_bounded() -> None:
    """A client can send any number of origins."""
    layer = CORSLayer.layer(WebSettings(cors_origins="*"))
    for number in range(1000):
        exchange = HTTPExchange({"type": "http", "headers": [(b"origin", b"https://a%d.example" % number)]})
        exchange.response_headers = []
        layer.on_response_start(exchange)
    assert layer._grant.cache_info().currsize < 200


ORIGINS = [SHOP, "https://pr-1.shop.example", EVIL, "null", "", "https://shop.example:443", "\xe4", "a, b"]
METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW"]
NAMES = ["x-token", "Accept", "content-type", "x-other"]

some_settings = st.builds(
    WebSettings,
    cors_origins=st.sampled_from([(SHOP,), ("*",), (SHOP, "http://localhost:3000")]),
    cors_origin_regex=st.sampled_from([None, r"https://pr-\d+\.shop\.example"]),
    cors_methods=st.sampled_from([("*",), ("GET",), ("GET", "PUT"), ()]),
    cors_headers=st.sampled_from([("*",), (), ("X-Token",), ("x-token", "x-other")]),
    cors_expose_headers=st.sampled_from([(), ("x-request-id",), ("x-one", "x-two")]),
    cors_private_network=st.booleans(),
    cors_max_age=st.sampled_from([0, 600]),
) | st.builds(WebSettings, cors_origins=st.just((SHOP,)), cors_credentials=st.just(True))

some_request_headers = st.lists(
    st.tuples(st.just("origin"), st.sampled_from(ORIGINS))
    | st.tuples(st.just("access-control-request-method"), st.sampled_from(METHODS))
    | st.tuples(
        st.just("access-control-request-headers"),
        st.lists(st.sampled_from(NAMES), max_size=3).map(", ".join) | st.just(" x-token ,"),
    )
    | st.tuples(st.just("access-control-request-private-network"), st.just("true"))
    | st.tuples(st.just("cookie"), st.just("a=b")),
    max_size=6,
)

some_response_headers = st.lists(
    st.tuples(
        st.sampled_from(["vary", "Vary"]),
        st.sampled_from(["accept", "Accept-Encoding, Cookie", "origin", "Origin", "*", "", "accept, ORIGIN"]),
    )
    | st.tuples(
        st.sampled_from(
            [
                "access-control-allow-origin",
                "Access-Control-Allow-Credentials",
                "access-control-expose-headers",
                "access-control-allow-methods",
            ]
        ),
        st.sampled_from(["*", "https://app.example", "true"]),
    )
    | st.tuples(st.just("set-cookie"), st.sampled_from(["a=1", "b=2"])),
    max_size=6,
)


def _encode_headers(headers):
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]


def _call(app, method, headers):
    """The response to one request. Nothing in the stack waits, so no event loop is needed."""
    sent = []

    async def receive():
        raise AssertionError("the body was read")

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": method, "path": "/", "headers": _encode_headers(headers)}
    coroutine = app(scope, receive, send)
    with pytest.raises(StopIteration):
        coroutine.send(None)
    start, *body = sent
    return start["status"], _normalize_headers(start["headers"]), b"".join(message.get("body", b"") for message in body)


def _normalize_headers(headers):
    """All headers but Vary unchanged and sorted by name; Vary as the set that RFC 9110, 12.5.5 defines."""
    lowered = [(name.lower(), value) for name, value in headers]
    varies = {
        part.strip().lower() for name, value in lowered if name == b"vary" for part in value.split(b",") if part.strip()
    }
    others = sorted((pair for pair in lowered if pair[0] != b"vary"), key=lambda pair: pair[0])
    return others, {b"*"} if b"*" in varies else varies


@pytest.mark.requirement("CF-05", "FA-5")
@hypothesis_settings(deadline=None)
@given(
    some_settings,
    st.just("OPTIONS") | st.sampled_from(METHODS),
    some_request_headers,
    some_response_headers,
    st.sampled_from([200, 404]),
)
def test_responses_equal_starlettes(settings, method, sent, own, status) -> None:
    """For any settings, request and headers, two equal requests get the response of Starlette's middleware."""

    def app(headers):
        async def app(scope, receive, send) -> None:
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": b"hello"})

        return app

    theirs = CORSMiddleware(
        # ASGI wants names in lower case: Starlette overlooks others, and adds its own beside them.
        app([(name.lower(), value) for name, value in _encode_headers(own)]),
        allow_origins=settings.cors_origins,
        allow_methods=settings.cors_methods,
        allow_headers=settings.cors_headers,
        allow_credentials=settings.cors_credentials,
        allow_origin_regex=settings.cors_origin_regex,
        allow_private_network=settings.cors_private_network,
        expose_headers=settings.cors_expose_headers,
        max_age=settings.cors_max_age,
    )
    ours = build([BoundLayer(CORSLayer, {"settings": settings})], app(_encode_headers(own))).http
    expected = _call(theirs, method, sent)
    assert [expected, expected] == [_call(ours, method, sent) for _ in range(2)]


async def test_vary_is_extended_and_names_nothing_twice() -> None:
    """An Origin that Vary already names is not added, where Starlette would add a second one."""
    layer = CORSLayer.layer(WebSettings(cors_origins=SHOP))
    found = []
    for vary in ([b"Accept"], [b"accept, origin"], [b"*"], [b"Accept", b"Cookie"]):
        exchange = HTTPExchange({"type": "http", "method": "GET", "headers": [(b"origin", SHOP.encode())]})
        exchange.response_headers = [(b"vary", value) for value in vary]
        layer.on_response_start(exchange)
        found.append([value for name, value in exchange.response_headers if name == b"vary"])
    assert [[b"Accept, Origin"], [b"accept, origin"], [b"*"], [b"Accept, Cookie, Origin"]] == found


@pytest.mark.requirement("CF-17", "CF-33", "FA-18", "FA-19")
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("origin", [None, SHOP])
async def test_traps(name: str, origin: str | None) -> None:
    """Every exchange that ASGI allows passes through unharmed."""
    layer = BoundLayer(CORSLayer, {"settings": WebSettings(cors_origins=SHOP)})
    headers = () if origin is None else ((b"origin", origin.encode()),)
    # The cases expect an exchange, and the CORS layer has none for WebSockets.
    other = BoundLayer(MiddlewareContribution(name="other", layer=EmptyHooks, priority=99), {})
    await CASES[name](Rig(lambda app: build([layer, other], app), headers))
