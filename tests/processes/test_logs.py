"""The log of a whole process, under the launcher and under other servers, as an operator reads it."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from tests.processes.conftest import running, until_answered
from tests.processes.server import PATIENCE

from bandmaster.kernel.testing import free_port

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
PYTHON = [sys.executable, "-W", "ignore"]
LAUNCHERS = ["launcher/uvicorn", "launcher/hypercorn", "launcher/granian"]
SERVERS = [*LAUNCHERS, "uvicorn", "hypercorn", "granian"]
TARGET = "logging_shop:app"
HANDSHAKE = (
    b"GET /late HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)

pytestmark = pytest.mark.process


def build_command(server, port, *options):
    name, _, kind = server.partition("/")
    if name == "launcher":
        command = [*PYTHON, "-m", "bandmaster.kernel.cli", "run", TARGET, "--port", str(port), "--server", kind]
    elif name == "uvicorn":
        command = [*PYTHON, "-m", "uvicorn", "--factory", TARGET, "--port", str(port)]
    elif name == "hypercorn":
        command = [*PYTHON, "-m", "hypercorn", f"{TARGET}()", "-b", f"127.0.0.1:{port}"]
    else:
        command = [*PYTHON, "-m", "granian", "--interface", "asgi", "--factory", TARGET, "--port", str(port)]
    return [*command, *options]


def build_environment(form="console", **variables):
    paths = os.pathsep.join([str(HERE), str(ROOT)])
    own = {"PYTHONPATH": paths, "BANDMASTER_TIMELINE": "false", "BANDMASTER_LOG_FORMAT": form, "WEB_ACCESS_LOG": "off"}
    return {**own, **variables}


def ask(port, path):
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
        received = b""
        with suppress(ConnectionError):
            while part := client.recv(4096):
                received += part
    return received


def watch(server, folder, act, *options, **variables):
    """The log of a server on which a client has acted, from the start to the stop."""
    port, log = free_port(), folder / "log"
    environment = build_environment(**variables)
    with running(build_command(server, port, *options), log, cwd=HERE, **environment) as process:
        until_answered(lambda: ask(port, "/livez"), process, log)
        act(port)
    return log.read_text()


def fail_to_start(server, folder, *options, **variables):
    """The exit code and the log of a server with an application that doesn't start."""
    log = folder / "log"
    environment = build_environment(**variables)
    with running(build_command(server, free_port(), *options), log, cwd=HERE, **environment) as process:
        code = process.wait(PATIENCE)
    return code, log.read_text()


@pytest.mark.parametrize("layers", ["", "1"], ids=["host alone", "with the web layers"])
@pytest.mark.parametrize("server", SERVERS)
def test_a_request_that_fails_has_one_traceback(server, layers, tmp_path):
    """The server logs the traceback, or else our own record does, which has the request's id."""
    text = watch(server, tmp_path, lambda port: ask(port, "/fail"), LAYERS=layers)
    assert 1 == text.count("Traceback (most recent call last)"), text
    assert 1 == text.count("LookupError: no such thing"), text
    assert bool(layers) is ("unhandled error error=LookupError method=GET path=/fail status=500 request_id=" in text)


def leave_early(port):
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as client:
        client.sendall(HANDSHAKE)
        time.sleep(0.1)
    time.sleep(1)


@pytest.mark.parametrize("layers", ["", "1"], ids=["host alone", "with the web layers"])
@pytest.mark.parametrize("server", SERVERS)
def test_a_client_that_leaves_before_the_accept_is_no_error(server, layers, tmp_path):
    """A client may leave while the application still decides; that is nobody's failure."""
    text = watch(server, tmp_path, leave_early, LAYERS=layers)
    assert "Traceback" not in text
    assert not re.search(r"\berror\b", text, re.IGNORECASE), text


@pytest.mark.parametrize("server", ["launcher/uvicorn", "uvicorn"])
def test_a_stream_that_the_drain_ends_is_no_error(server, tmp_path):
    """uvicorn says nothing of a stream without an end that the drain has ended, and names one that breaks off."""
    port, log = free_port(), tmp_path / "log"
    with running(build_command(server, port), log, cwd=HERE, **build_environment()) as process:
        until_answered(lambda: ask(port, "/livez"), process, log)
        ask(port, "/breaks")
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as client:
            client.sendall(b"GET /stream HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            received = client.recv(4096)
            process.send_signal(signal.SIGTERM)
            with suppress(ConnectionError):
                while part := client.recv(4096):
                    received += part
        process.wait(PATIENCE)
    assert b"more" in received
    text = log.read_text()
    assert 1 == text.count("ASGI callable returned without completing response."), text


@pytest.mark.parametrize("server", [*LAUNCHERS, "uvicorn", "granian"])
def test_an_operators_failure_is_one_sentence(server, tmp_path):
    """The sentence with the variable is logged once, outside of tracebacks."""
    code, text = fail_to_start(server, tmp_path, FAULT="operator")
    assert code not in (0, None)
    assert "Traceback" not in text
    assert 1 == text.count("is QUEUE_URL right?"), text
    assert 12 >= len(text.splitlines()), text


@pytest.mark.parametrize("server", [*LAUNCHERS, "uvicorn", "granian"])
def test_a_programmers_failure_shows_the_programmers_line(server, tmp_path):
    """There is one traceback, with the line that raised."""
    _, text = fail_to_start(server, tmp_path, FAULT="programmer")
    assert 1 == text.count("Traceback (most recent call last)"), text
    assert 1 == text.count('raise LookupError("no such queue")'), text


def test_the_whole_traceback(tmp_path):
    """With --traceback an operator's failure has a traceback as well."""
    _, text = fail_to_start("launcher/uvicorn", tmp_path, "--traceback", FAULT="operator")
    assert 1 == text.count("Traceback (most recent call last)"), text


@pytest.mark.parametrize("fault", ["", "operator"])
def test_every_line_is_json(fault, tmp_path):
    """Off a terminal every line of a run is a JSON object with a time in UTC, also the report of a failure."""
    if fault:
        text = fail_to_start("launcher/uvicorn", tmp_path, form="auto", FAULT=fault)[1]
    else:
        text = watch("launcher/uvicorn", tmp_path, lambda port: ask(port, "/fail"), form="auto", LAYERS="1")
    lines = [json.loads(line) for line in text.splitlines()]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"]) for line in lines)
    assert {"level", "logger", "event"} <= set.intersection(*map(set, lines))
    last = lines[-1]
    assert (
        ("error", True) == (last["level"], "QUEUE_URL" in last["event"]) if fault else last["event"] == "kernel stopped"
    )


def test_the_level(tmp_path):
    """At the level warning a healthy run says nothing, and at debug every step."""
    quiet = watch("launcher/uvicorn", tmp_path, lambda port: ask(port, "/"), BANDMASTER_LOG_LEVEL="warning")
    assert "" == quiet
    chatty = watch("launcher/uvicorn", tmp_path, lambda port: ask(port, "/"), BANDMASTER_LOG_LEVEL="debug")
    assert "debug   component starting component=queue" in chatty


def test_a_log_config_of_uvicorn(tmp_path):
    """A configuration for uvicorn's --log-config steers the kernel's records as well."""
    config = {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"plain": {"format": "%(levelname)s|%(name)s|%(message)s"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "plain"}},
        "loggers": {"bandmaster": {"level": "INFO"}, "uvicorn": {"level": "INFO"}},
        "root": {"handlers": ["stderr"], "level": "WARNING"},
    }
    file = tmp_path / "logging.json"
    file.write_text(json.dumps(config))
    text = watch("uvicorn", tmp_path, lambda port: ask(port, "/"), "--log-config", str(file))
    assert re.search(r"^INFO\|bandmaster\.kernel\|component started component=queue took=0\.\d+$", text, re.MULTILINE)
    assert "INFO|uvicorn.error|Application startup complete." in text


def test_an_application_that_nobody_starts(tmp_path):
    """Without a lifespan the answer and the log say so, the log once."""
    answers = []
    act = lambda port: answers.extend(ask(port, "/") for _ in range(2))  # noqa: E731
    text = watch("uvicorn", tmp_path, act, "--lifespan", "off")
    assert [True, True] == [b"was never started" in answer for answer in answers]
    assert 1 == text.count("the application was never started")
    assert "leave out --lifespan off" in text


def test_a_second_signal_is_told(tmp_path):
    """The log says that a second signal cuts the drain short."""
    port, log = free_port(), tmp_path / "log"
    environment = build_environment(BANDMASTER_DRAIN_DELAY="9", BANDMASTER_DRAIN_TIMEOUT="9")
    with running(build_command("launcher/uvicorn", port), log, cwd=HERE, **environment) as process:
        until_answered(lambda: ask(port, "/livez"), process, log)
        process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + PATIENCE
        while "draining" not in log.read_text() and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE)
    assert 'warning the drain is cut short reason="second SIGINT"' in log.read_text()
