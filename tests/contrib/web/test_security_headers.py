"""Response headers for browsers' security features."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from tests.asgi_cases import CASES, EmptyHooks, Rig

from bandmaster.contrib.web import WebSettings
from bandmaster.contrib.web.security_headers import SecurityHeadersLayer
from bandmaster.contrib.web.trusted_host import TrustedHostLayer
from bandmaster.kernel import KernelSettings, MiddlewareContribution, create_app
from bandmaster.kernel.stack.build import BoundLayer, build
from bandmaster.kernel.testing import run

pytestmark = pytest.mark.anyio

PRODUCTION = KernelSettings(environment="production")
DEVELOPMENT = KernelSettings(environment="development")
HSTS = "strict-transport-security"


async def _hello(request: Request) -> PlainTextResponse:
    return PlainTextResponse("hello")


def _app(endpoint=_hello, *others, kernel: KernelSettings = DEVELOPMENT, **settings):
    return create_app(
        Starlette(routes=[Route("/", endpoint)]),
        contributions=[SecurityHeadersLayer, *others],
        discover=False,
        settings=kernel,
        overrides={WebSettings: WebSettings(**settings)},
    )


async def _fetch_headers(app, base_url: str = "http://testserver"):
    async with run(app, base_url=base_url) as running:
        return (await running.client.get("/")).headers


async def test_every_response_has_the_headers() -> None:
    """These are the headers by default, outside production and over HTTP."""
    headers = await _fetch_headers(_app())
    assert {
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "referrer-policy": "strict-origin-when-cross-origin",
        "cross-origin-opener-policy": "same-origin",
        "content-security-policy": "base-uri 'self'; frame-ancestors 'none'; object-src 'none'",
    } == {name: value for name, value in headers.items() if name not in ("content-type", "content-length")}


async def test_values_are_settings() -> None:
    """A header whose setting is empty is not sent."""
    headers = await _fetch_headers(
        _app(
            content_security_policy="default-src 'self'",
            frame_options="SAMEORIGIN",
            referrer_policy="",
            opener_policy="",
            permissions_policy="camera=()",
        )
    )
    assert ("default-src 'self'", "SAMEORIGIN", "camera=()") == (
        headers["content-security-policy"],
        headers["x-frame-options"],
        headers["permissions-policy"],
    )
    assert not {"referrer-policy", "cross-origin-opener-policy"} & set(headers)


async def test_the_applications_headers_win() -> None:
    """A header that the application sets is never replaced nor repeated, in upper or lower case."""

    async def bare(scope, receive, send) -> None:
        own = [
            (b"X-Frame-Options", b"SAMEORIGIN"),
            (b"content-security-policy", b"a"),
            (b"Content-Security-Policy", b"b"),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": own})
        await send({"type": "http.response.body", "body": b""})

    headers = await _fetch_headers(build([_layer()], bare))
    assert ["SAMEORIGIN"] == headers.get_list("x-frame-options")
    assert ["a", "b"] == headers.get_list("content-security-policy")
    assert ["nosniff"] == headers.get_list("x-content-type-options")


async def test_errors_and_refusals_have_the_headers() -> None:
    """Errors of the host and refusals of inner layers have the headers."""

    async def boom(request: Request) -> Response:
        raise RuntimeError("boom")

    app = _app(boom, TrustedHostLayer, allowed_hosts="testserver")
    async with run(app, raise_app_exceptions=False) as running:
        answers = [
            await running.client.get("/"),
            await running.client.get("/nowhere"),
            await running.client.get("/", headers={"host": "elsewhere.example"}),
        ]
    assert [500, 404, 400] == [answer.status_code for answer in answers]
    assert ["nosniff"] * 3 == [answer.headers.get("x-content-type-options") for answer in answers]


@pytest.mark.parametrize(
    ("kernel", "base_url", "settings", "expected"),
    [
        (PRODUCTION, "https://testserver", {}, "max-age=31536000"),
        (PRODUCTION, "http://testserver", {}, None),
        (DEVELOPMENT, "https://testserver", {}, None),
        (DEVELOPMENT, "https://testserver", {"hsts_seconds": 60}, "max-age=60"),
        (DEVELOPMENT, "http://testserver", {"hsts_seconds": 60}, None),
        (PRODUCTION, "https://testserver", {"hsts_seconds": 0}, None),
        (PRODUCTION, "https://testserver", {"hsts_subdomains": True}, "max-age=31536000; includeSubDomains"),
    ],
)
async def test_strict_transport_security(kernel, base_url: str, settings, expected: str | None) -> None:
    """The header makes browsers use HTTPS in production, for a year, and only over HTTPS (RFC 6797, 7.2)."""
    headers = await _fetch_headers(_app(kernel=kernel, **settings), base_url)
    assert expected == headers.get(HSTS)


def test_switched_off_the_layer_is_left_out() -> None:
    """Without security headers the stack is the application itself."""

    async def bare(scope, receive, send) -> None:
        """Do nothing."""

    assert bare is build([_layer(security_headers=False)], bare).http


def _layer(**settings) -> BoundLayer:
    return BoundLayer(SecurityHeadersLayer, {"settings": WebSettings(**settings), "kernel": DEVELOPMENT})


@pytest.mark.requirement("CF-17", "CF-33", "FA-18", "FA-19")
@pytest.mark.parametrize("name", CASES)
async def test_traps(name: str) -> None:
    """Every exchange that ASGI allows passes through unharmed."""
    # The cases expect an exchange, and the layer has none for WebSockets.
    other = BoundLayer(MiddlewareContribution(name="other", layer=EmptyHooks, priority=99), {})
    await CASES[name](Rig(lambda app: build([_layer(), other], app)))
