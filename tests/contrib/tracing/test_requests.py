"""Spans of HTTP requests, as they arrive at a collector."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from tests.contrib.tracing.apps import NAME, compose
from tests.contrib.tracing.receiver import Receiver, Span

from bandmaster.kernel.testing import run

pytestmark = pytest.mark.anyio

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"


class ShopError(Exception):
    """An error of the application's own."""


async def hello(request: Request) -> Response:
    return PlainTextResponse("hello")


async def item(request: Request) -> Response:
    return JSONResponse({"item": request.path_params["id"]})


async def broken(request: Request) -> Response:
    raise ShopError("the till is jammed")


async def unavailable(request: Request) -> Response:
    raise HTTPException(503, "closed")


async def missing(request: Request) -> Response:
    raise HTTPException(404)


def host(**options: Any) -> Starlette:
    return Starlette(
        routes=[
            Route("/hello", hello),
            Route("/items/{id}", item),
            Route("/broken", broken),
            Route("/unavailable", unavailable),
            Route("/missing", missing),
            Mount("/v1", routes=[Route("/items/{id}", item)]),
        ],
        **options,
    )


async def get_span(receiver: Receiver, application: Any, path: str, **options: Any) -> tuple[Any, Span]:
    """The response to a GET, and the span of that."""
    async with run(application, raise_app_exceptions=False) as running:
        response = await running.client.get(path, **options)
    (span,) = receiver.wait_for_spans(1)
    return response, span


@pytest.mark.requirement("OB-5", "P-16", "OB-9")
async def test_a_request_makes_one_server_span_by_the_conventions(receiver: Receiver) -> None:
    """Name, kind, attributes and resource are those of the stable semantic conventions for HTTP servers."""
    application = compose(host(), receiver.url, service_version="1.2.3")
    headers = {"user-agent": "tests/1", "host": "shop.example:8443"}
    response, span = await get_span(receiver, application, "/items/7?color=red", headers=headers)
    assert response.status_code == 200
    assert (span.name, span.kind, span.parent_id, span.status) == ("GET /items/{id}", "SERVER", "", "UNSET")
    assert span.attributes == {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "http.route": "/items/{id}",
        "url.path": "/items/7",
        "url.query": "color=red",
        "url.scheme": "http",
        "server.address": "shop.example",
        "server.port": 8443,
        "client.address": "127.0.0.1",
        "network.protocol.version": "1.1",
        "user_agent.original": "tests/1",
    }
    resource = span.resource
    assert (resource["service.name"], resource["service.version"]) == (NAME, "1.2.3")
    assert len(resource["service.instance.id"]) == 36
    assert span.scope == "bandmaster.tracing"


@pytest.mark.requirement("OBS-M5")
async def test_the_route_of_a_mount_is_the_whole_template(receiver: Receiver) -> None:
    """The name of a span begins with the prefix of the mount (OBS-M5)."""
    _, span = await get_span(receiver, compose(host(), receiver.url), "/v1/items/7")
    assert (span.name, span.attributes["http.route"]) == ("GET /v1/items/{id}", "/v1/items/{id}")


@pytest.mark.requirement("OBS-M5")
async def test_the_route_of_an_included_router_is_the_whole_template(receiver: Receiver) -> None:
    """With FastAPI the template has the prefixes of routers (OBS-M5)."""
    router = APIRouter(prefix="/orders")

    @router.get("/{number}")
    async def order(number: int) -> int:
        return number

    app = FastAPI()
    app.include_router(router, prefix="/api")
    _, span = await get_span(receiver, compose(app, receiver.url), "/api/orders/7")
    assert span.name == "GET /api/orders/{number}"


async def test_a_request_without_a_route_has_the_method_as_name(receiver: Receiver) -> None:
    """A path that nothing serves is no name: there would be as many names as paths."""
    response, span = await get_span(receiver, compose(host(), receiver.url), "/nowhere")
    assert (response.status_code, span.name, span.status) == (404, "GET", "UNSET")
    assert "http.route" not in span.attributes
    assert "error.type" not in span.attributes


async def test_a_method_that_nobody_knows_is_no_name(receiver: Receiver) -> None:
    """Clients can't make names of spans from methods of their own."""
    async with run(compose(host(), receiver.url)) as running:
        await running.client.request("BREW", "/hello")
    (span,) = receiver.wait_for_spans(1)
    assert span.name.startswith("HTTP")
    assert span.attributes["http.request.method"] == "_OTHER"
    assert span.attributes["http.request.method_original"] == "BREW"


@pytest.mark.requirement("OB-5", "P-16")
async def test_a_client_error_is_no_error_of_the_server(receiver: Receiver) -> None:
    """4xx leaves the status unset (semantic conventions)."""
    response, span = await get_span(receiver, compose(host(), receiver.url), "/missing")
    assert (response.status_code, span.status, span.events) == (404, "UNSET", ())


@pytest.mark.requirement("OBS-T6", "P-16")
async def test_an_unhandled_error_is_one_event_of_one_span(receiver: Receiver) -> None:
    """The span has status 500, the type of the error, one exception and the status ERROR (OBS-T6)."""
    response, span = await get_span(receiver, compose(host(), receiver.url), "/broken")
    check_broken(response, span)


def check_broken(response: Any, span: Span) -> None:
    assert response.status_code == 500
    assert (span.status, span.description) == ("ERROR", "ShopError: the till is jammed")
    assert span.attributes["http.response.status_code"] == 500
    assert span.attributes["error.type"].endswith("ShopError")
    (event,) = span.events
    assert event.name == "exception"
    assert event.attributes["exception.message"] == "the till is jammed"
    assert "in broken" in event.attributes["exception.stacktrace"]


@pytest.mark.requirement("OBS-T6")
async def test_an_error_that_a_handler_answers_is_in_the_span(receiver: Receiver) -> None:
    """The application's own handler for the exception hides nothing of it (OBS-T6)."""

    async def answer(request: Request, error: Exception) -> Response:
        return JSONResponse({"sorry": True}, 500)

    app = host(exception_handlers={ShopError: answer})
    response, span = await get_span(receiver, compose(app, receiver.url), "/broken")
    assert response.json() == {"sorry": True}
    check_broken(response, span)


@pytest.mark.requirement("OBS-T6")
async def test_an_error_that_the_catch_all_handler_answers_is_in_the_span(receiver: Receiver) -> None:
    """Neither does its handler for all exceptions (OBS-T6)."""

    async def answer(request: Request, error: Exception) -> Response:
        return PlainTextResponse("sorry", 500)

    app = host(exception_handlers={Exception: answer})
    response, span = await get_span(receiver, compose(app, receiver.url), "/broken")
    assert response.text == "sorry"
    check_broken(response, span)


async def test_a_refusal_by_the_application_is_no_exception(receiver: Receiver) -> None:
    """A raised HTTPException of 503 is an error by its status, without an exception event."""
    response, span = await get_span(receiver, compose(host(), receiver.url), "/unavailable")
    assert (response.status_code, span.status, span.attributes["error.type"]) == (503, "ERROR", "503")
    assert span.events == ()


async def test_an_error_without_a_response_counts_as_500(receiver: Receiver) -> None:
    """An ASGI application that raises before the response gets a span with the status that servers send."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            raise ShopError("the till is jammed")

    application = compose(app, receiver.url)
    async with run(application, raise_app_exceptions=False) as running:
        response = await running.client.get("/")
    (span,) = receiver.wait_for_spans(1)
    assert (response.status_code, span.attributes["http.response.status_code"], span.status) == (500, 500, "ERROR")
    assert len(span.events) == 1


async def test_a_stream_that_breaks_keeps_its_status(receiver: Receiver) -> None:
    """An error after the start of a response is in the span, with the status that was sent."""

    async def chunks() -> Any:
        yield b"one"
        raise ShopError("out of paper")

    async def stream(request: Request) -> Response:
        return StreamingResponse(chunks())

    app = Starlette(routes=[Route("/stream", stream)])
    async with run(compose(app, receiver.url), raise_app_exceptions=False) as running:
        with pytest.raises(Exception):  # how the client notices depends on the transport
            await running.client.get("/stream")
    (span,) = receiver.wait_for_spans(1)
    assert (span.attributes["http.response.status_code"], span.status) == (200, "ERROR")
    assert span.attributes["error.type"].endswith("ShopError")


async def test_a_span_ends_with_the_last_byte(receiver: Receiver) -> None:
    """Background tasks of a response aren't a part of the request's duration."""
    import anyio

    async def later() -> None:
        await anyio.sleep(0.4)

    async def work(request: Request) -> Response:
        return PlainTextResponse("done", background=BackgroundTask(later))

    app = Starlette(routes=[Route("/work", work)])
    async with run(compose(app, receiver.url), raise_app_exceptions=False) as running:
        await running.client.get("/work")
    (span,) = receiver.wait_for_spans(1)
    assert span.seconds < 0.35


@pytest.mark.requirement("P-15", "CF-26")
async def test_excluded_paths_make_no_spans(receiver: Receiver) -> None:
    """Paths that a glob matches are left out, and so are the spans inside of their requests."""
    from opentelemetry import trace

    from bandmaster.contrib.tracing import traced

    @traced
    def inside() -> None:
        pass

    async def asset(request: Request) -> Response:
        inside()
        assert not trace.get_current_span().is_recording()
        return PlainTextResponse("body {}")

    app = Starlette(routes=[Route("/static/{name}", asset), Route("/hello", hello)])
    async with run(compose(app, receiver.url, exclude=("/static/*",))) as running:
        await running.client.get("/static/a.css")
        await running.client.get("/hello")
    assert [span.name for span in receiver.wait_for_spans(1)] == ["GET /hello"]


async def test_captured_headers_are_attributes(receiver: Receiver) -> None:
    """The headers that settings name are attributes, with all their values."""
    application = compose(
        host(), receiver.url, request_headers=("X-Shop", "accept"), response_headers=("content-type",)
    )
    headers = [("x-shop", "a"), ("x-shop", "b"), ("accept", "text/plain"), ("x-other", "c")]
    _, span = await get_span(receiver, application, "/hello", headers=headers)
    assert span.attributes["http.request.header.x-shop"] == ["a", "b"]
    assert span.attributes["http.request.header.accept"] == ["text/plain"]
    assert span.attributes["http.response.header.content-type"] == ["text/plain; charset=utf-8"]
    assert "http.request.header.x-other" not in span.attributes


@pytest.mark.requirement("P-15")
@pytest.mark.parametrize(("name", "pattern"), [("traceresponse", "00-{0}-{1}-03"), ("x-trace-id", "{0}")])
async def test_a_response_names_the_trace_where_a_setting_says_so(receiver: Receiver, name: str, pattern: str) -> None:
    """The header has the ids of the span."""
    response, span = await get_span(receiver, compose(host(), receiver.url, response_header=name), "/hello")
    assert response.headers[name] == pattern.format(span.trace_id, span.span_id)


async def test_a_response_names_no_trace_by_default(receiver: Receiver) -> None:
    """Without the setting, no header is added."""
    response, _ = await get_span(receiver, compose(host(), receiver.url), "/hello")
    assert not {"traceresponse", "x-trace-id"} & set(response.headers)


@pytest.mark.requirement("OBS-L6")
async def test_a_problem_names_the_trace(receiver: Receiver) -> None:
    """The body of a problem has the trace id of the span (OBS-L6)."""
    response, span = await get_span(receiver, compose(host(), receiver.url), "/broken")
    assert response.json()["trace_id"] == span.trace_id


async def test_a_problem_of_a_layer_names_the_trace(receiver: Receiver) -> None:
    """A layer's refusal has the trace id as well."""
    from bandmaster.contrib.web import WebSettings

    web = WebSettings(access_log="off", allowed_hosts=("shop.example",))
    response, span = await get_span(receiver, compose(host(), receiver.url, web=web), "/hello")
    assert (response.status_code, response.json()["trace_id"]) == (400, span.trace_id)
