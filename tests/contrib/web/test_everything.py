"""All web parts together, on hosts of every kind."""

from __future__ import annotations

from contextlib import asynccontextmanager
from importlib.metadata import distribution
from typing import Any

import anyio
import pytest
from fastapi import FastAPI
from litestar import Litestar, get, websocket
from litestar import WebSocket as LitestarSocket
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket
from tests.asgi_cases import CASES, Rig

from bandmaster.contrib.web import AccessRecord, AccessSink, WebSettings, request_id
from bandmaster.kernel import KernelSettings, MiddlewareContribution, create_app
from bandmaster.kernel.stack.build import BoundLayer, build
from bandmaster.kernel.testing import WebSocketRefused, run

pytestmark = pytest.mark.anyio

WEB = [point.load() for point in distribution("bandmaster-web").entry_points]
SETTINGS = WebSettings(cors_origins=("https://shop.example",), request_timeout=30, trust_request_id=True)


class RecordList:
    """A sink that keeps the access records."""

    def __init__(self) -> None:
        self.records: list[AccessRecord] = []

    def write(self, record: AccessRecord) -> None:
        self.records.append(record)


def compose(host: Any, lines: RecordList | None = None, **options: Any) -> Any:
    overrides = {WebSettings: SETTINGS, AccessSink: lines or RecordList()}
    return create_app(host, contributions=WEB, discover=False, overrides=overrides, **options)


async def _hello(request: Request) -> Response:
    return PlainTextResponse(f"hello {request_id()}")


async def _echo(socket: WebSocket) -> None:
    await socket.accept()
    async for text in socket.iter_text():
        await socket.send_text(text)


async def _bare(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "websocket":
        await _echo(WebSocket(scope, receive, send))
    elif scope["type"] == "http":
        await (await _hello(Request(scope)))(scope, receive, send)


def _starlette() -> Any:
    return Starlette(routes=[Route("/hello", _hello), WebSocketRoute("/echo", _echo)])


def _fastapi() -> Any:
    host = FastAPI()
    host.add_route("/hello", _hello)
    host.add_api_websocket_route("/echo", _echo)
    return host


def _litestar() -> Any:
    @get("/hello", media_type="text/plain")
    async def hello() -> str:
        return f"hello {request_id()}"

    @websocket("/echo")
    async def echo(socket: LitestarSocket) -> None:
        await socket.accept()
        await socket.send_text(await socket.receive_text())
        await socket.receive()

    return Litestar([hello, echo], openapi_config=None)


def _mounted() -> Any:
    return Starlette(routes=[Mount("/", _starlette())])


HOSTS = {
    "starlette": _starlette,
    "fastapi": _fastapi,
    "litestar": _litestar,
    "mounted": _mounted,
    "bare": lambda: _bare,
}


@pytest.mark.requirement("CF-17", "FA-16")
@pytest.mark.parametrize("name", HOSTS)
async def test_every_kind_of_host_has_every_part(name: str) -> None:
    """HTTP and WebSockets have an id, CORS, security headers and one record."""
    lines = RecordList()
    async with run(compose(HOSTS[name](), lines)) as running:
        response = await running.client.get(
            "/hello", headers={"origin": "https://shop.example", "x-request-id": "mine"}
        )
        async with running.websocket("/echo") as socket:
            await socket.send_text("la")
            assert "la" == await socket.receive_text()
    assert (200, "hello mine", "mine") == (response.status_code, response.text, response.headers["x-request-id"])
    assert "https://shop.example" == response.headers["access-control-allow-origin"]
    assert "nosniff" == response.headers["x-content-type-options"]
    assert 32 == len(socket.headers["x-request-id"])
    assert [("request", 200, "mine"), ("websocket", 101, socket.headers["x-request-id"])] == [
        (record.event, record.status, record.request_id) for record in lines.records
    ]


@pytest.mark.requirement("FA-16")
@pytest.mark.parametrize("name", HOSTS)
async def test_a_refusal_is_logged_and_has_an_id(name: str) -> None:
    """A request that a layer refuses before the host has an id and a record."""
    lines = RecordList()
    async with run(compose(HOSTS[name](), lines)) as running:
        response = await running.client.get("/hello", headers={"host": "not a host"})
    assert (400, "application/problem+json") == (response.status_code, response.headers["content-type"])
    assert [(400, response.json()["request_id"])] == [(record.status, record.request_id) for record in lines.records]


async def test_lifespans_of_hosts_and_mounted_apps_run_once() -> None:
    """The lifespans of the host and of an app in it run with all web parts around them."""
    events: list[str] = []

    def make_lifespan(name: str) -> Any:
        @asynccontextmanager
        async def lifespan(app: Any):
            events.append(f"+{name}")
            yield
            events.append(f"-{name}")

        return lifespan

    inner = Starlette(lifespan=make_lifespan("inner"), routes=[Route("/", _hello)])
    host = FastAPI(lifespan=make_lifespan("host"))
    host.mount("/in", inner)
    async with run(compose(host)) as running:
        assert 200 == (await running.client.get("/in/")).status_code
    assert ["+host", "+inner", "-inner", "-host"] == events


@pytest.mark.requirement("CF-17", "CF-33", "FA-18", "FA-19")
async def test_streams_and_background_work_are_unchanged() -> None:
    """Chunks are sent one by one, and background tasks run after the response in its context."""
    events: list[str] = []

    async def stream(request: Request) -> Response:
        async def chunks():
            yield b"a"
            events.append("between")
            yield b"b"

        async def after() -> None:
            events.append(f"after {request_id() is not None}")

        return StreamingResponse(chunks(), background=BackgroundTask(after))

    async with (
        run(compose(Starlette(routes=[Route("/", stream)]))) as running,
        running.client.stream("GET", "/") as response,
    ):
        received = [chunk async for chunk in response.aiter_bytes()]
    assert [b"a", b"b"] == [chunk for chunk in received if chunk]
    assert ["between", "after True"] == events


@pytest.mark.requirement("CF-17", "FA-18")
async def test_a_disconnect_reaches_the_handler() -> None:
    """`request.is_disconnected()` works as Starlette documents it."""
    disconnected: list[bool] = []

    async def endpoint(request: Request) -> Response:
        await request.body()
        disconnected.append(await request.is_disconnected())
        gone.set()
        disconnected.append(await request.is_disconnected())
        return Response()

    gone = anyio.Event()
    incoming = iter([{"type": "http.request", "body": b"", "more_body": False}])

    async def receive() -> Any:
        for message in incoming:
            return message
        if not gone.is_set():
            await anyio.sleep_forever()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None: ...

    scope = {"type": "http", "method": "GET", "path": "/", "headers": [(b"host", b"x")], "query_string": b""}
    async with run(compose(Starlette(routes=[Route("/", endpoint)]))) as running:
        await running.app(scope, receive, send)
    assert [False, True] == disconnected


async def test_a_denial_response_of_the_host_is_kept() -> None:
    """A WebSocket that an application refuses with a response gets that response."""

    async def endpoint(socket: WebSocket) -> None:
        await socket.send_denial_response(PlainTextResponse("mine", 402))

    async with run(compose(Starlette(routes=[WebSocketRoute("/", endpoint)]))) as running:
        with pytest.raises(WebSocketRefused) as refused:
            async with running.websocket("/"):
                pass
    assert (402, "mine") == (refused.value.status_code, refused.value.response.text)
    assert "x-request-id" in refused.value.response.headers


def _build_stack(app: Any) -> Any:
    given = {"settings": SETTINGS, "kernel": KernelSettings(), "sink": RecordList()}
    layers = sorted((part for part in WEB if isinstance(part, MiddlewareContribution)), key=lambda part: part.priority)
    bound = []
    for part in layers:
        wanted = part.layer.__init__.__annotations__
        arguments = {name: value for name, value in given.items() if name in wanted}
        if wanted.get("settings") == "KernelSettings":
            arguments["settings"] = given["kernel"]
        bound.append(BoundLayer(part, arguments))
    return build(bound, app)


ANSWERED_CASES = ("exception_before_start", "websocket_exception")
"""Cases that expect an exception to reach the server. ProblemsLayer answers these exceptions; problems/test_layer.py
shows it."""


@pytest.mark.requirement("CF-17", "CF-33", "FA-18", "FA-19")
@pytest.mark.parametrize("name", [name for name in CASES if name not in ANSWERED_CASES])
async def test_traps(name: str) -> None:
    """Every exchange that ASGI allows passes all layers unharmed, except exceptions, which are answered."""
    await CASES[name](Rig(_build_stack))
