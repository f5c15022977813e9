"""Exceptions that the layer answers: of other layers, of WebSockets, and after a response has begun."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException, WebSocketException
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from tests.asgi_cases import CASES, Rig
from tests.contrib.web.problems.hosts import ORIGIN, SECRET, WEB, SoldOut, build_socket_host, compose, fetch, transient

from bandmaster.contrib.web import AccessSink, ProblemsLayer, install_problems
from bandmaster.kernel import Exchange, KernelSettings, MiddlewareBand, MiddlewareContribution, create_app
from bandmaster.kernel.stack.build import BoundLayer, build
from bandmaster.kernel.testing import WebSocketClosed, WebSocketRefused, read_chunk, run

pytestmark = pytest.mark.anyio


@pytest.mark.requirement("CF-17", "CF-33")
@pytest.mark.parametrize("kind", ["starlette", "bare"])
@pytest.mark.parametrize("error", [ZeroDivisionError("late"), HTTPException(404), transient(1)])
async def test_a_response_that_has_begun_is_cut_off(kind: str, error: Exception) -> None:
    """A response that has begun is not started again, and the client notices the incomplete response."""

    async def body():
        yield b"a"
        raise error

    async def endpoint(request: Request) -> StreamingResponse:
        return StreamingResponse(body())

    async def bare(scope, receive, send) -> None:
        await StreamingResponse(body())(scope, receive, send)

    host = bare if kind == "bare" else Starlette(routes=[Route("/", endpoint)])
    async with run(compose(host), raise_app_exceptions=False) as running:
        async with running.client.stream("GET", "/") as response:
            assert (200, b"a") == (response.status_code, await read_chunk(response))
            with pytest.raises(httpx2.RemoteProtocolError, match="the response broke off"):
                await read_chunk(response)


SOCKET_ERRORS = [
    (HTTPException(404), 404, 1008),
    (SoldOut("No."), 409, 1008),
    (transient(1), 503, 1013),
    (ZeroDivisionError(SECRET), 500, 1011),
]


@pytest.mark.requirement("FA-3", "XC-E2")
@pytest.mark.parametrize("kind", ["starlette", "bare"])
@pytest.mark.parametrize(("error", "status", "code"), SOCKET_ERRORS)
async def test_a_websocket_that_fails_before_it_is_accepted_is_refused(
    kind: str, error: Exception, status: int, code: int
) -> None:
    """A WebSocket that fails before the accept is refused with a problem, if the server can send one."""
    async with run(compose(build_socket_host(kind, error, accepting=False))) as running:
        with pytest.raises(WebSocketRefused) as refused:
            async with running.websocket("/"):
                pass
    problem = refused.value.response.json()
    assert (status, status) == (refused.value.status_code, problem["status"])
    assert "request_id" in problem
    assert SECRET not in refused.value.response.text


@pytest.mark.requirement("FA-3", "XC-E2")
@pytest.mark.parametrize("kind", ["starlette", "bare"])
@pytest.mark.parametrize(("error", "status", "code"), [*SOCKET_ERRORS, (WebSocketException(4001, "bye"), 0, 4001)])
async def test_a_websocket_that_fails_after_it_is_accepted_is_closed(
    kind: str, error: Exception, status: int, code: int
) -> None:
    """The close code depends on the kind of the error, and the reason is empty."""
    async with (
        run(compose(build_socket_host(kind, error, accepting=True))) as running,
        running.websocket("/") as socket,
    ):
        with pytest.raises(WebSocketClosed) as closed:
            await socket.receive_text()
    assert (code, "bye" if code == 4001 else "") == (closed.value.code, closed.value.reason)


DENIAL = {"type": "websocket.http.response.start", "status": 403, "headers": [(b"content-length", b"9")]}
REFUSALS = {
    "closed": [{"type": "websocket.close", "code": 4000}],
    "accepted and closed": [{"type": "websocket.accept"}, {"type": "websocket.close", "code": 4000}],
    "refusal begun": [DENIAL],
    "half refused": [DENIAL, {"type": "websocket.http.response.body", "body": b"half", "more_body": True}],
    "refused": [DENIAL, {"type": "websocket.http.response.body", "body": b"not today"}],
}


@pytest.mark.parametrize("kind", ["starlette", "bare"])
@pytest.mark.parametrize("error", [ZeroDivisionError(), HTTPException(403), transient(1), WebSocketException(4001)])
@pytest.mark.parametrize("messages", REFUSALS.values(), ids=list(REFUSALS))
async def test_an_exception_of_a_closed_websocket_goes_on_to_the_server(
    messages: list[Any], error: Exception, kind: str
) -> None:
    """No message may follow a close, or the start of a refusal: the server gets the exception."""

    async def endpoint(websocket: WebSocket) -> None:
        for message in messages:
            await websocket.send(message)
        raise error

    async def bare(scope, receive, send) -> None:
        if scope["type"] == "websocket":
            await endpoint(WebSocket(scope, receive, send))

    app = compose(bare if kind == "bare" else Starlette(routes=[WebSocketRoute("/", endpoint)]))
    server = Rig(lambda _: app).websocket(bare, denial=True)
    async with app.running():
        # Starlette closes the WebSocket for its own exception, and refuses to close it twice.
        with pytest.raises((type(error), RuntimeError)):
            await server.run()
    assert [message["type"] for message in messages] == [message["type"] for message in server.sent]


async def test_a_refusal_that_the_application_leaves_unfinished() -> None:
    """A refusal that is begun and never ended is recorded as incomplete."""
    records: list[Any] = []

    class Sink:
        def write(self, record: Any) -> None:
            records.append(record)

    async def bare(scope, receive, send) -> None:
        if scope["type"] == "websocket":
            for message in REFUSALS["half refused"]:
                await send(message)

    app = create_app(bare, contributions=WEB, discover=False, overrides={AccessSink: Sink()})
    async with app.running():
        await Rig(lambda _: app).websocket(bare, denial=True).run()
    assert [(403, "warning", True, False)] == [(r.status, r.level, r.incomplete, r.disconnected) for r in records]


@pytest.mark.parametrize("status", [404, 500])
@pytest.mark.parametrize("accepting", [False, True])
@pytest.mark.parametrize("denial", [False, True])
async def test_a_handler_refuses_a_websocket_itself(status: int, accepting: bool, denial: bool) -> None:
    """No HTTPException leaves the host: error trackers would report a failure."""
    left: list[Exception] = []
    host = build_socket_host("starlette", HTTPException(status, SECRET), accepting=accepting)

    async def watching(scope, receive, send) -> None:
        try:
            await host(scope, receive, send)
        except Exception as error:
            left.append(error)
            raise

    install_problems(host)
    app = compose(watching)
    server = Rig(lambda _: app).websocket(watching, denial=denial)
    async with app.running():
        await server.run()
    code = 1011 if status == 500 else 1008
    closed = {"type": "websocket.close", "code": code, "reason": ""}
    first, *more = server.sent
    assert [] == left
    if accepting:
        assert ["websocket.accept", closed] == [first["type"], *more]
    elif denial:
        assert (status, SECRET) == (first["status"], json.loads(more[0]["body"])["detail"])
    else:
        assert closed == first


class FailingHooks:
    def on_request(self, exchange: Exchange) -> None:
        raise ZeroDivisionError(SECRET)


class FailingMiddleware:
    def __init__(self, app: Any) -> None:
        pass

    async def __call__(self, scope, receive, send) -> None:
        raise ZeroDivisionError(SECRET)


@pytest.mark.requirement("FA-3")
@pytest.mark.parametrize("layer", [FailingHooks, FailingMiddleware])
@pytest.mark.parametrize("band", [MiddlewareBand.OUTERMOST, MiddlewareBand.INNERMOST])
async def test_errors_of_layers_are_problems(layer: type, band: MiddlewareBand) -> None:
    """An exception of a layer in any place is a problem, and pages of other origins can read it."""
    part = MiddlewareContribution(name="failing", layer=layer, band=band)
    response = await fetch(compose(Starlette(), part))
    assert (500, 500) == (response.status_code, response.json()["status"])
    assert ORIGIN["origin"] == response.headers["access-control-allow-origin"]
    assert SECRET not in response.text


ANSWERED_CASES = ("exception_before_start", "websocket_exception")
"""Cases that expect an exception to reach the server. The layer answers these exceptions; the tests above show it."""


@pytest.mark.requirement("CF-17", "CF-33", "FA-18", "FA-19")
@pytest.mark.parametrize("name", [name for name in CASES if name not in ANSWERED_CASES])
async def test_traps(name: str) -> None:
    """Every exchange that ASGI allows passes through unharmed."""
    await CASES[name](Rig(lambda app: build([BoundLayer(ProblemsLayer, {"settings": KernelSettings()})], app)))
