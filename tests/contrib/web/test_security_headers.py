"""Headers that switch on what protection browsers have."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from tests.asgi_cases import CASES, Rig

from bandmaster.contrib.web import WebSettings
from bandmaster.contrib.web.hosts import TrustedHostLayer
from bandmaster.contrib.web.security_headers import SecurityHeadersLayer
from bandmaster.kernel import Exchange, KernelSettings, MiddlewareContribution, create_app
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


async def _answered(app, base_url: str = "http://testserver"):
    async with run(app, base_url=base_url) as running:
        return (await running.http.get("/")).headers


async def test_every_response_has_them() -> None:
    """By default, outside production, over plain HTTP."""
    headers = await _answered(_app())
    assert {
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "referrer-policy": "strict-origin-when-cross-origin",
        "cross-origin-opener-policy": "same-origin",
        "content-security-policy": "base-uri 'self'; frame-ancestors 'none'; object-src 'none'",
    } == {name: value for name, value in headers.items() if name not in ("content-type", "content-length")}


async def test_values_are_settings() -> None:
    """What is empty isn't sent."""
    headers = await _answered(
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


async def test_the_applications_own_win() -> None:
    """Whatever the case of their names, and never twice."""

    async def bare(scope, receive, send) -> None:
        own = [
            (b"X-Frame-Options", b"SAMEORIGIN"),
            (b"content-security-policy", b"a"),
            (b"Content-Security-Policy", b"b"),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": own})
        await send({"type": "http.response.body", "body": b""})

    headers = await _answered(build([_layer()], bare))
    assert ["SAMEORIGIN"] == headers.all("x-frame-options")
    assert ["a", "b"] == headers.all("content-security-policy")
    assert ["nosniff"] == headers.all("x-content-type-options")


async def test_errors_and_refusals_have_them() -> None:
    """Of the host, and of layers further in."""

    async def boom(request: Request) -> Response:
        raise RuntimeError("boom")

    app = _app(boom, TrustedHostLayer, allowed_hosts="testserver")
    async with run(app, raise_app_exceptions=False) as running:
        answers = [
            await running.http.get("/"),
            await running.http.get("/nowhere"),
            await running.http.get("/", headers={"host": "elsewhere.example"}),
        ]
    assert [500, 404, 400] == [answer.status for answer in answers]
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
async def test_https_for_ever(kernel, base_url: str, settings, expected: str | None) -> None:
    """In production, for a year, and only over HTTPS (RFC 6797, 7.2)."""
    headers = await _answered(_app(kernel=kernel, **settings), base_url)
    assert expected == headers.get(HSTS)


def test_switched_off_there_is_no_such_layer() -> None:
    """It costs nothing."""

    async def bare(scope, receive, send) -> None:
        """Nothing."""

    assert bare is build([_layer(security_headers=False)], bare).http


def _layer(**settings) -> BoundLayer:
    return BoundLayer(SecurityHeadersLayer, {"settings": WebSettings(**settings), "kernel": DEVELOPMENT})


class _Other:
    def on_end(self, exchange: Exchange) -> None:
        """Nothing."""


@pytest.mark.requirement("CF-17", "CF-33", "FA-18", "FA-19")
@pytest.mark.parametrize("name", CASES)
async def test_traps(name: str) -> None:
    """Whatever ASGI allows passes unharmed."""
    # It has nothing to do with WebSockets, so that no exchange is to be seen in one.
    other = BoundLayer(MiddlewareContribution(name="other", layer=_Other, priority=99), {})
    await CASES[name](Rig(lambda app: build([_layer(), other], app)))
