"""The internals of uvicorn, hypercorn and granian that the launcher depends on, in the versions that are installed.

Each test fails when a new version changes an internal, and names the internal and the behaviour that breaks with it.
The code that uses them is in bandmaster.kernel.process.servers.
"""

import asyncio
import contextlib
import importlib
import inspect
import logging
import os
import signal
import socket
import sys
from importlib.metadata import version

import anyio
import pytest

from bandmaster.kernel.process.servers import uvicorn


def find_internal(path):
    """The object at ``module:attribute.attribute``; None if there is none any more."""
    module, _, names = path.partition(":")
    try:
        found = importlib.import_module(module)
        for name in names.split("."):
            found = getattr(found, name)
    except (ImportError, AttributeError):
        return None
    return found


INTERNALS = [
    ("uvicorn:Server.capture_signals", "uvicorn would replace the launcher's signal handlers"),
    ("uvicorn:Server.handle_exit", "`stop` would have no effect, and libraries wouldn't learn of the stop"),
    ("uvicorn.server:ServerState", "`force` couldn't drop connections"),
    ("hypercorn.asyncio:serve", "hypercorn couldn't be run on asyncio"),
    ("hypercorn.trio:serve", "hypercorn couldn't be run on trio"),
    ("granian.server.embed:Server", "granian couldn't be run in the launcher's event loop"),
    ("granian.server.embed:Server._init_shared_socket", "granian would bind the address itself, with SO_REUSEPORT"),
    ("granian.net:SocketHolder", "granian couldn't be given a socket"),
    ("granian.constants:Interfaces.ASGINL", "granian would run the application's lifespan a second time"),
    ("granian.utils.proxies:wrap_asgi_with_proxy_headers", "the setting trusted_proxies would have no effect"),
]


@pytest.mark.parametrize(("path", "consequence"), INTERNALS, ids=[path for path, _ in INTERNALS])
def test_an_internal_is_still_there(path, consequence):
    """Every class and function that the launcher replaces or calls exists."""
    name = path.split(":")[0].split(".")[0]
    assert find_internal(path) is not None, f"{name} {version(name)} has no {path} any more: {consequence}"


def make_uvicorn():
    from uvicorn import Config, Server

    async def app(scope, receive, send):
        await anyio.sleep_forever()

    return Server(Config(app, lifespan="off", log_config=None))


def test_uvicorn_has_its_signal_handlers_in_one_method(monkeypatch):
    """uvicorn installs signal handlers in `Server.capture_signals` only."""
    server = make_uvicorn()
    before = signal.getsignal(signal.SIGTERM)
    while_serving = []

    async def stop_at_first_tick(_counter):
        while_serving.append(signal.getsignal(signal.SIGTERM))
        return True

    monkeypatch.setattr(server, "capture_signals", contextlib.nullcontext)
    monkeypatch.setattr(server, "on_tick", stop_at_first_tick)
    with socket.create_server(("127.0.0.1", 0)) as sock:
        asyncio.run(server.serve(sockets=[sock]))
    assert while_serving == [before], (
        f"uvicorn {version('uvicorn')} installs signal handlers outside Server.capture_signals: the launcher's "
        f"would be lost"
    )


def test_uvicorn_logs_to_one_logger():
    """uvicorn logs its start and stop to the logger that the launcher makes less talkative."""
    logger = find_internal("uvicorn.server:logger")
    assert logger is logging.getLogger(uvicorn.LOGGER), (
        f"uvicorn {version('uvicorn')} has renamed its logger: its start and stop would be logged beside the launcher's"
    )


def test_uvicorn_exits_by_its_signal_handler():
    """uvicorn's `handle_exit`, which libraries replace to learn of the stop, lets the server exit."""
    server = make_uvicorn()
    server.handle_exit(signal.SIGTERM, None)
    assert server.should_exit is True, f"uvicorn {version('uvicorn')} has another signal handler: `stop` has no effect"


def test_uvicorn_knows_its_connections():
    """uvicorn keeps the connections in `server_state`, each with a transport."""
    server = make_uvicorn()
    found, cancels = {}, []

    async def look(port):
        async with await anyio.connect_tcp("127.0.0.1", port) as client:
            await client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            with anyio.fail_after(10):
                while not server.server_state.tasks:
                    await anyio.sleep(0.01)
            state = server.server_state
            found["aborts"] = [connection.transport.abort for connection in state.connections]
            cancels.extend(task.cancel for task in state.tasks)
            server.should_exit = server.force_exit = True

    async def main(sock):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(look, sock.getsockname()[1])
            await server.serve(sockets=[sock])
            for cancel in cancels:
                cancel()

    with socket.create_server(("127.0.0.1", 0)) as sock:
        asyncio.run(main(sock))
    assert len(found["aborts"]) == 1, (
        f"uvicorn {version('uvicorn')} keeps its connections elsewhere: `force` couldn't drop them"
    )


@pytest.mark.parametrize(
    ("attribute", "consequence"),
    [
        ("bind", "hypercorn would bind an address of its own"),
        ("backlog", "the setting backlog would have no effect"),
        ("keep_alive_timeout", "the setting keep_alive would have no effect"),
        ("root_path", "the setting root_path would have no effect"),
        ("loglevel", "hypercorn would log its own start and stop"),
        ("errorlog", "hypercorn would log to a handler of its own"),
        ("accesslog", "the setting access_log would have no effect"),
        ("graceful_timeout", "hypercorn would drop requests before the launcher's drain is over"),
        ("h11_max_incomplete_size", "the setting header_limit would have no effect on HTTP/1"),
        ("h2_max_header_list_size", "the setting header_limit would have no effect on HTTP/2"),
        ("websocket_max_message_size", "the setting websocket_message_limit would have no effect"),
    ],
)
def test_hypercorn_has_an_option(attribute, consequence):
    """hypercorn's configuration accepts any attribute, so that a renamed one would be ignored silently."""
    from hypercorn.config import Config

    assert hasattr(Config, attribute), f"hypercorn {version('hypercorn')} has no Config.{attribute}: {consequence}"


def test_hypercorn_takes_a_descriptor_and_a_logger():
    """hypercorn listens on a given descriptor, and logs to a given logger."""
    from hypercorn.config import Config
    from hypercorn.logging import Logger

    config = Config()
    config.errorlog = logging.getLogger("tests.hypercorn")
    with socket.create_server(("127.0.0.1", 0)) as sock:
        name = sock.getsockname()
        config.bind = [f"fd://{sock.detach()}"]
        (taken,) = config.create_sockets().insecure_sockets
        with taken:
            assert taken.getsockname() == name, f"hypercorn {version('hypercorn')} binds another socket than its fd://"
    logger = Logger(config).error_logger
    assert (logger, logger.handlers) == (config.errorlog, []), (
        f"hypercorn {version('hypercorn')} adds handlers to a logger that it gets"
    )


@pytest.mark.parametrize("module", ["hypercorn.asyncio", "hypercorn.trio"])
def test_hypercorn_stops_when_it_is_asked(module):
    """hypercorn's `serve` has the parameters by which the launcher stops it and chooses ASGI."""
    parameters = inspect.signature(find_internal(f"{module}:serve")).parameters
    assert {"shutdown_trigger", "mode"} <= set(parameters), (
        f"hypercorn {version('hypercorn')}: {module}.serve has no shutdown_trigger or mode: it couldn't be stopped"
    )


def make_granian():
    from granian.constants import Interfaces

    configuration = {"incremental": True, "formatters": {}, "handlers": {}, "loggers": {}}

    async def main():
        server = find_internal("granian.server.embed:Server")
        return server(lambda: None, interface=Interfaces.ASGINL, backlog=128, log_dictconfig=configuration)

    return asyncio.run(main())


def test_granian_has_two_places_for_its_socket():
    """granian holds its bound socket in `_shd`, and the description of one to bind in `_ssp`."""
    server = make_granian()
    assert {"_ssp", "_shd", "backlog"} <= set(vars(server)), (
        f"granian {version('granian')} has no _ssp, _shd or backlog: it would serve on another socket than the "
        f"launcher's"
    )
    source = inspect.getsource(type(server)._spawn_worker)
    assert "(self._ssp, self._shd)" in source, f"granian {version('granian')} passes another socket to its worker"
    assert "self._init_shared_socket()" in inspect.getsource(type(server).startup), (
        f"granian {version('granian')} makes its socket elsewhere than in _init_shared_socket"
    )


def test_granian_takes_a_descriptor():
    """granian's holder of a socket takes a descriptor, whether it is of a Unix socket, and the backlog."""
    holder = find_internal("granian.net:SocketHolder")
    with socket.create_server(("127.0.0.1", 0)) as sock:
        number = sock.detach()
    taken = holder(number, False, 128)
    try:
        assert taken.get_fd() == number, f"granian {version('granian')}: SocketHolder takes other arguments"
    finally:
        os.close(number)  # the holder closes nothing until a server has taken the socket from it


def test_granian_leaves_logging_alone():
    """granian adds no handler and closes none when its logging configuration is incremental and empty."""
    handler = logging.StreamHandler(sys.stderr)
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        make_granian()
        kept = handler in root.handlers and handler in [reference() for reference in logging._handlerList]
        added = logging.getLogger("_granian").handlers
    finally:
        root.removeHandler(handler)
    assert (kept, added) == (True, []), f"granian {version('granian')} merges log_dictconfig in another way"


def test_granian_limits_headers_by_its_buffer():
    """granian's buffer of HTTP/1 is the attribute by which the setting header_limit is applied."""
    from granian.http import HTTP1Settings

    assert HTTP1Settings(keep_alive=True).max_buffer_size > 8192, (
        f"granian {version('granian')}: HTTP1Settings has no max_buffer_size; the setting header_limit has no effect"
    )
