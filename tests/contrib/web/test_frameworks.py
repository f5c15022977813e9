"""The internals of Starlette, FastAPI and Litestar that the web parts rely on, as the installed versions have them."""

from __future__ import annotations

import inspect

import litestar.exceptions
import pytest
from fastapi import APIRouter, FastAPI
from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse
from starlette.routing import Host, Mount, Route, WebSocketRoute
from starlette.websockets import WebSocketDisconnect

from bandmaster.contrib.web.frameworks import (
    answer_empty,
    ask_cors,
    find_outermost_app,
    find_routes,
    flatten_routes,
    is_client_disconnect,
    read_local_path,
    read_route,
    render_traceback_page,
)
from bandmaster.kernel import create_app
from bandmaster.kernel.testing import connect


async def items(request) -> PlainTextResponse:
    return PlainTextResponse("")


def test_starlette_renders_the_traceback_page() -> None:
    """`ServerErrorMiddleware.debug_response` answers HTML with the exception's text."""
    scope = {"type": "http", "method": "GET", "path": "/", "headers": [(b"accept", b"text/html")]}
    page = render_traceback_page(scope, ZeroDivisionError("the text"))
    assert (500, "text/html; charset=utf-8") == (page.status_code, page.headers["content-type"])
    assert b"ZeroDivisionError: the text" in bytes(page.body)


def test_starlettes_cors_waits_for_nothing() -> None:
    """`CORSMiddleware` answers a request and a preflight without an event loop."""
    cors = CORSMiddleware(answer_empty, allow_origins=("https://shop.example",), allow_methods=("GET",))
    origin = (b"origin", b"https://shop.example")
    start, body = ask_cors(cors, {"type": "http", "method": "GET", "headers": [origin]})
    assert (b"access-control-allow-origin", b"https://shop.example") in start["headers"]
    assert b"" == body["body"]
    preflight = [origin, (b"access-control-request-method", b"GET")]
    start, _ = ask_cors(cors, {"type": "http", "method": "OPTIONS", "headers": preflight})
    assert 200 == start["status"]


def test_a_cors_middleware_that_waits_is_an_error() -> None:
    """A new version that waited would be noticed by the first response."""

    class Waiting:
        def __await__(self):
            yield

    async def waiting(scope, receive, send) -> None:
        await Waiting()

    with pytest.raises(RuntimeError, match="CORSMiddleware waited for something"):
        ask_cors(waiting, {"type": "http"})  # type: ignore[arg-type]


def test_cors_decides_by_the_headers_of_the_request() -> None:
    """`CORSMiddleware` reads the headers and the method of the scope, and nothing else of a request."""
    source = inspect.getsource(CORSMiddleware.__call__) + inspect.getsource(CORSMiddleware.simple_response)
    assert {'scope["type"]', 'scope["method"]'} == {
        found for found in ('scope["type"]', 'scope["method"]', 'scope["path"]', 'scope["client"]') if found in source
    }
    assert "receive()" not in source


@pytest.mark.parametrize(
    "error",
    [
        OSError(),
        ConnectionResetError(),
        ClientDisconnect(),
        WebSocketDisconnect(),
        litestar.exceptions.WebSocketDisconnect(detail=""),
    ],
    ids=lambda error: f"{type(error).__module__}.{type(error).__name__}",
)
def test_disconnects_have_their_names(error: BaseException) -> None:
    """The exceptions for a disconnect are named alike in all frameworks."""
    assert is_client_disconnect(error)
    assert not is_client_disconnect(RuntimeError())


def test_routes_have_their_attributes() -> None:
    """Starlette's routes have the path, the pattern, the handler and the methods under undocumented names."""
    facts = read_route(Route("/items/{id:int}", items, methods=["GET"]))
    assert ("/items/{id}", items, {"GET", "HEAD"}) == (facts.template, facts.endpoint, facts.methods)
    assert facts.pattern is not None
    assert facts.pattern.match("/items/7")
    socket = read_route(WebSocketRoute("/live/{room}", items))
    assert ("/live/{room}", items, None) == (socket.template, socket.endpoint, socket.methods)


def test_mounts_and_hosts_have_their_attributes() -> None:
    """A mount's template ends in `/{path}`, and its pattern leaves the rest of the path in a group of that name."""
    inner = Starlette(routes=[Route("/a", items)])
    mount = read_route(Mount("/in", inner))
    assert ("/in/{path}", None, inner) == (mount.template, mount.endpoint, mount.app)
    assert mount.pattern is not None
    found = mount.pattern.match("/in/a")
    assert found is not None
    assert "a" == found["path"]
    assert ["/a"] == [route.path for route in mount.routes]
    host = read_route(Host("a.example", inner))
    assert (None, None, inner) == (host.template, host.pattern and None, host.app)


def test_routes_are_found_through_wrappers() -> None:
    """Middleware keeps the application under `app`, and an application of the kernel under `host`."""
    app = Starlette(routes=[Route("/a", items)])
    wrapped = GZipMiddleware(GZipMiddleware(app))
    composed = create_app(app, contributions=[], discover=False)
    assert [["/a"], ["/a"]] == [[route.path for route in find_routes(outer)] for outer in (wrapped, composed)]


def test_fastapi_resolves_included_routers() -> None:
    """Routes of included routers have their whole paths, whether or not FastAPI keeps the routers."""
    app, outer, inner = FastAPI(openapi_url=None), APIRouter(prefix="/outer"), APIRouter(prefix="/inner")
    inner.add_api_route("/{id}", items)
    outer.include_router(inner)
    app.include_router(outer, prefix="/v1")
    (route,) = flatten_routes(find_routes(app))
    assert ("/v1/outer/inner/{id}", items) == (read_route(route).template, read_route(route).endpoint)


@pytest.mark.anyio
@pytest.mark.parametrize("framework", [Starlette, FastAPI])
async def test_routers_leave_themselves_and_the_endpoint_in_the_scope(framework: type) -> None:
    """The outermost router, the endpoint and the path below the root path are found in the scope after a request."""
    scopes = []
    host = framework()
    host.mount("/in", Starlette(routes=[Route("/a", items)]))

    async def recording(scope, receive, send) -> None:
        try:
            await host(scope, receive, send)
        finally:
            scopes.append(scope)

    async with connect(recording) as connection:
        await connection.client.get("/root/in/a", extensions={"asgi_scope": {"root_path": "/root"}})
    (scope,) = scopes
    assert [*find_routes(host)] == [*find_routes(find_outermost_app(scope))]
    assert (items, "/in/a") == (scope["endpoint"], read_local_path(scope))
