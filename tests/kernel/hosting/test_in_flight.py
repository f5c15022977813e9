"""Tests of bandmaster.kernel.hosting.in_flight."""

import anyio
import pytest

from bandmaster.kernel.errors import GoneAwayError
from bandmaster.kernel.hosting.in_flight import Gate

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])]


async def nothing():
    raise AssertionError("nobody receives here")


class Sent(list):
    """A server's ``send`` that keeps what is sent."""

    async def __call__(self, message):
        self.append(message)


class Held:
    """An application that stays inside until it is let out."""

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
    """As long as they are inside, and not any longer."""
    gate, request, connection = Gate(), Held(), Held(ACCEPT)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(gate.request, request, {}, nothing, Sent())
        tasks.start_soon(gate.connection, connection, {}, nothing, Sent())
        await request.inside.wait()
        await connection.inside.wait()
        assert gate.in_flight == 2
        request.out.set()
        connection.out.set()
    assert gate.in_flight == 0


async def test_a_request_that_fails_has_left():
    """The error passes through; the count is right."""
    gate = Gate()

    async def fails(scope, receive, send):
        raise RuntimeError("no luck")

    for enter in (gate.request, gate.connection):
        with pytest.raises(RuntimeError):
            await enter(fails, {}, nothing, Sent())
    assert gate.in_flight == 0


async def test_everybody_is_told_of_the_drain():
    """Who waits for the notice and who looks at it."""
    gate = Gate()
    assert not gate.drain.begun
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(gate.drain.wait)
        await anyio.wait_all_tasks_blocked()
        await gate.tell()
    assert gate.drain.begun


async def test_waiting_until_it_is_empty():
    """Two may wait at once; who comes meanwhile is waited for, too."""
    gate = Gate()
    first, second = Held(), Held()
    over = []

    async def wait():
        await gate.wait_empty()
        over.append(gate.in_flight)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(gate.request, first, {}, nothing, Sent())
        await first.inside.wait()
        await gate.tell()
        tasks.start_soon(wait)
        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(gate.connection, second, {}, nothing, Sent())
        await second.inside.wait()
        first.out.set()
        await anyio.wait_all_tasks_blocked()
        assert over == []
        second.out.set()
    assert over == [0, 0]


async def test_waiting_where_nobody_is():
    """It is over at once."""
    with anyio.fail_after(1):
        await Gate().wait_empty()


async def test_waiting_again_after_a_newcomer():
    """Empty once is not empty for ever: a newcomer during the drain delay is waited for."""
    gate, late = Gate(), Held()
    await gate.tell()

    async def quick(scope, receive, send):
        pass

    await gate.request(quick, {}, nothing, Sent())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(gate.request, late, {}, nothing, Sent())
        await late.inside.wait()
        tasks.start_soon(gate.wait_empty)
        await anyio.wait_all_tasks_blocked()
        late.out.set()


@pytest.mark.parametrize("code", [1001, 1012])
async def test_an_open_websocket_is_closed(code):
    """With the code that the settings say, once, however often the drain tells."""
    gate, connection, sent = Gate(code), Held(ACCEPT), Sent()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(gate.connection, connection, {}, nothing, sent)
        await connection.inside.wait()
        await gate.tell()
        await gate.tell()
        connection.out.set()
    assert sent == [ACCEPT, {"type": "websocket.close", "code": code, "reason": "the server is going away"}]


async def test_what_is_sent_while_open():
    """It goes to the server as it is."""
    gate, sent = Gate(), Sent()
    text = {"type": "websocket.send", "text": "hello"}
    app = Held(ACCEPT, text)
    app.out.set()
    await gate.connection(app, {}, nothing, sent)
    assert sent == [ACCEPT, text]


@pytest.mark.parametrize("messages", [(), (ACCEPT, {"type": "websocket.close"})])
async def test_a_websocket_that_is_not_open_is_left_alone(messages):
    """Not accepted yet, or closed already: a close would be an error."""
    gate, connection, sent = Gate(), Held(*messages), Sent()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(gate.connection, connection, {}, nothing, sent)
        await connection.inside.wait()
        await gate.tell()
        connection.out.set()
    assert sent == list(messages)


async def test_sending_after_the_drain_has_closed():
    """It fails as on any closed connection; closing again is no error."""
    gate, sent, told = Gate(), Sent(), anyio.Event()

    async def app(scope, receive, send):
        await send(ACCEPT)
        await told.wait()
        await send({"type": "websocket.close", "code": 1000})
        with pytest.raises(OSError) as failed:
            await send({"type": "websocket.send", "text": "hello"})
        assert isinstance(failed.value, GoneAwayError)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(gate.connection, app, {}, nothing, sent)
        await anyio.wait_all_tasks_blocked()
        await gate.tell()
        told.set()
    assert [message["type"] for message in sent] == ["websocket.accept", "websocket.close"]


async def test_a_client_that_has_gone():
    """What the server raises at the close is the client's affair, and the others are told all the same."""
    gate, connection, other, sent = Gate(), Held(ACCEPT), Held(ACCEPT), Sent()

    async def broken(message):
        if message["type"] == "websocket.close":
            raise RuntimeError("the connection is gone")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(gate.connection, connection, {}, nothing, broken)
        tasks.start_soon(gate.connection, other, {}, nothing, sent)
        await connection.inside.wait()
        await other.inside.wait()
        await gate.tell()
        connection.out.set()
        other.out.set()
    assert len(sent) == 2
