"""Spans of WebSockets: one for each connection."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket
from tests.contrib.tracing.apps import compose
from tests.contrib.tracing.receiver import Receiver

from bandmaster.kernel.testing import WebSocketRefused, run

pytestmark = pytest.mark.anyio


class RoomError(Exception):
    """An error of the application's own."""


async def echo(socket: WebSocket) -> None:
    await socket.accept()
    async for text in socket.iter_text():
        await socket.send_text(text)


async def shut(socket: WebSocket) -> None:
    await socket.accept()
    await socket.close(4000, "enough")


async def refuse(socket: WebSocket) -> None:
    await socket.close()


async def fail(socket: WebSocket) -> None:
    await socket.accept()
    raise RoomError("the room is full")


def rooms() -> Starlette:
    return Starlette(
        routes=[
            WebSocketRoute("/rooms/{id}", echo),
            WebSocketRoute("/shut", shut),
            WebSocketRoute("/refuse", refuse),
            WebSocketRoute("/fail", fail),
        ]
    )


async def test_a_connection_with_fifty_messages_is_one_span(receiver: Receiver) -> None:
    """The span has the route, status 101, the close code and the numbers of messages; messages make no spans."""
    async with run(compose(rooms(), receiver.url)) as running:
        async with running.websocket("/rooms/7") as socket:
            for number in range(50):
                await socket.send_text(str(number))
                assert await socket.receive_text() == str(number)
    (span,) = receiver.wait_for_spans(1)
    assert (span.name, span.kind, span.status, span.events) == ("GET /rooms/{id}", "SERVER", "UNSET", ())
    attributes = span.attributes
    assert attributes["http.response.status_code"] == 101
    assert attributes["url.scheme"] in ("ws", "wss")
    assert attributes["bandmaster.websocket.messages_received"] == 50
    assert attributes["bandmaster.websocket.messages_sent"] == 50
    assert attributes["bandmaster.websocket.close_code"] == 1000


async def test_the_close_code_of_the_application_is_in_the_span(receiver: Receiver) -> None:
    """A close by the application with a code of its own is no error."""
    async with run(compose(rooms(), receiver.url)) as running:
        async with running.websocket("/shut") as socket:
            with pytest.raises(Exception, match=r"4000|enough|closed"):
                await socket.receive_text()
    (span,) = receiver.wait_for_spans(1)
    assert (span.attributes["bandmaster.websocket.close_code"], span.status) == (4000, "UNSET")


async def test_a_refused_connection_has_the_status_of_the_refusal(receiver: Receiver) -> None:
    """A close before the acceptance is answered with 403."""
    async with run(compose(rooms(), receiver.url)) as running:
        with pytest.raises(WebSocketRefused):
            async with running.websocket("/refuse"):
                pass
    (span,) = receiver.wait_for_spans(1)
    assert (span.attributes["http.response.status_code"], span.status) == (403, "UNSET")


@pytest.mark.requirement("OBS-T6")
async def test_an_error_of_a_connection_is_in_its_span(receiver: Receiver) -> None:
    """The span has the exception once, and the status ERROR (OBS-T6)."""
    async with run(compose(rooms(), receiver.url), raise_app_exceptions=False) as running:
        async with running.websocket("/fail") as socket:
            with pytest.raises(Exception):  # how the client notices is the transport's matter
                await socket.receive_text()
    (span,) = receiver.wait_for_spans(1)
    assert (span.status, span.attributes["error.type"].endswith("RoomError")) == ("ERROR", True)
    assert [event.name for event in span.events] == ["exception"]


async def test_the_answer_to_a_handshake_names_the_trace(receiver: Receiver) -> None:
    """The header of the setting is in the acceptance as well."""
    async with run(compose(rooms(), receiver.url, response_header="x-trace-id")) as running:
        async with running.websocket("/rooms/7") as socket:
            named = socket.headers["x-trace-id"]
    (span,) = receiver.wait_for_spans(1)
    assert named == span.trace_id
