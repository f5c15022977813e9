"""Tests of bandmaster.kernel.process.servers.interface, with every server for real."""

import http.client
import importlib.util
import signal
import threading

import anyio
import pytest

from bandmaster.kernel.errors import ServerNotInstalledError
from bandmaster.kernel.process.servers.interface import make_server
from bandmaster.kernel.process.servers.sockets import bind, listen


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"server": "granian"}, 'granian isn\'t installed: pip install "bandmaster[granian]".'),
        ({"loop": "uvloop"}, "uvloop isn't installed: pip install uvloop, or leave BANDMASTER_SERVER_LOOP unset."),
    ],
)
def test_a_server_that_is_not_installed(settings, monkeypatch, fields, said):
    """The error says how to install a missing server or event loop."""
    chosen = settings(**fields)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ServerNotInstalledError) as missing:
        make_server(chosen)
    assert str(missing.value) == said


async def hello(scope, receive, send):
    assert scope["type"] == "http"
    if scope["path"] == "/slow":
        await anyio.sleep(30)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": f"{scope['root_path'][:1] or '-'}h".encode()})


def get(port, path="/", status=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except (OSError, http.client.HTTPException) as error:
        return type(error).__name__, ""
    finally:
        connection.close()


EVERY = [("uvicorn", "asyncio"), ("hypercorn", "asyncio"), ("hypercorn", "trio"), ("granian", "asyncio")]
LIMITS = {
    "uvicorn": {"header_limit": 9000, "websocket_message_limit": 9000, "trusted_proxies": "127.0.0.1"},
    "hypercorn": {"header_limit": 9000, "websocket_message_limit": 9000},
    "granian": {"header_limit": 9000, "trusted_proxies": "127.0.0.1"},
}


def serve_with_client(chosen, client):
    """Serve while a client runs that gets the port and the server."""
    server = make_server(chosen)
    sock = bind(chosen)
    listen(sock, chosen)
    port = sock.getsockname()[1]

    async def main():
        with anyio.fail_after(20):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(server.serve, hello, sock)
                await client(port, server)

    backend = "trio" if chosen.runs_on_trio else "asyncio"
    try:
        anyio.run(main, backend=backend)
    finally:
        sock.close()
    return server


@pytest.mark.parametrize(("name", "loop"), EVERY)
@pytest.mark.parametrize("all_settings", [False, True], ids=["plain", "all settings"])
def test_serving_until_stopped(settings, name, loop, all_settings):
    """A server answers on the given socket, without a lifespan, until stopped."""
    extra = {"access_log": True, "root_path": "/api", **LIMITS[name]} if all_settings else {}
    answers = []

    async def client(port, server):
        answers.append(await anyio.to_thread.run_sync(get, port))
        server.stop()

    server = serve_with_client(settings(server=name, loop=loop, **extra), client)
    assert answers[0][0] == 200
    assert server.version.startswith(f"{name} ")


def test_libraries_that_replace_the_handler_of_uvicorn(settings, monkeypatch):
    """A function in place of `Server.handle_exit` learns of the stop, once, as under uvicorn itself."""
    from uvicorn import Server

    learned = []
    monkeypatch.setattr(Server, "handle_exit", lambda server, number, frame: learned.append(number))

    async def client(port, server):
        await anyio.to_thread.run_sync(get, port)
        server.stop()
        server.stop()

    serve_with_client(settings(server="uvicorn", loop="asyncio"), client)
    assert learned == [signal.SIGTERM]


@pytest.mark.parametrize(("name", "loop"), EVERY)
def test_stopping_before_it_serves(settings, name, loop):
    """A server that is stopped before serving ends at once."""
    chosen = settings(server=name, loop=loop)
    server = make_server(chosen)
    server.stop()
    sock = bind(chosen)
    listen(sock, chosen)

    async def main():
        with anyio.fail_after(10):
            await server.serve(hello, sock)

    anyio.run(main, backend="trio" if loop == "trio" else "asyncio")
    sock.close()


@pytest.mark.parametrize("name", ["uvicorn", "granian"])
def test_forcing(settings, name):
    """`force` drops the connections that are left. hypercorn can't, and is cancelled by the launcher."""
    answers = []

    async def client(port, server):
        thread = threading.Thread(target=lambda: answers.append(get(port, "/slow")))
        thread.start()
        await anyio.sleep(0.3)
        server.stop()
        await anyio.sleep(0.1)
        server.force()
        await anyio.to_thread.run_sync(thread.join)

    serve_with_client(settings(server=name, loop="asyncio"), client)
    assert answers[0][0] != 200


@pytest.mark.parametrize("name", ["uvicorn", "hypercorn", "granian"])
def test_forcing_before_it_serves(settings, name):
    """`force` before serving does nothing."""
    make_server(settings(server=name)).force()
