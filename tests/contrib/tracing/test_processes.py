"""Real servers with several workers: the spans of every process arrive, and a stop keeps its deadline (OBS-T4)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, build_opener

import pytest
from tests.contrib.tracing.receiver import Receiver, open_receiver

from bandmaster.kernel.testing import free_port, guarded_process

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[3]
PATIENCE = 60.0
TARGET = "tests.contrib.tracing.traced_app"
PYTHON = [sys.executable, "-W", "ignore", "-m"]
OPEN = build_opener(ProxyHandler({})).open


def build_command(server: str, port: int) -> list[str]:
    match server:
        case "launcher":
            return [*PYTHON, "bandmaster.kernel", "run", f"{TARGET}:make", "--port", str(port)]
        case "uvicorn":
            return [*PYTHON, "uvicorn", f"{TARGET}:app", "--workers", "2", "--port", str(port)]
        case "hypercorn":
            return [*PYTHON, "hypercorn", f"{TARGET}:app", "--workers", "2", "--bind", f"127.0.0.1:{port}"]
        case _:
            command = [*PYTHON, "granian", "--interface", "asgi", f"{TARGET}:app", "--workers", "2"]
            return [*command, "--port", str(port)]


@contextmanager
def serve(
    server: str, endpoint: str, tmp_path: Path, **variables: str
) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A server until the block ends, and its address."""
    port = free_port()
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "TRACING_ENDPOINT": endpoint,
        "TRACING_SERVICE_NAME": "shop",
        "TRACING_BATCH_DELAY": "0.1",
        "XDG_STATE_HOME": str(tmp_path),
        **variables,
    }
    log = (tmp_path / "log").open("wb")
    with (
        log,
        guarded_process(build_command(server, port), environment=environment, cwd=ROOT, stdout=log) as process,
    ):
        yield process, f"http://127.0.0.1:{port}"


def ask(address: str) -> str | None:
    """The number of the process that answers; None if none does yet."""
    try:
        with OPEN(f"{address}/pid", timeout=5) as response:
            return str(response.read().decode())
    except OSError:
        return None


def ask_all(address: str, count: int, tmp_path: Path) -> set[str]:
    """Ask until so many processes have answered."""
    pids: set[str] = set()
    end = time.monotonic() + PATIENCE
    while len(pids) < count and time.monotonic() < end:
        pids |= {pid for pid in [ask(address)] if pid is not None}
        time.sleep(0.01 if pids else 0.1)
    assert len(pids) == count, (tmp_path / "log").read_text()
    return pids


def stop(process: Any) -> int:
    process.send_signal(signal.SIGTERM)
    return int(process.wait(PATIENCE))


@pytest.mark.requirement("OBS-T4", "OBS-M4")
@pytest.mark.parametrize(("server", "workers"), [("launcher", 1), ("uvicorn", 2), ("hypercorn", 2), ("granian", 2)])
def test_the_spans_of_every_worker_arrive(server: str, workers: int, receiver: Receiver, tmp_path: Path) -> None:
    """Each worker exports its own spans, with an id of its own, and has flushed them when it stops (OBS-T4)."""
    with serve(server, receiver.url, tmp_path) as (process, address):
        pids = ask_all(address, workers, tmp_path)
        stop(process)
    spans = [span for span in receiver.spans if span.name == "GET /pid"]
    assert {str(span.resource["process.pid"]) for span in spans} == pids
    assert len({span.resource["service.instance.id"] for span in spans}) == workers
    starts = receiver.spans_named("bandmaster start")
    assert pids <= {str(span.resource["process.pid"]) for span in starts}


@pytest.mark.requirement("OBS-T1")
@pytest.mark.parametrize("mode", ["hang", "503"])
def test_a_signal_ends_the_process_whatever_the_collector_does(mode: Any, tmp_path: Path) -> None:
    """After SIGTERM the process ends by itself, in the deadline of the stop and what a process takes (OBS-T1)."""
    with open_receiver(mode) as receiver:
        with serve("launcher", receiver.url, tmp_path, TRACING_STOP_TIMEOUT="1") as (process, address):
            ask_all(address, 1, tmp_path)
            receiver.wait_for_exports(1)
            began = time.monotonic()
            code = stop(process)
            took = time.monotonic() - began
    assert (code, took < 15) == (0, True), (tmp_path / "log").read_text()
