"""Tests of bandmaster.kernel.process.servers.granian_websockets."""

from types import SimpleNamespace

import anyio
import pytest

from bandmaster.kernel.process.servers.granian import Granian
from bandmaster.kernel.process.servers.granian_websockets import GranianWebSocket, OpenWebSockets
from bandmaster.kernel.process.servers.settings import ServerSettings

CLOSE = {"type": "websocket.close", "code": 1001}
"""The message of the drain."""


@pytest.fixture
def granian_socket():
    """A WebSocket under granian, whose pending receive keeps a send waiting."""
    sent, receiving = [], anyio.Lock()

    async def receive():
        async with receiving:
            await anyio.sleep_forever()

    async def send(message):
        async with receiving:
            sent.append(message["type"])

    sockets = OpenWebSockets()
    return sockets, GranianWebSocket(receive, send, sockets), sent


@pytest.mark.anyio
async def test_a_granian_websocket_is_closed_while_the_application_waits_for_a_message(granian_socket):
    """The pending receive ends with a disconnect that has the code of the close."""
    _, socket, sent = granian_socket
    received = []

    async def wait():
        received.append(await socket.receive())

    with anyio.fail_after(5):
        await socket.send({"type": "websocket.accept"})
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            await socket.send(CLOSE)
    assert ["websocket.accept", "websocket.close"] == sent
    assert [{"type": "websocket.disconnect", "code": 1001, "reason": ""}] == received


@pytest.mark.anyio
async def test_granian_stops_when_its_websockets_are_closed(granian_socket):
    """After its stop granian would send no close; a second request to stop doesn't wait."""
    sockets, socket, _ = granian_socket
    stops = []
    for stop_again in (False, True):
        granian = Granian(ServerSettings(server="granian"))
        granian._websockets = sockets
        granian._server = SimpleNamespace(stop=lambda: stops.append("stop"))
        stops.clear()
        await socket.send({"type": "websocket.accept"})
        granian.stop()
        assert [] == stops
        if stop_again:
            granian.stop()
        else:
            await socket.send(CLOSE)
        assert ["stop"] == stops
