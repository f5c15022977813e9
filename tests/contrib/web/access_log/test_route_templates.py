"""The template of the route that answered."""

from __future__ import annotations

import pytest
from fastapi import APIRouter, FastAPI, WebSocket
from litestar import Litestar, get
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Host, Mount, Route, Router, WebSocketRoute
from starlette.staticfiles import StaticFiles

from bandmaster.contrib.web.access_log.route_templates import RouteTemplates
from bandmaster.kernel import MiddlewareBand, create_app, middleware
from bandmaster.kernel.testing import connect

pytestmark = pytest.mark.anyio


async def items(request):
    return PlainTextResponse("")


async def other(request):
    return PlainTextResponse("")


async def chat(socket):
    await socket.accept()
    await socket.close()


async def bare(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


class TemplateRecorder:
    """Records the template of each request to an application."""

    def __init__(self, app):
        self.app = app
        self.templates = RouteTemplates()
        self.recorded = []

    async def __call__(self, scope, receive, send):
        try:
            await self.app(scope, receive, send)
        finally:
            self.recorded.append(self.templates.of(scope))


async def find_templates(app, *paths, method="GET", **options):
    recorder = TemplateRecorder(app)
    async with connect(recorder, raise_app_exceptions=False) as connection:
        for path in paths:
            await connection.client.request(method, path, **options)
    return recorder.recorded


def starlette(tmp_path):
    return Starlette(
        routes=[
            Route("/", items),
            Route("/items/{id:int}", items),
            Route("/only", other, methods=["POST"]),
            Mount("/orgs/{org}", routes=[Route("/items/{id}", items), Mount("/deep", routes=[Route("/{x}", other)])]),
            Mount("/sub", Starlette(routes=[Route("/a/{b}", items)])),
            Mount("/zipped", Router([Route("/a", items)]), middleware=[Middleware(GZipMiddleware)]),
            Mount("/wrapped", GZipMiddleware(GZipMiddleware(Starlette(routes=[Route("/a/{b}", items)])))),
            Mount("/static", StaticFiles(directory=tmp_path)),
            Mount("/bare", bare),
            Host("{name}.example", Router([Route("/hosted/{x}", other)])),
        ]
    )


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", "/"),
        ("/items/7", "/items/{id}"),
        ("/orgs/acme/items/7", "/orgs/{org}/items/{id}"),
        ("/orgs/acme/deep/7", "/orgs/{org}/deep/{x}"),
        ("/sub/a/7", "/sub/a/{b}"),
        ("/zipped/a", "/zipped/a"),
        ("/wrapped/a/7", "/wrapped/a/{b}"),
        ("/static/site.css", "/static/{path}"),
        ("/bare/what/ever", "/bare/{path}"),
        ("/nothing", None),
        ("/orgs/acme/nothing", None),
        ("/sub/nothing", None),
        ("/items/7/", None),
    ],
)
async def test_starlette(tmp_path, path, expected) -> None:
    """The prefixes of mounts belong to the template. A request that no route serves has none."""
    assert [expected, expected] == await find_templates(starlette(tmp_path), path, path)


async def test_a_route_that_refuses_the_method_has_its_template(tmp_path) -> None:
    """A 405 is the answer of a route."""
    assert ["/only"] == await find_templates(starlette(tmp_path), "/only")


async def test_hosts_have_no_path(tmp_path) -> None:
    """The template of a route under a host name has no prefix."""
    headers = {"host": "a.example"}
    assert ["/hosted/{x}"] == await find_templates(starlette(tmp_path), "/hosted/1", headers=headers)


async def test_one_endpoint_on_several_routes(tmp_path) -> None:
    """The path decides between the templates of one endpoint, in any order of requests."""
    paths = ["/orgs/a/items/b", "/items/7", "/", "/sub/a/x", "/items/7"]
    expected = ["/orgs/{org}/items/{id}", "/items/{id}", "/", "/sub/a/{b}", "/items/{id}"]
    assert expected == await find_templates(starlette(tmp_path), *paths)


async def test_one_endpoint_for_several_methods() -> None:
    """Where two templates match the path, the method decides, and then their order."""
    app = Starlette(
        routes=[
            Route("/{written}", items, methods=["PUT"]),
            Route("/{first}", items),
            Route("/{second}", items),
        ]
    )
    assert ["/{written}"] == await find_templates(app, "/a", method="PUT")
    assert ["/{first}"] == await find_templates(app, "/a")
    assert ["/{written}"] == await find_templates(app, "/a", method="POST")


async def test_classes_and_websockets() -> None:
    """Endpoints that are classes, and WebSocket endpoints, have templates as well."""

    class Endpoint(HTTPEndpoint):
        async def get(self, request):
            return PlainTextResponse("")

    recorder = TemplateRecorder(Starlette(routes=[Route("/class", Endpoint), WebSocketRoute("/chat/{room}", chat)]))
    async with connect(recorder) as connection:
        await connection.client.get("/class")
        async with connection.websocket("/chat/1") as socket:
            await socket.wait_closed()
    assert ["/class", "/chat/{room}"] == recorder.recorded


async def test_under_a_root_path() -> None:
    """A server's root path is stripped before matching, and belongs to no template."""
    app = Starlette(routes=[Route("/a/{x}", items), Mount("/m", routes=[Route("/{x}", items)])])
    options = {"extensions": {"asgi_scope": {"root_path": "/root"}}}
    assert ["/a/{x}", "/m/{x}"] == await find_templates(app, "/root/a/1", "/root/m/1", **options)


async def test_routes_that_are_added_later() -> None:
    """A route that is added while the application serves is found."""
    app = Starlette(routes=[Route("/a", items)])
    recorder = TemplateRecorder(app)
    async with connect(recorder) as connection:
        await connection.client.get("/a")
        app.router.routes.append(Route("/b/{x}", other))
        await connection.client.get("/b/1")
    assert ["/a", "/b/{x}"] == recorder.recorded


async def test_an_application_that_contains_itself() -> None:
    """An application that is mounted in itself is searched once."""
    app = Starlette(routes=[Route("/a", items)])
    app.mount("/again", app)
    assert ["/a", "/again/a", None] == await find_templates(app, "/a", "/again/a", "/again/again/a")


def fastapi():
    app, sub, inner, mid = FastAPI(), FastAPI(), APIRouter(prefix="/inner"), APIRouter(prefix="/mid")

    @inner.get("/x/{y}")
    async def included(y: str):
        return y

    @inner.websocket("/ws/{y}")
    async def socket(websocket: WebSocket, y: str):
        await chat(websocket)

    @app.get("/direct/{d}")
    async def direct(d: str):
        return d

    @sub.get("/deep/{q}")
    async def deep(q: str):
        return q

    inner.add_route("/plain/{z}", items)
    mid.include_router(inner, prefix="/pre")
    app.include_router(mid, prefix="/v1")
    app.include_router(mid, prefix="/v2/{tenant}")
    sub.include_router(inner, prefix="/si")
    app.mount("/mnt/{who}", sub)
    return app


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/direct/1", "/direct/{d}"),
        ("/v1/mid/pre/inner/x/1", "/v1/mid/pre/inner/x/{y}"),
        ("/v2/acme/mid/pre/inner/x/1", "/v2/{tenant}/mid/pre/inner/x/{y}"),
        ("/v1/mid/pre/plain/1", "/v1/mid/pre/plain/{z}"),
        ("/mnt/me/deep/1", "/mnt/{who}/deep/{q}"),
        ("/mnt/me/si/inner/x/1", "/mnt/{who}/si/inner/x/{y}"),
        ("/docs", "/docs"),
        ("/openapi.json", "/openapi.json"),
        ("/nothing", None),
        ("/v1/nothing", None),
        ("/mnt/me/nothing", None),
    ],
)
async def test_fastapi(path, expected) -> None:
    """The prefixes of included routers belong to the template, and Starlette's own routes have one as well."""
    assert [expected, expected] == await find_templates(fastapi(), path, path)


async def test_fastapi_websockets() -> None:
    """The template of a WebSocket route has the prefixes of included routers."""
    recorder = TemplateRecorder(fastapi())
    async with connect(recorder) as connection:
        async with connection.websocket("/v1/mid/pre/inner/ws/1") as socket:
            await socket.wait_closed()
    assert ["/v1/mid/pre/inner/ws/{y}"] == recorder.recorded


async def test_litestar() -> None:
    """Litestar reports its templates itself."""

    @get("/items/{id:int}")
    async def item() -> str:
        return ""

    assert ["/items/{id}", None] == await find_templates(Litestar([item]), "/items/1", "/nothing")


async def test_an_application_in_an_application() -> None:
    """The template starts at the outermost router, also around a mounted application of a kernel."""
    recorded, templates = [], RouteTemplates()

    class Layer:
        def on_end(self, exchange):
            recorded.append(templates.of(exchange.scope))

    layer = middleware(band=MiddlewareBand.OUTERMOST)(Layer)
    ours = create_app(Starlette(routes=[Route("/a/{b}", items)]), contributions=[layer], discover=False)
    outer = Starlette(routes=[Mount("/ours", ours)])
    async with ours.running(), connect(outer) as connection:
        await connection.client.get("/ours/a/1")
        await connection.client.get("/ours/nothing")
    assert ["/ours/a/{b}", None] == recorded


async def test_an_application_without_routes() -> None:
    """An application without a router has no templates."""
    assert [None] == await find_templates(bare, "/")


async def test_endpoints_that_are_made_for_each_request_are_forgotten(monkeypatch) -> None:
    """Endpoints that are used once neither fill the memory nor cause a search each."""
    monkeypatch.setattr("bandmaster.contrib.web.access_log.route_templates._MAX_ENDPOINTS", 20)
    walks = []
    monkeypatch.setattr(RouteTemplates, "_search", lambda self, scope: walks.append(scope))
    templates = RouteTemplates()
    endpoints = [object() for _ in range(300)]
    assert {None} == {templates.of({"endpoint": endpoint}) for endpoint in endpoints}
    assert 100 == len(walks)
    assert len(templates._known) <= 21
