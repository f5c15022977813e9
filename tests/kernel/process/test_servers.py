"""Tests of bandmaster.kernel.process.servers."""

import http.client
import importlib.util
import os
import socket
import threading
from types import SimpleNamespace

import anyio
import pytest
from pydantic import ValidationError

from bandmaster.kernel.errors import BindError, ServerNotInstalledError
from bandmaster.kernel.process import servers
from bandmaster.kernel.process.servers import ServerSettings, bind, close, listen, make_server, url_of
from bandmaster.kernel.settings.display import describe_settings


@pytest.fixture
def settings(monkeypatch):
    """Settings of this test, whatever the environment holds."""
    for name in list(os.environ):
        if name.startswith("BANDMASTER_"):
            monkeypatch.delenv(name)
    return lambda **fields: ServerSettings(**{"port": 0, **fields})


# -- settings ------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("FA-10", "XC-C1", "XC-C6")
def test_every_setting_is_described():
    """With its variable, for people who look for it."""
    for setting in describe_settings(ServerSettings):
        assert setting.description
        assert setting.variable == "NOTIFY_SOCKET" or setting.variable.startswith("BANDMASTER_SERVER_")


def test_settings_from_the_environment(monkeypatch):
    """Prefix BANDMASTER_SERVER_; several proxies are separated by commas."""
    monkeypatch.setenv("BANDMASTER_SERVER_PORT", "81")
    monkeypatch.setenv("BANDMASTER_SERVER_TRUSTED_PROXIES", "10.0.0.1, 10.1.0.0/16")
    read = ServerSettings()
    assert (read.port, read.trusted_proxies) == (81, {"10.0.0.1", "10.1.0.0/16"})


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"server": "hypercorn", "trusted_proxies": "*"}, "hypercorn can't do that"),
        ({"server": "granian", "websocket_message_limit": 5}, "choose 'uvicorn' and 'hypercorn'"),
        ({"loop": "trio"}, "uvicorn doesn't run on trio"),
        ({"uds": "/tmp/a", "fd": 3}, "there is an fd, too"),
        ({"port": 65536}, "port"),
    ],
)
def test_what_a_server_cannot_do_is_refused(settings, fields, said):
    """A setting that does nothing would be worse."""
    with pytest.raises(ValidationError) as refused:
        settings(**fields)
    assert said in str(refused.value)


def test_the_event_loop(settings, monkeypatch):
    """auto is uvloop where it is installed."""
    assert settings(loop="uvloop").runs_on_uvloop
    assert not settings(loop="asyncio").runs_on_uvloop
    assert settings(loop="trio", server="hypercorn").runs_on_trio
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert not settings().runs_on_uvloop


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"server": "granian"}, 'granian isn\'t installed: pip install "bandmaster[granian]".'),
        ({"loop": "uvloop"}, "uvloop isn't installed: pip install uvloop, or leave BANDMASTER_SERVER_LOOP unset."),
    ],
)
def test_what_is_not_installed(settings, monkeypatch, fields, said):
    """The message says how to get it."""
    chosen = settings(**fields)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ServerNotInstalledError) as missing:
        make_server(chosen)
    assert str(missing.value) == said


# -- the socket ----------------------------------------------------------------------------------------------------


def test_binding_does_not_listen_yet(settings):
    """Nobody can connect before everything has started."""
    sock = bind(settings())
    try:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(sock.getsockname(), timeout=1)
        url = listen(sock, settings(root_path="/api"))
        socket.create_connection(sock.getsockname(), timeout=1).close()
        assert url == f"http://127.0.0.1:{sock.getsockname()[1]}/api"
    finally:
        close(sock, settings())


def test_a_taken_port(settings):
    """Who has it, how to find that out, and what to set."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(BindError) as taken:
            bind(settings(port=port))
    assert str(taken.value) == (
        f"127.0.0.1:{port} is taken: another process listens there already. Stop it (`ss -ltnp 'sport = :{port}'` names "
        f"it), or choose another port: BANDMASTER_SERVER_PORT={port + 1 if port < 65535 else 8000}, or 0 for any free one."
    )


def test_a_port_that_is_taken_while_starting(settings):
    """Two may be bound to it, one can listen."""
    first = bind(settings())
    port = first.getsockname()[1]
    second = bind(settings(port=port))
    try:
        listen(first, settings(port=port))
        with pytest.raises(BindError):
            listen(second, settings(port=port))
    finally:
        first.close()
        second.close()


@pytest.mark.parametrize(
    ("number", "said"),
    [("EACCES", "need privileges"), ("EADDRNOTAVAIL", "no interface of this machine"), ("EIO", "can't be listened on")],
)
def test_other_reasons_why_an_address_cannot_be_had(settings, number, said):
    """Each says what to try."""
    import errno

    code = getattr(errno, number)
    error = servers._bind_error(settings(port=80), OSError(code, os.strerror(code)))
    assert said in str(error)
    assert "BANDMASTER_SERVER_" in str(error)


def test_a_host_that_is_nobodys(settings, monkeypatch):
    """The setting is named."""

    def fails(*args, **kwargs):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fails)
    with pytest.raises(BindError) as refused:
        bind(settings(host="nowhere"))
    assert "'nowhere' is no address of this machine" in str(refused.value)
    assert "BANDMASTER_SERVER_HOST" in str(refused.value)


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
def test_ipv6(settings):
    """Its address is in brackets."""
    try:
        sock = bind(settings(host="::1"))
    except BindError:
        pytest.skip("no IPv6 loopback here")
    assert url_of(sock).startswith("http://[::1]:")
    sock.close()


def test_a_unix_socket(settings, tmp_path):
    """Its path is removed at the end; one that a killed process left behind, at the beginning."""
    chosen = settings(uds=tmp_path / "app.sock")
    bind(chosen).close()
    sock = bind(chosen)
    assert listen(sock, chosen) == f"unix:{tmp_path / 'app.sock'}"
    with pytest.raises(BindError) as taken:
        bind(chosen)
    assert "another process listens there" in str(taken.value)
    close(sock, chosen)
    assert not (tmp_path / "app.sock").exists()
    with pytest.raises(BindError) as refused:
        bind(settings(uds=tmp_path / "nowhere" / "app.sock"))
    assert "BANDMASTER_SERVER_UDS" in str(refused.value)


def test_an_inherited_socket(settings):
    """As systemd hands it down; the descriptor itself stays open."""
    with socket.create_server(("127.0.0.1", 0)) as parent:
        sock = bind(settings(fd=parent.fileno()))
        assert sock.getsockname() == parent.getsockname()
        sock.close()
        assert parent.fileno() >= 0
    with pytest.raises(BindError) as refused:
        bind(settings(fd=250))
    assert "file descriptor 250 is no open socket" in str(refused.value)


# -- the servers, for real -----------------------------------------------------------------------------------------


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


def run(chosen, client):
    """Serve while a client, in a thread, does its part; it gets the port and the server."""
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
    """It answers on the socket that it was given, needs no lifespan, and ends when it is asked to."""
    extra = {"access_log": True, "root_path": "/api", **LIMITS[name]} if all_settings else {}
    answers = []

    async def client(port, server):
        answers.append(await anyio.to_thread.run_sync(get, port))
        server.stop()

    server = run(settings(server=name, loop=loop, **extra), client)
    assert answers[0][0] == 200
    assert server.version.startswith(f"{name} ")


@pytest.mark.parametrize(("name", "loop"), EVERY)
def test_stopping_before_it_serves(settings, name, loop):
    """It comes to nothing."""
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


@pytest.mark.parametrize(("name", "loop"), EVERY)
def test_forcing(settings, name, loop):
    """What is left is dropped, and it ends soon."""
    answers = []

    async def client(port, server):
        thread = threading.Thread(target=lambda: answers.append(get(port, "/slow")))
        thread.start()
        await anyio.sleep(0.3)
        server.stop()
        await anyio.sleep(0.1)
        server.force()
        await anyio.to_thread.run_sync(thread.join)

    run(settings(server=name, loop=loop), client)
    assert answers[0][0] != 200


@pytest.mark.parametrize("name", ["uvicorn", "hypercorn", "granian"])
def test_forcing_before_it_serves(settings, name):
    """There is nothing to drop."""
    make_server(settings(server=name)).force()


CLOSE = {"type": "websocket.close", "code": 1001}
"""What the drain sends."""


@pytest.fixture
def granian_socket():
    """What an application under granian gets of a WebSocket; granian's part waits, and sends no close meanwhile."""
    sent, receiving = [], anyio.Lock()

    async def receive():
        async with receiving:
            await anyio.sleep_forever()

    async def send(message):
        async with receiving:
            sent.append(message["type"])

    sockets = servers._OpenSockets()
    return sockets, servers._GranianSocket(receive, send, sockets), sent


@pytest.mark.anyio
async def test_a_granian_websocket_is_closed_while_the_application_waits_for_a_message(granian_socket):
    """The wait ends first, and then in a disconnect with the code of the close."""
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
    """Afterwards it would send no close; a second stop doesn't wait for that."""
    sockets, socket, _ = granian_socket
    stops = []
    for stop_again in (False, True):
        granian = servers.Granian(ServerSettings(server="granian"))
        granian._sockets = sockets
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
