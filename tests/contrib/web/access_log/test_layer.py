"""The records of requests, by the access log's layer."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from time import perf_counter, time

import anyio
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from tests.asgi_cases import CASES, Rig, websocket_scope
from tests.contrib.web.access_log.layers import (
    RecordList,
    answer_status,
    bare,
    block,
    build_app,
    build_host,
    build_stack,
    fetch_record,
    send_requests,
)

from bandmaster.contrib.web import RequestContextLayer, set_tenant, set_user
from bandmaster.contrib.web.access_log.records import AccessRecord
from bandmaster.kernel import MiddlewareBand, middleware
from bandmaster.kernel.testing import read_chunk, run

pytestmark = pytest.mark.anyio


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
    changed = {"client": None, "raw_path": None, "path": "/ü/%", "http_version": None}
    record = await fetch_record(bare, extensions={"asgi_scope": changed})
    assert (None, "/%C3%BC/%25", None) == (record.client, record.path, record.http_version)
    record = await fetch_record(bare, extensions={"asgi_scope": {"raw_path": b"/a?token=secret"}})
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
        running.client.stream("GET", "/") as response,
    ):
        assert b"one" == await read_chunk(response)
        assert [] == records
        block(0.05)
        go_on.set()
        assert b"two" == await response.aread()
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

    async with run(build_app(build_host(endpoint), records)) as running, running.client.stream("GET", "/") as response:
        await read_chunk(response)
        await response.aclose()
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
    built, layer = build_stack(answer_status, records)
    await send_requests(built, 1)
    monkeypatch.setattr("bandmaster.contrib.web.access_log.layer.time", lambda: time() + 3600)
    layer._clock_offset_expires -= 1
    await send_requests(built, 1)
    assert 3600 == pytest.approx(records[1].time - records[0].time, abs=5)
