"""The records of WebSockets, by the access log's layer."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from tests.contrib.web.access_log.layers import (
    RecordList,
    build_app,
)

from bandmaster.contrib.web import RequestContextLayer
from bandmaster.contrib.web.access_log.records import AccessRecord
from bandmaster.kernel.testing import WebSocketRefused, run

pytestmark = pytest.mark.anyio


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
