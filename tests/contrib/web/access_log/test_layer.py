"""The access log's layer: which requests are logged, and with which fields."""

from __future__ import annotations

import io
import json
import logging
import re
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime
from random import Random
from time import perf_counter, time
from urllib.parse import unquote_to_bytes

import anyio
import pytest
from fastapi import FastAPI
from hypothesis import example, given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from tests.asgi_cases import CASES, Rig, http_scope, websocket_scope

from bandmaster.contrib.web import RequestContextLayer, WebSettings, set_tenant, set_user
from bandmaster.contrib.web.access_log.layer import AccessLogLayer
from bandmaster.contrib.web.access_log.records import PATH_LIMIT, AccessRecord
from bandmaster.contrib.web.access_log.sinks import AccessSink
from bandmaster.kernel import LifespanBand, MiddlewareBand, create_app, lifespan, middleware
from bandmaster.kernel.stack.build import BoundLayer, build
from bandmaster.kernel.testing import ResponseCutError, WebSocketRefused, run

pytestmark = pytest.mark.anyio


class RecordList(list):
    """A sink that keeps the records."""

    def write(self, record: AccessRecord) -> None:
        self.append(record)


class FailingSink:
    """A sink that fails while it has an error."""

    def __init__(self) -> None:
        self.written = 0
        self.error: Exception | None = OSError("disk full")

    def write(self, record: AccessRecord) -> None:
        if self.error is not None:
            raise self.error
        self.written += 1


def make_settings(**values) -> WebSettings:
    # On a busy machine any request may take longer than the default of a second.
    return WebSettings(**{"access_log": "json", "access_log_slow": 60, **values})


def build_app(host, sink, *layers, **values):
    return create_app(
        host,
        contributions=[AccessLogLayer, *layers],
        discover=False,
        overrides={WebSettings: make_settings(**values), AccessSink: sink},
    )


def build_stack(host, sink, **values):
    """The layer alone around an application, and the layer itself."""
    built = build([BoundLayer(AccessLogLayer, {"settings": make_settings(**values), "sink": sink})], host)
    (layer,) = built.http.__self__.layers
    return built, layer


async def hello(request: Request) -> PlainTextResponse:
    return PlainTextResponse("hello")


def build_host(endpoint=hello, path="/", **options):
    return Starlette(routes=[Route(path, endpoint, **options)])


async def fetch_record(host, path="/", *, method="GET", layers=(), settings=None, **options):
    """The record of one request."""
    records = RecordList()
    async with run(build_app(host, records, *layers, **settings or {}), raise_app_exceptions=False) as running:
        with suppress(ResponseCutError):
            await running.http.request(method, path, **options)
    (record,) = records
    return record


def block(seconds):
    """Block the event loop for this many seconds."""
    began = perf_counter()
    while perf_counter() < began + seconds:
        pass


async def bare(scope, receive, send):
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


async def _echo(request: Request) -> PlainTextResponse:
    await request.body()
    return PlainTextResponse("hello", 201)


def _starlette():
    return Starlette(routes=[Mount("/v1", routes=[Route("/items/{id}", _echo, methods=["POST"])])])


def _fastapi():
    application = FastAPI()

    @application.post("/v1/items/{id}")
    async def item(request: Request) -> Response:
        return await _echo(request)

    return application


@pytest.mark.parametrize("make", [_starlette, _fastapi])
async def test_every_field_of_a_request(make) -> None:
    """A record describes the request, the response, the duration and the client, in every framework."""
    began = time()
    record = await fetch_record(make(), "/v1/items/%20a?token=secret", method="POST", content=b"four")
    assert record == AccessRecord(
        event="request",
        level="info",
        time=record.time,
        method="POST",
        path="/v1/items/%20a",
        route="/v1/items/{id}",
        status=201,
        duration=record.duration,
        bytes_sent=5,
        bytes_received=4,
        client="127.0.0.1",
        http_version="1.1",
    )
    assert began <= record.time <= time()
    assert 0 < record.duration < time() - began


async def test_a_bare_application() -> None:
    """An application without a framework has records without a route."""
    record = await fetch_record(bare, "/a", content=b"four")
    assert ("/a", None, 200, 5, 4) == (
        record.path,
        record.route,
        record.status,
        record.bytes_sent,
        record.bytes_received,
    )


async def test_a_path_without_a_route() -> None:
    """A 404 of the router has no route."""
    record = await fetch_record(build_host(), "/nothing")
    assert ("info", 404, None) == (record.level, record.status, record.route)


@pytest.mark.requirement("CF-25", "FA-16", "P-14")
async def test_the_context_is_in_the_record() -> None:
    """A record has the ids, and the tenant and the user that the handler has set."""

    async def endpoint(request: Request) -> PlainTextResponse:
        set_tenant("acme")
        set_user("ann")
        return PlainTextResponse("")

    record = await fetch_record(
        build_host(endpoint),
        headers={"x-request-id": "one", "x-correlation-id": "all"},
        layers=[RequestContextLayer],
        settings={"trust_request_id": True},
    )
    assert ("one", "all", "acme", "ann") == (
        record.request_id,
        record.correlation_id,
        record.tenant,
        record.user,
    )


@pytest.mark.requirement("CF-25")
async def test_equal_ids_are_logged_once() -> None:
    """A correlation id that equals the request id is left out. Without a context there are no ids."""
    record = await fetch_record(build_host(), layers=[RequestContextLayer])
    assert re.fullmatch("[0-9a-f]{32}", record.request_id)
    assert record.correlation_id is None
    assert (await fetch_record(build_host())).request_id is None


async def test_a_head_request_sends_no_body() -> None:
    """The body that an application sends in response to HEAD doesn't count."""
    record = await fetch_record(build_host(), method="HEAD")
    assert ("HEAD", 200, 0) == (record.method, record.status, record.bytes_sent)


async def test_a_304() -> None:
    """A 304 is a complete response without a body."""

    async def endpoint(request: Request) -> Response:
        return Response(status_code=304)

    record = await fetch_record(build_host(endpoint))
    assert ("info", 304, 0, False) == (record.level, record.status, record.bytes_sent, record.incomplete)


async def test_servers_leave_fields_out() -> None:
    """A scope may lack the client, the raw path and the HTTP version, or have the query in the raw path."""
    record = await fetch_record(bare, scope={"client": None, "raw_path": None, "path": "/ü/%", "http_version": None})
    assert (None, "/%C3%BC/%25", None) == (record.client, record.path, record.http_version)
    record = await fetch_record(bare, scope={"raw_path": b"/a?token=secret"})
    assert "/a" == record.path


async def test_a_background_task_does_not_count() -> None:
    """The duration and the time are those of the last byte, before the background task."""
    clocks = []

    async def endpoint(request: Request) -> PlainTextResponse:
        return PlainTextResponse("", background=BackgroundTask(background))

    async def background() -> None:
        clocks.append(perf_counter())
        block(0.1)
        clocks.append(time())

    began = perf_counter()
    record = await fetch_record(build_host(endpoint))
    background_began, background_ended = clocks
    assert record.duration <= background_began - began
    assert record.time < background_ended - 0.05
    assert "info" == record.level


async def test_a_background_task_that_fails_is_an_error() -> None:
    """The record has the error and the status of the complete response."""

    def fail() -> None:
        raise LookupError

    async def endpoint(request: Request) -> PlainTextResponse:
        return PlainTextResponse("", background=BackgroundTask(fail))

    record = await fetch_record(build_host(endpoint))
    assert ("warning", 200, "LookupError", False) == (record.level, record.status, record.error, record.incomplete)


async def test_a_stream_is_logged_when_it_has_ended() -> None:
    """A stream has one record, with all bytes and the whole duration."""
    records = RecordList()
    go_on = anyio.Event()

    async def stream() -> AsyncIterator[str]:
        yield "one"
        await go_on.wait()
        yield "two"

    async def endpoint(request: Request) -> StreamingResponse:
        return StreamingResponse(stream())

    async with (
        run(build_app(build_host(endpoint), records, access_log_slow=1e-9)) as running,
        running.http.stream("GET", "/") as response,
    ):
        assert b"one" == await response.receive()
        assert [] == records
        block(0.05)
        go_on.set()
        assert b"two" == await response.read()
    (record,) = records
    assert (6, False, "info", False) == (record.bytes_sent, record.disconnected, record.level, record.slow)
    assert record.duration >= 0.05


async def test_a_client_that_disconnects() -> None:
    """The record says that the client has left, and is no warning."""
    records = RecordList()

    class Endless:
        # Not a generator: Starlette doesn't close one that is left unfinished.
        def __aiter__(self):
            return self

        async def __anext__(self):
            await anyio.sleep(0)
            return "more"

    async def endpoint(request: Request) -> StreamingResponse:
        return StreamingResponse(Endless())

    async with run(build_app(build_host(endpoint), records)) as running, running.http.stream("GET", "/") as response:
        await response.receive()
        await response.disconnect()
    (record,) = records
    assert ("info", 200, True, False) == (record.level, record.status, record.disconnected, record.incomplete)


@pytest.mark.parametrize(("error", "level"), [(OSError, "info"), (ValueError, "warning")])
async def test_an_error_after_the_client_has_left(error, level) -> None:
    """An error that means the disconnect is no warning; any other error is."""

    async def leaving(scope, receive, send):
        await receive()
        await receive()
        raise error

    records = RecordList()
    built, _ = build_stack(leaving, records)
    server = Rig(lambda app: built).http(leaving)
    server.gone.set()
    with pytest.raises(error):
        await server.run()
    assert [(level, None, True, error.__name__)] == [
        (record.level, record.status, record.disconnected, record.error) for record in records
    ]


async def test_a_response_after_the_disconnect() -> None:
    """A response that an application sends to a client that has left is marked."""

    async def unmoved(scope, receive, send):
        await receive()
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    records = RecordList()
    built, _ = build_stack(unmoved, records)
    server = Rig(lambda app: built).http(unmoved)
    server.gone.set()
    server._check = lambda kind: None
    await server.run()
    assert [("info", 200, True)] == [(record.level, record.status, record.disconnected) for record in records]


@pytest.mark.parametrize("answered", [True, False])
async def test_an_exception_before_the_start(answered) -> None:
    """An exception is logged with status 500 and its type, whether the application or the server answers."""

    async def fail(scope, receive, send):
        raise LookupError("secret")

    record = await fetch_record(build_host(fail) if answered else fail)
    assert ("warning", 500, False) == (record.level, record.status, record.incomplete)
    assert "LookupError" == (await fetch_record(fail)).error
    assert "secret" not in repr(record)


async def test_an_exception_that_a_layer_answers() -> None:
    """The record has the status of the layer's answer and the type of the exception."""

    class Answer:
        def on_error(self, exchange, error):
            exchange.respond(503)

    async def fail(scope, receive, send):
        raise LookupError

    record = await fetch_record(fail, layers=[middleware(band=MiddlewareBand.SECURITY)(Answer)])
    assert ("warning", 503, "LookupError") == (record.level, record.status, record.error)


async def test_an_exception_after_the_start() -> None:
    """The record has the status that was sent, and says that the body is incomplete."""

    async def fail(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise LookupError

    record = await fetch_record(fail)
    assert ("warning", 200, 4, "LookupError", True) == (
        record.level,
        record.status,
        record.bytes_sent,
        record.error,
        record.incomplete,
    )


async def test_an_application_that_does_not_answer() -> None:
    """A request without a response is logged with the 500 of the server, an unfinished one as incomplete."""

    async def silent(scope, receive, send):
        pass

    async def half(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})

    for application, expected in ((silent, ("warning", 500, False)), (half, ("warning", 200, True))):
        records = RecordList()
        built, _ = build_stack(application, records)
        await Rig(lambda app, built=built: built).http(application).run()
        (record,) = records
        assert expected == (record.level, record.status, record.incomplete)


async def test_a_request_that_is_cancelled() -> None:
    """A cancelled request is logged without a status, since no response was sent."""
    records = RecordList()
    started = anyio.Event()

    async def hang(scope, receive, send):
        started.set()
        await anyio.sleep_forever()

    built, _ = build_stack(hang, records)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Rig(lambda app: built).http(hang).run)
        await started.wait()
        tasks.cancel_scope.cancel()
    (record,) = records
    assert ("warning", None) == (record.level, record.status)
    assert record.error in ("CancelledError", "Cancelled")


async def test_a_refusal_by_another_layer() -> None:
    """A request that never reaches the application is logged."""

    class Refuse:
        def on_request(self, exchange):
            exchange.respond(403, body=b"no")

    record = await fetch_record(build_host(), layers=[middleware(band=MiddlewareBand.SECURITY)(Refuse)])
    assert ("info", 403, 2, None) == (record.level, record.status, record.bytes_sent, record.route)


async def _chat(socket) -> None:
    await socket.accept()
    async for text in socket.iter_text():
        await socket.send_text(text * 2)


async def _goodbye(socket) -> None:
    await socket.accept()
    await socket.close(4001)


async def _broken(socket) -> None:
    await socket.accept()
    raise LookupError


async def _refuse(socket) -> None:
    await socket.close(1008)


def _sockets():
    endpoints = {"chat": _chat, "goodbye": _goodbye, "broken": _broken, "refuse": _refuse}
    return Starlette(routes=[WebSocketRoute(f"/{name}/{{room}}", each) for name, each in endpoints.items()])


async def test_every_field_of_a_websocket() -> None:
    """A WebSocket has one record when it is over, with its traffic and its close code."""
    records = RecordList()
    async with run(build_app(_sockets(), records, RequestContextLayer, access_log_slow=1e-9)) as running:
        async with running.websocket("/chat/7?token=secret") as socket:
            await socket.send_text("abc")
            assert "abcabc" == await socket.receive()
            assert [] == records
            await socket.close(1001)
    (record,) = records
    assert record == AccessRecord(
        event="websocket",
        level="info",
        time=record.time,
        method="GET",
        path="/chat/7",
        route="/chat/{room}",
        status=101,
        duration=record.duration,
        bytes_sent=6,
        bytes_received=3,
        client="127.0.0.1",
        http_version="1.1",
        request_id=record.request_id,
        disconnected=True,
        close_code=1001,
        messages_sent=1,
        messages_received=1,
    )
    assert record.request_id


async def test_a_websocket_that_the_application_closes() -> None:
    """A WebSocket that the application closes is not marked as disconnected."""
    records = RecordList()
    application = build_app(_sockets(), records, access_log_slow=1e-9)
    async with run(application) as running, running.websocket("/goodbye/7") as socket:
        await socket.wait_closed()
    assert [("info", 101, 4001, False)] == [(r.level, r.status, r.close_code, r.disconnected) for r in records]
    assert [False] == [record.slow for record in records]


async def test_a_websocket_that_fails() -> None:
    """An exception of a WebSocket handler is a warning."""
    records = RecordList()
    async with run(build_app(_sockets(), records), raise_app_exceptions=False) as running:
        async with running.websocket("/broken/7") as socket:
            await socket.wait_closed()
    assert [("warning", 101, "LookupError", False)] == [(r.level, r.status, r.error, r.incomplete) for r in records]


@pytest.mark.parametrize(("path", "expected"), [("/refuse/7", "/refuse/{room}"), ("/nothing", None)])
async def test_a_websocket_that_is_refused(path, expected) -> None:
    """The record has the status that the client sees."""
    records = RecordList()
    async with run(build_app(_sockets(), records)) as running:
        with pytest.raises(WebSocketRefused):
            async with running.websocket(path):
                pass
    assert [("websocket", "info", 403, expected)] == [(r.event, r.level, r.status, r.route) for r in records]


async def test_excluded_paths() -> None:
    """Excluded paths are not logged, whatever their status. The decoded path is compared."""

    async def endpoint(request: Request) -> Response:
        return Response(status_code=500)

    records = RecordList()
    application = build_app(build_host(endpoint, "/{path:path}"), records, access_log_exclude=("/static/*", "/ping"))
    async with run(application) as running:
        for path in ("/static/a", "/%73tatic/a", "/ping", "/pings", "/"):
            await running.http.get(path)
    assert ["/pings", "/"] == [record.path for record in records]


async def _status(scope, receive, send):
    status = int(scope["path"][1:])
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def _requests(built, count, path="/200"):
    for _ in range(count):
        await Rig(lambda app: built).http(_status, path=path).run()


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
async def test_samples_are_fair(share) -> None:
    """The share of logged requests is the configured one, and the records name that share."""
    records = RecordList()
    built, layer = build_stack(_status, records, access_log_sample=share)
    layer._draw = Random(7).random
    await _requests(built, 1000)
    # Four standard deviations.
    assert abs(len(records) - 1000 * share) <= 4 * (1000 * share * (1 - share)) ** 0.5
    assert {share} >= {record.sample_rate for record in records}


async def test_errors_are_never_sampled_away() -> None:
    """Every error is logged, so its record has no sample rate."""
    records = RecordList()
    built, _ = build_stack(_status, records, access_log_sample=0.0)
    for status in (200, 404, 499, 500, 599):
        await _requests(built, 3, f"/{status}")
    assert [(500, None)] * 3 + [(599, None)] * 3 == [(record.status, record.sample_rate) for record in records]


async def test_slow_requests_are_never_sampled_away() -> None:
    """Every slow request is logged as a warning, and marked."""
    records = RecordList()
    built, _ = build_stack(_status, records, access_log_sample=0.0, access_log_slow=1e-9)
    await _requests(built, 3)
    assert [("warning", True, None)] * 3 == [(record.level, record.slow, record.sample_rate) for record in records]


async def test_everything_is_logged_by_default() -> None:
    """Without sampling no record has a sample rate."""
    records = RecordList()
    built, _ = build_stack(_status, records)
    await _requests(built, 50)
    assert [None] * 50 == [record.sample_rate for record in records]


@pytest.mark.parametrize("length", [True, False])
async def test_streams_are_not_slow(length) -> None:
    """A body without a Content-Length is never slow, since its duration depends on the application."""

    async def sending(scope, receive, send):
        headers = [(b"content-length", b"2")] if length else []
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"ab"})

    records = RecordList()
    built, _ = build_stack(sending, records, access_log_slow=1e-9)
    await Rig(lambda app: built).http(sending).run()
    assert [length] == [record.slow for record in records]


def test_switched_off() -> None:
    """With `access_log=off` the layer is left out, also if a component provides a sink."""
    built = build(
        [BoundLayer(AccessLogLayer, {"settings": make_settings(access_log="off"), "sink": RecordList()})],
        app=(inner := object()),
    )
    assert (inner, inner) == (built.http, built.websocket)


async def test_the_default_is_json_on_standard_output(capsys, monkeypatch) -> None:
    """Without a terminal each line is one JSON object with the time in UTC."""
    monkeypatch.delenv("WEB_ACCESS_LOG", raising=False)
    application = create_app(build_host(), contributions=[AccessLogLayer], discover=False)
    async with run(application) as running:
        await running.http.get("/")
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    (record,) = [json.loads(line) for line in lines]
    assert ("request", 200) == (record["event"], record["status"])
    assert abs((datetime.fromisoformat(record["time"]) - datetime.now(UTC)).total_seconds()) < 60
    assert record["time"].endswith("Z")


async def test_standard_output_is_looked_up_when_the_layer_is_made(monkeypatch) -> None:
    """A replacement of standard output that is there before the start gets the lines."""
    application = create_app(
        build_host(),
        contributions=[AccessLogLayer],
        discover=False,
        overrides={WebSettings: make_settings(access_log="text")},
    )
    replaced = io.StringIO()
    monkeypatch.setattr(sys, "stdout", replaced)
    async with run(application) as running:
        await running.http.get("/")
    assert 1 == replaced.getvalue().count(" GET / 200 ")


async def test_a_component_may_provide_a_sink(capsys) -> None:
    """A sink is found by its type, like any resource, and gets all records."""
    records = RecordList()

    @lifespan(band=LifespanBand.OBSERVABILITY)
    async def shipping() -> AsyncIterator[AccessSink]:
        yield records

    application = create_app(
        build_host(), contributions=[AccessLogLayer, shipping], discover=False, overrides={WebSettings: make_settings()}
    )
    async with run(application) as running:
        await running.http.get("/")
    assert ["/"] == [record.path for record in records]
    assert '"event":"request"' not in capsys.readouterr().out


async def test_a_sink_that_fails_harms_no_request(caplog) -> None:
    """Lost records are counted, and logged once for many. A sink that works again is used again."""
    sink = FailingSink()
    built, layer = build_stack(_status, sink)
    with caplog.at_level(logging.WARNING, "bandmaster.web.access"):
        await _requests(built, 5)
        sink.error = None
        await _requests(built, 2)
    assert (5, 2) == (layer.lost, sink.written)
    assert ["the access log can't be written: OSError: disk full (1 lost since the last such message, 1 in all)"] == (
        caplog.messages
    )


async def test_warnings_of_losses_are_limited(caplog) -> None:
    """A minute after a warning there is another, of further losses or of a sink that works again."""
    sink = FailingSink()
    built, layer = build_stack(_status, sink)
    with caplog.at_level(logging.WARNING, "bandmaster.web.access"):
        await _requests(built, 3)
        layer._next_warning = 0.0
        await _requests(built, 3)
        layer._next_warning = 0.0
        sink.error = None
        await _requests(built, 3)
    assert [
        "the access log can't be written: OSError: disk full (1 lost since the last such message, 1 in all)",
        "the access log can't be written: OSError: disk full (3 lost since the last such message, 4 in all)",
        "the access log is written again (2 lost since the last such message, 6 in all)",
    ] == caplog.messages


async def test_a_warning_that_fails_harms_no_request(monkeypatch) -> None:
    """A full disk may keep the warning from being written, too."""

    def fail(*arguments):
        raise OSError

    monkeypatch.setattr(logging.Logger, "warning", fail)
    built, layer = build_stack(_status, FailingSink())
    await _requests(built, 2)
    assert 2 == layer.lost


@pytest.mark.parametrize(
    "fields", [{"client": "abc"}, {"client": 7}, {"client": ()}, {"raw_path": 7}, {"method": None}, {"endpoint": 7}]
)
async def test_a_malformed_scope_harms_no_request(fields) -> None:
    """A server or a layer with a fault may cost the record, and not the request."""
    records = RecordList()
    built, layer = build_stack(_status, records)
    await Rig(lambda app: built).http(_status, path="/200", **fields).run()
    assert 1 == len(records) + layer.lost


def _render_lines(form, scope):
    """The output of one request to an empty application, without an event loop."""

    async def answering(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def nothing(message=None):
        return {}

    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", out)
        built, layer = build_stack(answering, None, access_log=form)
    with pytest.raises(StopIteration):
        built(scope, nothing, nothing).send(None)
    assert 0 == layer.lost
    return out.getvalue()


_PATHS = st.binary(max_size=40).map(lambda path: b"/" + path)


@given(_PATHS, st.lists(st.tuples(st.binary(), st.binary()), max_size=3), st.text(max_size=5))
@example(b'/\x00\x1b[31m\r\n\x7f\xe2\x80\xa8\xff\xed\xa0\x80"\\', [(b"x-request-id", b"\n")], "GET\n")
@example(b"/?\n", [], "GET")
def test_any_request_makes_one_line_of_json(raw, headers, method) -> None:
    """Any path, headers and method make one line of JSON, from which the path can be read back."""
    line = _render_lines("json", {**http_scope(headers), "raw_path": raw, "method": method})
    assert re.fullmatch(r"[ -~]+\n", line)
    parsed = json.loads(line)
    assert unquote_to_bytes(raw.partition(b"?")[0]) == unquote_to_bytes(parsed["path"])
    if raw.isascii():
        assert raw.partition(b"?")[0].decode() == parsed["path"]
    assert method == parsed["method"] or re.search("[\ud800-\udfff]", method)


@given(_PATHS, st.text(max_size=5))
@example(b"/\x00\x1b[31m\r\n\x7f\xe2\x80\xa8\xff", "\x1b\n ")
def test_any_request_makes_one_line_of_text(raw, method) -> None:
    """No control character reaches the terminal, and no request makes a second line."""
    line = _render_lines("text", {**http_scope(), "raw_path": raw, "method": method})
    assert re.fullmatch(r"[ -~]+\n", line)
    assert 7 <= len(line.split())


@given(st.text(max_size=40))
@example("\ud800\udfff")
def test_a_path_without_its_raw_form(path) -> None:
    """A path that the server reports only decoded is encoded again."""
    line = _render_lines("json", {**http_scope(), "raw_path": None, "path": "/" + path})
    logged = json.loads(line)["path"]
    assert ("/" + path).encode("utf-8", "surrogatepass") == unquote_to_bytes(logged) or len(logged) > PATH_LIMIT
    assert re.fullmatch(r"[!-~]+", logged)


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_long_path_is_cut(form) -> None:
    """A client can't fill the disk with long paths."""
    line = _render_lines(form, {**http_scope(), "raw_path": b"/" * 30_000})
    assert re.search("[^/]" + "/" * PATH_LIMIT + r"\.\.\.[^/]", line)
    assert len(line) < PATH_LIMIT + 400


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
@pytest.mark.requirement("CF-17", "CF-33", "FA-18", "FA-19")
async def test_asgi_case(case) -> None:
    """Every exchange that ASGI allows passes through unharmed, and each has one record."""
    records = RecordList()
    fetch_record = []

    def wrap(inner):
        async def counting(scope, receive, send):
            if scope["type"] != "lifespan":
                fetch_record.append(scope["type"])
            await built(scope, receive, send)

        built, _ = build_stack(inner, records)
        return counting

    await case(Rig(wrap))
    events = [{"http": "request"}.get(kind, kind) for kind in fetch_record]
    assert sorted(events) == sorted(record.event for record in records)


async def test_a_coroutine_that_is_never_finished() -> None:
    """A server that dies closes the coroutines of its requests, which is logged and raises nothing."""

    async def hang(scope, receive, send):
        await receive()

    async def never():
        await anyio.sleep_forever()

    records = RecordList()
    built, _ = build_stack(hang, records)
    running = built(websocket_scope(), never, never)
    running.send(None)
    running.close()
    assert ["GeneratorExit"] == [record.error for record in records]


async def test_a_changed_wall_clock_is_noticed(monkeypatch) -> None:
    """A clock that is set while the application serves is right again within a second."""
    records = RecordList()
    built, layer = build_stack(_status, records)
    await _requests(built, 1)
    monkeypatch.setattr("bandmaster.contrib.web.access_log.layer.time", lambda: time() + 3600)
    layer._clock_offset_expires -= 1
    await _requests(built, 1)
    assert 3600 == pytest.approx(records[1].time - records[0].time, abs=5)
