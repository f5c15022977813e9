"""Tests of bandmaster.kernel.hosting.in_flight."""

import anyio
import pytest

from bandmaster.kernel.errors import GoneAwayError
from bandmaster.kernel.hosting.in_flight import InFlight

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])]


async def nothing():
    raise AssertionError("no app receives here")


class Sent(list):
    """A server's ``send`` that keeps the messages."""

    async def __call__(self, message):
        self.append(message)


class Held:
    """An application that serves until the test sets ``out``."""

    def __init__(self, *messages):
        self.messages = messages
        self.inside = anyio.Event()
        self.out = anyio.Event()

    async def __call__(self, scope, receive, send):
        for message in self.messages:
            await send(message)
        self.inside.set()
        await self.out.wait()


ACCEPT = {"type": "websocket.accept"}


async def test_requests_and_connections_are_counted():
    """A request or WebSocket counts until the app returns."""
    in_flight, request, connection = InFlight(), Held(), Held(ACCEPT)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(in_flight.serve_request, request, {}, nothing, Sent())
        tasks.start_soon(in_flight.serve_websocket, connection, {}, nothing, Sent())
        await request.inside.wait()
        await connection.inside.wait()
        assert in_flight.count == 2
        request.out.set()
        connection.out.set()
    assert in_flight.count == 0


async def test_a_request_that_fails_no_longer_counts():
    """The error is raised, and the count is right."""
    in_flight = InFlight()

    async def fails(scope, receive, send):
        raise RuntimeError("no luck")

    for enter in (in_flight.serve_request, in_flight.serve_websocket):
        with pytest.raises(RuntimeError):
            await enter(fails, {}, nothing, Sent())
    assert in_flight.count == 0


async def test_the_notice_of_the_drain():
    """The notice wakes code that waits, and can be read."""
    in_flight = InFlight()
    assert not in_flight.drain.begun
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(in_flight.drain.wait)
        await anyio.wait_all_tasks_blocked()
        await in_flight.announce_drain()
    assert in_flight.drain.begun


async def test_waiting_until_it_is_empty():
    """Two callers may wait at once; a WebSocket that comes meanwhile is waited for, too."""
    in_flight = InFlight()
    first, second = Held(), Held()
    over = []

    async def wait():
        await in_flight.wait_empty()
        over.append(in_flight.count)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(in_flight.serve_request, first, {}, nothing, Sent())
        await first.inside.wait()
        await in_flight.announce_drain()
        tasks.start_soon(wait)
        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(in_flight.serve_websocket, second, {}, nothing, Sent())
        await second.inside.wait()
        first.out.set()
        await anyio.wait_all_tasks_blocked()
        assert over == []
        second.out.set()
    assert over == [0, 0]


async def test_waiting_where_nothing_is_in_flight():
    """Waiting ends at once where nothing is in flight."""
    with anyio.fail_after(1):
        await InFlight().wait_empty()


async def test_waiting_again_after_a_newcomer():
    """A request that comes after a moment without any is waited for."""
    in_flight, late = InFlight(), Held()
    await in_flight.announce_drain()

    async def quick(scope, receive, send):
        pass

    await in_flight.serve_request(quick, {}, nothing, Sent())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(in_flight.serve_request, late, {}, nothing, Sent())
        await late.inside.wait()
        tasks.start_soon(in_flight.wait_empty)
        await anyio.wait_all_tasks_blocked()
        late.out.set()


@pytest.mark.parametrize("code", [1001, 1012])
async def test_an_open_websocket_is_closed(code):
    """The close has the code of the settings, and is sent once, however often the drain is announced."""
    in_flight, connection, sent = InFlight(code), Held(ACCEPT), Sent()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(in_flight.serve_websocket, connection, {}, nothing, sent)
        await connection.inside.wait()
        await in_flight.announce_drain()
        await in_flight.announce_drain()
        connection.out.set()
    assert sent == [ACCEPT, {"type": "websocket.close", "code": code, "reason": "the server is going away"}]


async def test_messages_while_open():
    """Messages reach the server unchanged."""
    in_flight, sent = InFlight(), Sent()
    text = {"type": "websocket.send", "text": "hello"}
    app = Held(ACCEPT, text)
    app.out.set()
    await in_flight.serve_websocket(app, {}, nothing, sent)
    assert sent == [ACCEPT, text]


@pytest.mark.parametrize("messages", [(), (ACCEPT, {"type": "websocket.close"})])
async def test_a_websocket_that_is_not_open_is_left_alone(messages):
    """A WebSocket that isn't accepted yet, or closed already, gets no close, which would be an error."""
    in_flight, connection, sent = InFlight(), Held(*messages), Sent()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(in_flight.serve_websocket, connection, {}, nothing, sent)
        await connection.inside.wait()
        await in_flight.announce_drain()
        connection.out.set()
    assert sent == list(messages)


async def test_sending_after_the_drain_has_closed():
    """Sending raises OSError, as on every closed connection; closing again is no error."""
    in_flight, sent, announced = InFlight(), Sent(), anyio.Event()

    async def app(scope, receive, send):
        await send(ACCEPT)
        await announced.wait()
        await send({"type": "websocket.close", "code": 1000})
        with pytest.raises(OSError) as failed:
            await send({"type": "websocket.send", "text": "hello"})
        assert isinstance(failed.value, GoneAwayError)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(in_flight.serve_websocket, app, {}, nothing, sent)
        await anyio.wait_all_tasks_blocked()
        await in_flight.announce_drain()
        announced.set()
    assert [message["type"] for message in sent] == ["websocket.accept", "websocket.close"]


async def test_a_client_that_has_left():
    """An error of the server at one close is ignored, and the other WebSockets are closed."""
    in_flight, connection, other, sent = InFlight(), Held(ACCEPT), Held(ACCEPT), Sent()

    async def broken(message):
        if message["type"] == "websocket.close":
            raise RuntimeError("the connection is gone")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(in_flight.serve_websocket, connection, {}, nothing, broken)
        tasks.start_soon(in_flight.serve_websocket, other, {}, nothing, sent)
        await connection.inside.wait()
        await other.inside.wait()
        await in_flight.announce_drain()
        connection.out.set()
        other.out.set()
    assert len(sent) == 2
