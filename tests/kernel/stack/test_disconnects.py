"""Tests of bandmaster.kernel.stack.disconnects."""

import importlib

import pytest
from tests.asgi_cases import ClientLostError, Server, http_scope

from bandmaster.kernel.hosting.in_flight import InFlight
from bandmaster.kernel.stack.disconnects import DISCONNECTS
from bandmaster.kernel.stack.frame import Frame

pytestmark = pytest.mark.anyio


class Ends:
    """Keeps the exchange at the end of each request, and the errors that on_error gets."""

    def __init__(self):
        self.exchange, self.errors, self.error = None, [], None

    def on_error(self, exchange, error):
        self.errors.append(error)

    def on_end(self, exchange):
        self.exchange, self.error = exchange, exchange.error


async def stream(scope, receive, send):
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": b"abc"})


@pytest.mark.parametrize(("module", "name"), sorted(DISCONNECTS))
def test_starlettes_names(module, name):
    """Starlette still has these exceptions under these names; without them, each client that leaves is an error."""
    kind = getattr(importlib.import_module(module), name, None)
    assert kind is not None, f"{module}.{name} is gone: is_disconnect() no longer recognises it"
    assert (kind.__module__, kind.__name__) == (module, name), f"{module}.{name} has another home: see DISCONNECTS"


async def test_send_that_fails():
    """An OSError that comes through send means that the client has left; on_error isn't called."""
    ends = Ends()
    server = Server(Frame([ends], stream, "http"), http_scope())
    server.on_sent = lambda message: setattr(server, "lost", True)
    with pytest.raises(ClientLostError):
        await server.run()
    assert (ends.errors, ends.exchange.disconnected, type(ends.error)) == ([], True, ClientLostError)


async def test_send_that_fails_behind_another_frame():
    """An inner frame, which reaches the server's send through the outer frame's, recognises the error too."""
    inner, outer = Ends(), Ends()
    frame = Frame([outer], Frame([inner], stream, "http", inner=True), "http")
    server = Server(frame, http_scope())
    server.on_sent = lambda message: setattr(server, "lost", True)
    with pytest.raises(ClientLostError):
        await server.run()
    assert (inner.errors, outer.errors) == ([], [])
    assert (inner.exchange.disconnected, outer.exchange.disconnected) == (True, True)


async def test_send_of_an_object_that_can_be_called():
    """A server's send may be any object with `__call__`."""

    class Send:
        async def __call__(self, message):
            raise BrokenPipeError

    ends = Ends()
    with pytest.raises(BrokenPipeError):
        await Frame([ends], stream, "http")(http_scope(), None, Send())
    assert (ends.errors, ends.exchange.disconnected) == ([], True)


async def test_send_behind_a_wrapper_of_the_kernel():
    """The wrapper of a request in flight leaves no entry in the traceback, and is looked through."""

    async def lose_client(message):
        raise BrokenPipeError

    async def app(scope, receive, send):
        await send({"type": "websocket.accept"})

    async def receive():
        return {"type": "websocket.connect"}

    ends = Ends()
    scope = {**http_scope(), "type": "websocket"}
    with pytest.raises(BrokenPipeError):
        await InFlight().serve_websocket(Frame([ends], app, "websocket"), scope, receive, lose_client)
    assert (ends.errors, ends.exchange.disconnected) == ([], True)


async def test_os_error_of_the_application():
    """An OSError from elsewhere is an error, also in the middle of a response."""

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200})
        raise FileNotFoundError

    ends = Ends()
    with pytest.raises(FileNotFoundError):
        await Server(Frame([ends], app, "http"), http_scope()).run()
    assert [type(error) for error in ends.errors] == [FileNotFoundError]
    assert ends.exchange.disconnected is False
