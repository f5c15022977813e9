"""Answers of layers and handlers with a problem."""

from __future__ import annotations

import pytest
from tests.asgi_cases import http_scope, websocket_scope

from bandmaster.contrib.web import request_context
from bandmaster.contrib.web.problems.responses import CONNECTION_CLOSE, refuse
from bandmaster.kernel import Exchange, MiddlewareBand, MiddlewareContribution
from bandmaster.kernel.stack.build import BoundLayer, build
from bandmaster.kernel.stack.messages import HTTPExchange
from bandmaster.kernel.testing import WebSocketRefused, connect

pytestmark = pytest.mark.anyio


class _RefusingLayer:
    def on_request(self, exchange: Exchange) -> None:
        with request_context("one"):
            refuse(exchange, 413, "Too much.", [CONNECTION_CLOSE, (b"x-why", b"size")])


async def _unreached(scope, receive, send) -> None:
    raise AssertionError("the application was reached")


LAYER = MiddlewareContribution(name="refusing", layer=_RefusingLayer, band=MiddlewareBand.SECURITY)
APP = build([BoundLayer(LAYER, {})], _unreached)
PROBLEM = {
    "type": "about:blank",
    "title": "Content Too Large",
    "status": 413,
    "detail": "Too much.",
    "instance": "/a%20b",
    "request_id": "one",
}


@pytest.mark.requirement("FA-3", "XC-E2")
async def test_a_refusal_is_a_problem() -> None:
    """A refusal has the form of RFC 9457, and no cache may keep it."""
    async with connect(APP) as connection:
        response = await connection.client.get("/a%20b")
    assert (413, PROBLEM) == (response.status_code, response.json())
    headers = {name: response.headers[name] for name in ("content-type", "cache-control", "connection", "x-why")}
    assert {
        "content-type": "application/problem+json",
        "cache-control": "no-store",
        "connection": "close",
        "x-why": "size",
    } == headers


async def test_head_gets_no_body() -> None:
    """The response to HEAD has the length that the response to GET would have (RFC 9110, 9.3.2)."""
    async with connect(APP) as connection:
        response = await connection.client.head("/a%20b")
        length = (await connection.client.get("/a%20b")).headers["content-length"]
    assert (413, length) == (response.status_code, response.headers["content-length"])
    # Some servers send a body if they are given one.
    assert b"" == b"".join(message.get("body", b"") for message in response.extensions["asgi_messages"])


@pytest.mark.parametrize(("version", "present"), [("1.0", True), ("1.1", True), ("2", False), ("3", False)])
async def test_later_versions_have_no_connection_header(version: str, present: bool) -> None:
    """A Connection header would make a response of HTTP/2 or 3 malformed (RFC 9113, 8.2.2)."""
    async with connect(APP) as connection:
        response = await connection.client.get("/", extensions={"asgi_scope": {"http_version": version}})
    assert present == ("connection" in response.headers)


@pytest.mark.requirement("FA-3", "XC-E2")
async def test_a_websocket_is_refused_with_a_problem() -> None:
    """A WebSocket that is not accepted yet gets the same problem, if the server can send one."""
    async with connect(APP) as connection:
        with pytest.raises(WebSocketRefused) as refused:
            async with connection.websocket("/a%20b"):
                pass
    assert (413, PROBLEM) == (refused.value.status_code, refused.value.response.json())


async def test_any_path_can_be_rendered() -> None:
    """A path can't end a JSON string, and can always be encoded."""
    for path in ('/"}', "/\r\n", "/\udcff", "/\x00é"):
        for scope in (http_scope(), websocket_scope()):
            exchange = HTTPExchange(scope | {"path": path})
            refuse(exchange, 400, "No.")
            assert exchange.answer is not None
            assert b"request_id" not in exchange.answer.body
            assert exchange.answer.body.count(b'"') == 18
