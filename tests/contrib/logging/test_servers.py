"""The log under real servers, as an operator reads it: one format, one event for each request, no secret."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from tests.processes.conftest import running, until_answered
from tests.processes.server import PATIENCE

from bandmaster.kernel.testing import free_port, guarded_process

HERE = Path(__file__).parent
ROOT = HERE.parent.parent.parent
PYTHON = [sys.executable, "-W", "ignore"]
LAUNCHERS = ["launcher/uvicorn", "launcher/hypercorn", "launcher/granian"]
FOREIGN = ["uvicorn", "hypercorn", "granian"]
TARGET = "log_shop:app"
PLANTED = "planted-secret-of-the-test"
LARGE = {"LOG_MAX_EVENT_BYTES": "110000", "LOG_REDACT_TEXT": "105000", "LOG_BUFFER_BYTES": "100000000"}

pytestmark = pytest.mark.process


def build_command(server, port, *options):
    name, _, kind = server.partition("/")
    if name == "launcher":
        command = [*PYTHON, "-m", "bandmaster.kernel.cli", "run", TARGET, "--port", str(port), "--server", kind]
    elif name == "uvicorn":
        command = [*PYTHON, "-m", "uvicorn", "--factory", TARGET, "--port", str(port)]
    elif name == "hypercorn":
        command = [*PYTHON, "-m", "hypercorn", f"{TARGET}()", "-b", f"127.0.0.1:{port}", "--access-logfile", "-"]
    else:
        command = [*PYTHON, "-m", "granian", "--interface", "asgi", "--factory", TARGET, "--port", str(port)]
        command.append("--access-log")
    return [*command, *options]


def build_environment(**variables):
    paths = os.pathsep.join([str(HERE), str(ROOT)])
    # On a busy machine any request may take longer than the default of a second, which is worth a warning.
    own = {"WEB_ACCESS_LOG_SLOW": "60", "PYTHONPATH": paths, "BANDMASTER_TIMELINE": "false", "PLANTED": PLANTED}
    return {**own, **variables}


def ask(port, path, headers=""):
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n{headers}\r\n".encode())
        received = b""
        with suppress(ConnectionError):
            while part := client.recv(4096):
                received += part
    return received


def watch(server, folder, act, *options, **variables):
    """The lines of a server on which a client has acted, from the start to the stop."""
    port, log = free_port(), folder / "log"
    with running(build_command(server, port, *options), log, cwd=HERE, **build_environment(**variables)) as process:
        until_answered(lambda: ask(port, "/livez"), process, log)
        act(port)
    return log.read_text()


def read_events(text):
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def select_running(text):
    """The lines between the start of the log and its stop."""
    lines = text.splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith('{"time"'))
    last = max(number for number, line in enumerate(lines) if '"component stopped"' in line)
    # granian's parent process, in which no application runs, has lines of its own.
    return [line for line in lines[first : last + 1] if not line.startswith("[INFO] ")]


@pytest.mark.requirement("OBS-L7", "OBS-L8", "OBS-L1", "OBS-L2", "OB-12")
@pytest.mark.parametrize("server", [*LAUNCHERS, *FOREIGN])
def test_every_line_is_ours(server, tmp_path) -> None:
    """While the application runs, every line is JSON, nothing comes twice, and each request has one closing event."""

    def act(port):
        for path in ("/", "/fail", "/binds/3", "/nowhere", "/metrics", "/livez"):
            ask(port, path)

    text = watch(server, tmp_path, act)
    events = [json.loads(line) for line in select_running(text)]
    closing = [event for event in events if event["event"] == "request"]
    assert [("/", 200), ("/fail", 500), ("/binds/3", 200), ("/nowhere", 404)] == [
        (event["path"], event["status"]) for event in closing
    ]
    assert all({"request_id", "duration", "method", "client"} <= set(event) for event in closing)
    assert ["/", "/fail", "/binds/{number}", None] == [event.get("route") for event in closing]
    ids = [event["request_id"] for event in closing]
    for name, index in (("native event", 0), ("standard event", 0), ("unhandled error", 1), ("in a thread", 2)):
        first = next(event for event in events if event["event"] == name)
        assert ids[index] == first["request_id"]
    assert 1 == text.count("Traceback (most recent call last)"), text
    assert PLANTED not in text
    assert "GET / HTTP" not in text and '"GET /' not in text


@pytest.mark.requirement("OBS-L7")
@pytest.mark.parametrize("server", ["launcher/uvicorn", "uvicorn"])
def test_a_websocket_has_one_event(server, tmp_path) -> None:
    """A connection has one closing event, with the id that all events of the connection have."""
    from websockets.sync.client import connect

    def act(port):
        with connect(f"ws://127.0.0.1:{port}/talk") as socket:
            socket.send("hello")
            assert "hello" == socket.recv()

    events = read_events(watch(server, tmp_path, act))
    (closing,) = [event for event in events if event["event"] == "websocket"]
    (talked,) = [event for event in events if event["event"] == "talked"]
    assert closing["request_id"] == talked["request_id"]
    assert (101, "/talk") == (closing["status"], closing["route"])
    assert "[accepted]" not in json.dumps(events)


@pytest.mark.requirement("OBS-L8")
def test_reload(tmp_path) -> None:
    """With --reload the process that serves has the same log."""
    text = watch("uvicorn", tmp_path, lambda port: [ask(port, "/") for _ in range(3)], "--reload")
    events = read_events(text)
    assert 3 == len([event for event in events if event["event"] == "request"])
    assert 3 == text.count("native event")


@pytest.mark.requirement("OBS-L10", "OBS-L8")
@pytest.mark.parametrize("server", ["uvicorn", "granian"])
def test_the_lines_of_workers_are_whole(server, tmp_path) -> None:
    """Several workers write events of 100 KB to one pipe: every line that arrives is one JSON object."""
    port, received = free_port(), []
    command = build_command(server, port, "--workers", "4")
    environment = {**os.environ, **build_environment(**LARGE)}
    with guarded_process(
        command, cwd=HERE, environment=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        reader = threading.Thread(target=lambda: received.extend(process.stdout))
        reader.start()
        end = time.monotonic() + PATIENCE
        while True:
            try:
                assert ask(port, "/livez")
                break
            except (OSError, AssertionError):
                assert process.poll() is None and time.monotonic() < end, received
                time.sleep(0.05)
        clients = [
            threading.Thread(target=lambda: [ask(port, "/many?count=10&size=100000") for _ in range(3)])
            for _ in range(8)
        ]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        process.terminate()
        reader.join(PATIENCE)
        process.wait(PATIENCE)
    lines = [line.decode() for line in received]
    events = [json.loads(line) for line in lines if "one of many" in line or '"request"' in line]
    many = [event for event in events if event["event"] == "one of many"]
    assert 8 * 3 * 10 == len(many)
    assert all(event["text"] == "x" * 100_000 for event in many)
    assert 8 * 3 == len([event for event in events if event["event"] == "request"])
    # What isn't an event is a server's own line, from before the start or after the stop.
    assert not [line for line in lines if "xxxx" in line and not line.startswith("{")]


@contextmanager
def unread_server(**variables):
    """A server whose standard error nobody reads yet, with the end of the pipe to read from."""
    port = free_port()
    read, write = os.pipe()
    try:
        with guarded_process(
            build_command("launcher/uvicorn", port),
            cwd=HERE,
            environment={**os.environ, **build_environment(**variables)},
            stdout=subprocess.DEVNULL,
            stderr=write,
        ) as process:
            os.close(write)
            write = -1
            end = time.monotonic() + PATIENCE
            while True:
                try:
                    ask(port, "/livez")
                    break
                except OSError:
                    assert process.poll() is None and time.monotonic() < end
                    time.sleep(0.05)
            yield process, port, read
    finally:
        os.close(read)
        if write >= 0:
            os.close(write)


@pytest.mark.requirement("OBS-L3")
def test_a_reader_that_stops_stops_no_request() -> None:
    """Nobody reads the log: requests that log far more than all buffers go on, and the loss is told in the end."""
    with unread_server(LOG_BUFFER_BYTES="65536") as (process, port, read):
        for _ in range(10):
            assert b"200 OK" in ask(port, "/many?count=500&size=200")
        content, end = b"", time.monotonic() + PATIENCE
        while b"events were dropped" not in content:
            assert time.monotonic() < end
            content += os.read(read, 65536)
        ask(port, "/")
        process.send_signal(signal.SIGTERM)
        while part := os.read(read, 65536):
            content += part
        assert 0 == process.wait(PATIENCE)
    events = [json.loads(line) for line in content.splitlines()]
    many = [event for event in events if event["event"] in ("one of many", "request")]
    dropped = sum(event["dropped"] for event in events if event["event"].startswith("events were dropped"))
    assert dropped
    assert 10 * 501 + 1 == len(many) + dropped
    # With a reader that reads, the stop loses nothing.
    assert "native event" in [event["event"] for event in events]
    assert "kernel stopped" in [event["event"] for event in events]


@pytest.mark.requirement("OBS-L3")
def test_a_reader_that_never_reads_doesnt_hold_up_the_stop() -> None:
    """With a full pipe that nobody reads, the process stops all the same."""
    with unread_server(LOG_BUFFER_BYTES="65536", LOG_FLUSH_TIMEOUT="0.5") as (process, port, read):
        # Far less than the pipe holds is left for the launcher's own lines after the stop of the log.
        ask(port, "/many?count=1500&size=200")
        fill = threading.Thread(target=drain_slowly, args=(read, process))
        fill.start()
        process.send_signal(signal.SIGTERM)
        assert 0 == process.wait(PATIENCE)
        fill.join()


def drain_slowly(read, process):
    """Read nothing until the log has given up, then everything, since the launcher's own handler does wait."""
    time.sleep(3)
    while os.read(read, 65536):
        pass


@pytest.mark.requirement("OB-10")
def test_the_servers_access_line_stays_without_our_access_log(tmp_path) -> None:
    """With WEB_ACCESS_LOG=off there is no event of ours, so the server's own is kept, in the format of the log."""
    events = read_events(watch("uvicorn", tmp_path, lambda port: ask(port, "/"), WEB_ACCESS_LOG="off"))
    lines = [event for event in events if event["logger"] == "uvicorn.access" and "GET / HTTP" in event["event"]]
    assert 1 == len(lines)


@pytest.mark.requirement("OB-12")
def test_text_for_people(tmp_path) -> None:
    """The console's format has the same line before and while the application runs."""
    text = watch("launcher/uvicorn", tmp_path, lambda port: ask(port, "/"), LOG_FORMAT="console")
    running_lines = [line for line in text.splitlines() if "native event" in line or "shop.standard" in line]
    assert 2 == len(running_lines)
    assert all(" info    " in line and "request_id=" in line for line in running_lines)


@pytest.mark.requirement("OB-7")
def test_the_level(tmp_path) -> None:
    """At the level warning a healthy run says nothing; single loggers may say more."""
    quiet = watch(
        "launcher/uvicorn",
        tmp_path,
        lambda port: ask(port, "/"),
        LOG_LEVEL="warning",
        BANDMASTER_LOG_LEVEL="warning",
        LOG_LEVELS="shop.standard=info",
    )
    assert ["standard event"] == [event["event"] for event in read_events(quiet)]
