"""Tests of bandmaster.kernel.hosting.responses."""

import functools
import json

import pytest
from tests.kernel.asking import ask, call, http_scope, websocket_scope

from bandmaster.kernel.hosting import responses

pytestmark = pytest.mark.anyio


def refusing(closing=False):
    async def app(scope, receive, send):
        await responses.refuse_request(scope, send, 7, closing=closing)

    return app


async def test_a_refusal_is_a_problem_with_a_time_to_come_back():
    """A 503 has the time after which to come back, and a body that programs can read."""
    answer = await ask(refusing())
    assert (503, {"type": "about:blank", "title": "Service Unavailable", "status": 503}) == (answer.status, answer.json)
    assert answer.headers == {
        "content-type": "application/problem+json",
        "content-length": str(len(answer.body)),
        "retry-after": "7",
        "cache-control": "no-store",
    }


async def test_the_answer_to_head_has_headers_only():
    """A response to HEAD has the headers that GET would get, and no content (RFC 9110)."""
    whole, head = await ask(refusing()), await ask(refusing(), method="HEAD")
    assert (b"", whole.headers) == (head.body, head.headers)


@pytest.mark.parametrize(("version", "header"), [("1.0", "close"), ("1.1", "close"), ("2", None), ("3", None)])
async def test_only_http_1_has_connection_close(version, header):
    """HTTP/2 and 3 forbid the header, and clients may treat it as an attack."""
    assert header == (await ask(refusing(closing=True), http_version=version)).headers.get("connection")


async def test_a_connection_that_may_stay_is_not_closed():
    """Before the start, the client may use the same connection again."""
    assert "connection" not in (await ask(refusing(closing=False))).headers


async def test_a_websocket_is_refused_with_the_same_problem_where_the_server_can():
    """The denial response has the problem and the time after which to come back."""
    scope = websocket_scope(extensions={"websocket.http.response": {}})
    answer = await call(functools.partial(refusing_websocket, 7), scope)
    assert ["websocket.http.response.start", "websocket.http.response.body"] == [m["type"] for m in answer.messages]
    assert (503, "7", 503) == (answer.status, answer.headers["retry-after"], answer.json["status"])
    assert "application/problem+json" == answer.headers["content-type"]


@pytest.mark.parametrize("extensions", [{}, None, {"tls": {}}])
async def test_a_websocket_is_closed_where_the_server_knows_no_denial(extensions):
    """Without the extension the WebSocket is closed with 1013, also where the extensions are None."""
    answer = await call(functools.partial(refusing_websocket, 7), websocket_scope(extensions=extensions))
    assert [{"type": "websocket.close", "code": 1013, "reason": "not ready"}] == answer.messages


async def refusing_websocket(retry_after, scope, receive, send):
    await responses.refuse_websocket(scope, receive, send, retry_after)


async def test_a_wrong_method():
    """A 405 has the allowed methods in Allow."""

    async def app(scope, receive, send):
        await responses.refuse_method(scope, send, "GET", "HEAD")

    answer = await ask(app, method="POST")
    assert (405, "GET, HEAD", "application/problem+json") == (
        answer.status,
        answer.headers["allow"],
        answer.headers["content-type"],
    )
    assert {"type": "about:blank", "title": "Method Not Allowed", "status": 405} == answer.json


async def test_json_that_no_cache_keeps():
    """A health report must not come from a cache."""

    async def app(scope, receive, send):
        await responses.send_json(scope, send, 200, {"status": "pass"})

    answer = await call(app, http_scope("/livez"))
    assert (200, {"status": "pass"}, False) == (answer.status, json.loads(answer.body), answer.messages[1]["more_body"])
    assert ("application/json", "no-store") == (answer.headers["content-type"], answer.headers["cache-control"])
