"""The access log."""

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
from bandmaster.contrib.web.access import AccessLogLayer
from bandmaster.contrib.web.access_lines import PATH_LIMIT, AccessRecord
from bandmaster.contrib.web.access_sinks import AccessSink
from bandmaster.kernel import LifespanBand, MiddlewareBand, create_app, lifespan, middleware
from bandmaster.kernel.stack.build import BoundLayer, build
from bandmaster.kernel.testing import ResponseCutError, WebSocketRefused, run

pytestmark = pytest.mark.anyio


class Records(list):
    """A sink that keeps what it gets."""

    def write(self, record: AccessRecord) -> None:
        self.append(record)


class Failing:
    """A sink that fails while it is told to."""

    def __init__(self) -> None:
        self.written = 0
        self.error: Exception | None = OSError("disk full")

    def write(self, record: AccessRecord) -> None:
        if self.error is not None:
            raise self.error
        self.written += 1


def settings(**values) -> WebSettings:
    return WebSettings(**{"access_log": "json", **values})


def app(host, sink, *layers, **values):
    return create_app(
        host,
        contributions=[AccessLogLayer, *layers],
        discover=False,
        overrides={WebSettings: settings(**values), AccessSink: sink},
    )


def stack(host, sink, **values):
    """The layer alone around an application, and the layer itself."""
    built = build([BoundLayer(AccessLogLayer, {"settings": settings(**values), "sink": sink})], host)
    (layer,) = built.http.__self__.layers
    return built, layer


async def say(request: Request) -> PlainTextResponse:
    return PlainTextResponse("hello")


def host(endpoint=say, path="/", **options):
    return Starlette(routes=[Route(path, endpoint, **options)])


async def served(host, path="/", *, method="GET", layers=(), settings=None, **options):
    """The record of one request."""
    records = Records()
    async with run(app(host, records, *layers, **settings or {}), raise_app_exceptions=False) as running:
        with suppress(ResponseCutError):
            await running.http.request(method, path, **options)
    (record,) = records
    return record


def work(seconds):
    """Be busy for that long."""
    began = perf_counter()
    while perf_counter() < began + seconds:
        pass


async def bare(scope, receive, send):
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


# What is said ---------------------------------------------------------------------------------------------------------


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
    """Whatever the framework: what was asked, what was answered, how long it took, who asked."""
    began = time()
    record = await served(make(), "/v1/items/%20a?token=secret", method="POST", content=b"four")
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
    """There need be no framework, only then there is no route."""
    record = await served(bare, "/a", content=b"four")
    assert ("/a", None, 200, 5, 4) == (
        record.path,
        record.route,
        record.status,
        record.bytes_sent,
        record.bytes_received,
    )


async def test_a_path_that_nobody_serves() -> None:
    """A 404 of the router's own has no route."""
    record = await served(host(), "/nothing")
    assert ("info", 404, None) == (record.level, record.status, record.route)


@pytest.mark.requirement("CF-25", "FA-16", "P-14")
async def test_who_asks() -> None:
    """Ids, tenant and user stand in the record, also those that a handler has established."""

    async def endpoint(request: Request) -> PlainTextResponse:
        set_tenant("acme")
        set_user("ann")
        return PlainTextResponse("")

    record = await served(
        host(endpoint),
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
async def test_a_request_of_its_own_has_one_id() -> None:
    """The correlation id isn't repeated where it says nothing more; without a context there is neither."""
    record = await served(host(), layers=[RequestContextLayer])
    assert re.fullmatch("[0-9a-f]{32}", record.request_id)
    assert record.correlation_id is None
    assert (await served(host())).request_id is None


async def test_a_head_request_sends_no_body() -> None:
    """What the application sends nevertheless, the server leaves out."""
    record = await served(host(), method="HEAD")
    assert ("HEAD", 200, 0) == (record.method, record.status, record.bytes_sent)


async def test_a_304() -> None:
    """It's nothing special."""

    async def endpoint(request: Request) -> Response:
        return Response(status_code=304)

    record = await served(host(endpoint))
    assert ("info", 304, 0, False) == (record.level, record.status, record.bytes_sent, record.incomplete)


async def test_a_server_that_tells_less() -> None:
    """No client, no raw path, no HTTP version, the query in the raw path: servers differ."""
    record = await served(bare, scope={"client": None, "raw_path": None, "path": "/ü/%", "http_version": None})
    assert (None, "/%C3%BC/%25", None) == (record.client, record.path, record.http_version)
    record = await served(bare, scope={"raw_path": b"/a?token=secret"})
    assert "/a" == record.path


async def test_a_background_task_is_not_waited_for() -> None:
    """The client doesn't either: duration and time are those of the last byte."""
    done = []

    async def endpoint(request: Request) -> PlainTextResponse:
        return PlainTextResponse("", background=BackgroundTask(background))

    async def background() -> None:
        work(0.1)
        done.append(time())

    record = await served(host(endpoint), settings={"access_log_slow": 0.1})
    assert record.duration < 0.1
    assert record.time < done[0] - 0.05
    assert "info" == record.level


async def test_a_background_task_that_fails_is_told() -> None:
    """The response was fine, the request wasn't."""

    def fail() -> None:
        raise LookupError

    async def endpoint(request: Request) -> PlainTextResponse:
        return PlainTextResponse("", background=BackgroundTask(fail))

    record = await served(host(endpoint))
    assert ("warning", 200, "LookupError", False) == (record.level, record.status, record.error, record.incomplete)


async def test_a_stream_is_told_when_it_has_ended() -> None:
    """One line, after the end, with all that was sent and the whole duration."""
    records = Records()
    go_on = anyio.Event()

    async def stream() -> AsyncIterator[str]:
        yield "one"
        await go_on.wait()
        yield "two"

    async def endpoint(request: Request) -> StreamingResponse:
        return StreamingResponse(stream())

    async with (
        run(app(host(endpoint), records, access_log_slow=1e-9)) as running,
        running.http.stream("GET", "/") as response,
    ):
        assert b"one" == await response.receive()
        assert [] == records
        work(0.05)
        go_on.set()
        assert b"two" == await response.read()
    (record,) = records
    assert (6, False, "info", False) == (record.bytes_sent, record.disconnected, record.level, record.slow)
    assert record.duration >= 0.05


async def test_a_client_that_leaves() -> None:
    """It's told that it did, and is no reason to warn."""
    records = Records()

    class Endless:
        # No generator: one that is left half-way must be closed, which Starlette doesn't.
        def __aiter__(self):
            return self

        async def __anext__(self):
            await anyio.sleep(0)
            return "more"

    async def endpoint(request: Request) -> StreamingResponse:
        return StreamingResponse(Endless())

    async with run(app(host(endpoint), records)) as running, running.http.stream("GET", "/") as response:
        await response.receive()
        await response.disconnect()
    (record,) = records
    assert ("info", 200, True, False) == (record.level, record.status, record.disconnected, record.incomplete)


@pytest.mark.parametrize(("error", "level"), [(OSError, "info"), (ValueError, "warning")])
async def test_an_error_after_the_client_has_left(error, level) -> None:
    """What says no more than that it has left is as good as its leaving; anything else is a fault."""

    async def leaving(scope, receive, send):
        await receive()
        await receive()
        raise error

    records = Records()
    built, _ = stack(leaving, records)
    server = Rig(lambda app: built).http(leaving)
    server.gone.set()
    with pytest.raises(error):
        await server.run()
    assert [(level, None, True, error.__name__)] == [
        (record.level, record.status, record.disconnected, record.error) for record in records
    ]


async def test_a_response_to_nobody() -> None:
    """An application may answer though it has heard that the client left; nobody got it."""

    async def unmoved(scope, receive, send):
        await receive()
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    records = Records()
    built, _ = stack(unmoved, records)
    server = Rig(lambda app: built).http(unmoved)
    server.gone.set()
    server._check = lambda kind: None
    await server.run()
    assert [("info", 200, True)] == [(record.level, record.status, record.disconnected) for record in records]


@pytest.mark.parametrize("answered", [True, False])
async def test_an_exception_before_the_start(answered) -> None:
    """It's a 500, whether something inside answers for it or the server does, and its type is told."""

    async def fail(scope, receive, send):
        raise LookupError("secret")

    record = await served(host(fail) if answered else fail)
    assert ("warning", 500, False) == (record.level, record.status, record.incomplete)
    assert "LookupError" == (await served(fail)).error
    assert "secret" not in repr(record)


async def test_an_exception_that_a_layer_answers_for() -> None:
    """The status is the layer's, and the exception is told nevertheless."""

    class Answer:
        def on_error(self, exchange, error):
            exchange.respond(503)

    async def fail(scope, receive, send):
        raise LookupError

    record = await served(fail, layers=[middleware(band=MiddlewareBand.SECURITY)(Answer)])
    assert ("warning", 503, "LookupError") == (record.level, record.status, record.error)


async def test_an_exception_after_the_start() -> None:
    """The status was sent; that the body broke off is told."""

    async def fail(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise LookupError

    record = await served(fail)
    assert ("warning", 200, 4, "LookupError", True) == (
        record.level,
        record.status,
        record.bytes_sent,
        record.error,
        record.incomplete,
    )


async def test_an_application_that_does_not_answer() -> None:
    """Servers answer 500 for it, and cut off what it doesn't end."""

    async def silent(scope, receive, send):
        pass

    async def half(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})

    for application, expected in ((silent, ("warning", 500, False)), (half, ("warning", 200, True))):
        records = Records()
        built, _ = stack(application, records)
        await Rig(lambda app, built=built: built).http(application).run()
        (record,) = records
        assert expected == (record.level, record.status, record.incomplete)


async def test_a_request_that_is_cancelled() -> None:
    """A server that stops cancels what takes too long; that is told, without a status that nobody has sent."""
    records = Records()
    started = anyio.Event()

    async def hang(scope, receive, send):
        started.set()
        await anyio.sleep_forever()

    built, _ = stack(hang, records)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Rig(lambda app: built).http(hang).run)
        await started.wait()
        tasks.cancel_scope.cancel()
    (record,) = records
    assert ("warning", None) == (record.level, record.status)
    assert record.error in ("CancelledError", "Cancelled")


async def test_a_refusal_by_another_layer() -> None:
    """What never gets to the application is logged all the same."""

    class Refuse:
        def on_request(self, exchange):
            exchange.respond(403, body=b"no")

    record = await served(host(), layers=[middleware(band=MiddlewareBand.SECURITY)(Refuse)])
    assert ("info", 403, 2, None) == (record.level, record.status, record.bytes_sent, record.route)


# WebSockets -----------------------------------------------------------------------------------------------------------


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
    """One line when it is over: what went over it, and how it ended."""
    records = Records()
    async with run(app(_sockets(), records, RequestContextLayer, access_log_slow=1e-9)) as running:
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
    """Then the client hasn't left."""
    records = Records()
    application = app(_sockets(), records, access_log_slow=1e-9)
    async with run(application) as running, running.websocket("/goodbye/7") as socket:
        await socket.wait_closed()
    assert [("info", 101, 4001, False)] == [(r.level, r.status, r.close_code, r.disconnected) for r in records]
    assert [False] == [record.slow for record in records]


async def test_a_websocket_that_fails() -> None:
    """An exception is a fault, here as well."""
    records = Records()
    async with run(app(_sockets(), records), raise_app_exceptions=False) as running:
        async with running.websocket("/broken/7") as socket:
            await socket.wait_closed()
    assert [("warning", 101, "LookupError", False)] == [(r.level, r.status, r.error, r.incomplete) for r in records]


@pytest.mark.parametrize(("path", "expected"), [("/refuse/7", "/refuse/{room}"), ("/nothing", None)])
async def test_a_websocket_that_is_refused(path, expected) -> None:
    """It has the status that the client sees."""
    records = Records()
    async with run(app(_sockets(), records)) as running:
        with pytest.raises(WebSocketRefused):
            async with running.websocket(path):
                pass
    assert [("websocket", "info", 403, expected)] == [(r.event, r.level, r.status, r.route) for r in records]


# Which are logged -----------------------------------------------------------------------------------------------------


async def test_excluded_paths() -> None:
    """They aren't logged, whatever happens there; it's the decoded path that counts."""

    async def endpoint(request: Request) -> Response:
        return Response(status_code=500)

    records = Records()
    application = app(host(endpoint, "/{path:path}"), records, access_log_exclude=("/static/*", "/ping"))
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
    """The share that is logged is the one that was asked for, and the records say which it is."""
    records = Records()
    built, layer = stack(_status, records, access_log_sample=share)
    layer._draw = Random(7).random
    await _requests(built, 1000)
    # Four standard deviations.
    assert abs(len(records) - 1000 * share) <= 4 * (1000 * share * (1 - share)) ** 0.5
    assert {share} >= {record.sample_rate for record in records}


async def test_errors_are_never_sampled_away() -> None:
    """They stand for themselves alone, so they have no rate."""
    records = Records()
    built, _ = stack(_status, records, access_log_sample=0.0)
    for status in (200, 404, 499, 500, 599):
        await _requests(built, 3, f"/{status}")
    assert [(500, None)] * 3 + [(599, None)] * 3 == [(record.status, record.sample_rate) for record in records]


async def test_what_is_slow_is_never_sampled_away() -> None:
    """It's marked, and a warning."""
    records = Records()
    built, _ = stack(_status, records, access_log_sample=0.0, access_log_slow=1e-9)
    await _requests(built, 3)
    assert [("warning", True, None)] * 3 == [(record.level, record.slow, record.sample_rate) for record in records]


async def test_everything_is_logged_unless_asked_otherwise() -> None:
    """And then no record has a rate."""
    records = Records()
    built, _ = stack(_status, records)
    await _requests(built, 50)
    assert [None] * 50 == [record.sample_rate for record in records]


@pytest.mark.parametrize("length", [True, False])
async def test_streams_are_not_slow(length) -> None:
    """How long a body goes on whose length isn't known says nothing about the service; else it does."""

    async def sending(scope, receive, send):
        headers = [(b"content-length", b"2")] if length else []
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"ab"})

    records = Records()
    built, _ = stack(sending, records, access_log_slow=1e-9)
    await Rig(lambda app: built).http(sending).run()
    assert [length] == [record.slow for record in records]


def test_switched_off() -> None:
    """Then there is no layer, and a request costs nothing; a sink that is there changes nothing."""
    built = build(
        [BoundLayer(AccessLogLayer, {"settings": settings(access_log="off"), "sink": Records()})],
        app=(inner := object()),
    )
    assert (inner, inner) == (built.http, built.websocket)


# Where they go --------------------------------------------------------------------------------------------------------


async def test_without_any_setting_it_is_json_on_standard_output(capsys, monkeypatch) -> None:
    """Where no terminal is: one object a line, its time in UTC and not far from now."""
    monkeypatch.delenv("WEB_ACCESS_LOG", raising=False)
    application = create_app(host(), contributions=[AccessLogLayer], discover=False)
    async with run(application) as running:
        await running.http.get("/")
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    (told,) = [json.loads(line) for line in lines]
    assert ("request", 200) == (told["event"], told["status"])
    assert abs((datetime.fromisoformat(told["time"]) - datetime.now(UTC)).total_seconds()) < 60
    assert told["time"].endswith("Z")


async def test_standard_output_is_looked_up_when_the_layer_is_made(monkeypatch) -> None:
    """Whatever has replaced it by then gets the lines."""
    application = create_app(
        host(), contributions=[AccessLogLayer], discover=False, overrides={WebSettings: settings(access_log="text")}
    )
    replaced = io.StringIO()
    monkeypatch.setattr(sys, "stdout", replaced)
    async with run(application) as running:
        await running.http.get("/")
    assert 1 == replaced.getvalue().count(" GET / 200 ")


async def test_a_component_may_provide_a_sink(capsys) -> None:
    """It's found by its type, as any resource, and takes all records."""
    records = Records()

    @lifespan(band=LifespanBand.OBSERVABILITY)
    async def shipping() -> AsyncIterator[AccessSink]:
        yield records

    application = create_app(
        host(), contributions=[AccessLogLayer, shipping], discover=False, overrides={WebSettings: settings()}
    )
    async with run(application) as running:
        await running.http.get("/")
    assert ["/"] == [record.path for record in records]
    assert '"event":"request"' not in capsys.readouterr().out


# What goes wrong ------------------------------------------------------------------------------------------------------


async def test_a_sink_that_fails_harms_no_request(caplog) -> None:
    """Losses are counted and told, once for many; when it works again it is used again."""
    sink = Failing()
    built, layer = stack(_status, sink)
    with caplog.at_level(logging.WARNING, "bandmaster.web.access"):
        await _requests(built, 5)
        sink.error = None
        await _requests(built, 2)
    assert (5, 2) == (layer.lost, sink.written)
    assert ["the access log can't be written: OSError: disk full (1 lost since the last such message, 1 in all)"] == (
        caplog.messages
    )


async def test_later_losses_are_told_later(caplog) -> None:
    """A minute after the last word there is another, be it that it still fails or that it works again."""
    sink = Failing()
    built, layer = stack(_status, sink)
    with caplog.at_level(logging.WARNING, "bandmaster.web.access"):
        await _requests(built, 3)
        layer._silent_until = 0.0
        await _requests(built, 3)
        layer._silent_until = 0.0
        sink.error = None
        await _requests(built, 3)
    assert [
        "the access log can't be written: OSError: disk full (1 lost since the last such message, 1 in all)",
        "the access log can't be written: OSError: disk full (3 lost since the last such message, 4 in all)",
        "the access log is written again (2 lost since the last such message, 6 in all)",
    ] == caplog.messages


async def test_nobody_need_hear_of_it(monkeypatch) -> None:
    """A full disk may keep the warning from being written, too."""

    def fail(*arguments):
        raise OSError

    monkeypatch.setattr(logging.Logger, "warning", fail)
    built, layer = stack(_status, Failing())
    await _requests(built, 2)
    assert 2 == layer.lost


@pytest.mark.parametrize(
    "strange", [{"client": "abc"}, {"client": 7}, {"client": ()}, {"raw_path": 7}, {"method": None}, {"endpoint": 7}]
)
async def test_a_scope_that_is_wrong_harms_no_request(strange) -> None:
    """What a server or a layer has spoilt may cost the record."""
    records = Records()
    built, layer = stack(_status, records)
    await Rig(lambda app: built).http(_status, path="/200", **strange).run()
    assert 1 == len(records) + layer.lost


# Laws -----------------------------------------------------------------------------------------------------------------


def _lines(form, scope):
    """What a request to a bare application writes, as bytes, without an event loop."""

    async def answering(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def nothing(message=None):
        return {}

    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", out)
        built, layer = stack(answering, None, access_log=form)
    with pytest.raises(StopIteration):
        built(scope, nothing, nothing).send(None)
    assert 0 == layer.lost
    return out.getvalue()


_PATHS = st.binary(max_size=40).map(lambda path: b"/" + path)


@given(_PATHS, st.lists(st.tuples(st.binary(), st.binary()), max_size=3), st.text(max_size=5))
@example(b'/\x00\x1b[31m\r\n\x7f\xe2\x80\xa8\xff\xed\xa0\x80"\\', [(b"x-request-id", b"\n")], "GET\n")
@example(b"/?\n", [], "GET")
def test_whatever_is_sent_makes_one_line_of_json(raw, headers, method) -> None:
    """Any path, any headers, any method: one line, valid JSON, and the path can be had back without the query."""
    line = _lines("json", {**http_scope(headers), "raw_path": raw, "method": method})
    assert re.fullmatch(r"[ -~]+\n", line)
    told = json.loads(line)
    assert unquote_to_bytes(raw.partition(b"?")[0]) == unquote_to_bytes(told["path"])
    if raw.isascii():
        assert raw.partition(b"?")[0].decode() == told["path"]
    assert method == told["method"] or re.search("[\ud800-\udfff]", method)


@given(_PATHS, st.text(max_size=5))
@example(b"/\x00\x1b[31m\r\n\x7f\xe2\x80\xa8\xff", "\x1b\n ")
def test_whatever_is_sent_makes_one_line_of_text(raw, method) -> None:
    """No control character gets to the terminal, and no second line."""
    line = _lines("text", {**http_scope(), "raw_path": raw, "method": method})
    assert re.fullmatch(r"[ -~]+\n", line)
    assert 7 <= len(line.split())


@given(st.text(max_size=40))
@example("\ud800\udfff")
def test_a_path_that_comes_decoded_only(path) -> None:
    """It's encoded again, whatever it holds."""
    line = _lines("json", {**http_scope(), "raw_path": None, "path": "/" + path})
    told = json.loads(line)["path"]
    assert ("/" + path).encode("utf-8", "surrogatepass") == unquote_to_bytes(told) or len(told) > PATH_LIMIT
    assert re.fullmatch(r"[!-~]+", told)


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_long_path_is_cut(form) -> None:
    """A client can't fill the disk: 1024 characters will do to know it again."""
    line = _lines(form, {**http_scope(), "raw_path": b"/" * 30_000})
    assert re.search("[^/]" + "/" * PATH_LIMIT + r"\.\.\.[^/]", line)
    assert len(line) < PATH_LIMIT + 400


# ASGI -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
@pytest.mark.requirement("CF-17", "CF-33", "FA-18", "FA-19")
async def test_asgi_case(case) -> None:
    """Whatever ASGI allows passes through unharmed, and each request and WebSocket has its one record."""
    records = Records()
    served = []

    def wrap(inner):
        async def counting(scope, receive, send):
            if scope["type"] != "lifespan":
                served.append(scope["type"])
            await built(scope, receive, send)

        built, _ = stack(inner, records)
        return counting

    await case(Rig(wrap))
    events = [{"http": "request"}.get(kind, kind) for kind in served]
    assert sorted(events) == sorted(record.event for record in records)


async def test_a_coroutine_that_is_thrown_away() -> None:
    """A server that dies leaves requests half-way; closing them is no failure."""

    async def hang(scope, receive, send):
        await receive()

    async def never():
        await anyio.sleep_forever()

    records = Records()
    built, _ = stack(hang, records)
    running = built(websocket_scope(), never, never)
    running.send(None)
    running.close()
    assert ["GeneratorExit"] == [record.error for record in records]


async def test_the_wall_clock_is_followed(monkeypatch) -> None:
    """A clock that is set while serving is right again within a second."""
    records = Records()
    built, layer = stack(_status, records)
    await _requests(built, 1)
    monkeypatch.setattr("bandmaster.contrib.web.access.time", lambda: time() + 3600)
    layer._lag_until -= 1
    await _requests(built, 1)
    assert 3600 == pytest.approx(records[1].time - records[0].time, abs=5)
