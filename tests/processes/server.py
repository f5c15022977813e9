"""Start, signal and observe one real server process on loopback."""

import http.client
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.whole_lines import read_whole_lines

from bandmaster.kernel.testing import free_port, guarded_process

HERE = Path(__file__).parent
PATIENCE = 40.0
"""Seconds after which every wait fails, and a process that still runs has no exit code."""
DRAIN_TIMEOUT = 60
TERMINATION_GRACE = 90
"""Both are longer than `PATIENCE`, so that a process with an exit code has waited for neither, however busy the
machine is.
"""
_ENVIRONMENT = dict(os.environ)
"""Copied once, in the main thread: scenarios run in threads, while pytest sets a variable for each test."""


def build_command(server, port):
    name, _, flavour = server.partition("/")
    python = [sys.executable, "-W", "ignore"]
    if name == "launcher":
        return [*python, "served.py"]
    if name == "uvicorn":
        return [*python, "-m", "uvicorn", "served:app", "--port", str(port), "--loop", flavour or "auto"]
    if name == "hypercorn":
        # By default, hypercorn cancels the requests in flight after 3 seconds.
        return [*python, "-m", "hypercorn", "served:app", "-b", f"127.0.0.1:{port}", "--graceful-timeout", "6"]
    return [*python, "-m", "granian", "--interface", "asgi", "served:app", "--port", str(port)]


def build_environment(server, port, scenario, facts, settings):
    name, _, flavour = server.partition("/")
    values = {
        **_ENVIRONMENT,
        "PYTHONPATH": os.pathsep.join([*_ENVIRONMENT.get("PYTHONPATH", "").split(os.pathsep), str(HERE)]).strip(
            os.pathsep
        ),
        "SCENARIO": scenario,
        "FACTS": str(facts),
        "XDG_STATE_HOME": str(facts.parent),
        "BANDMASTER_ABANDON_AFTER": "0.5",
        "BANDMASTER_LOG_FORMAT": "console",
        "SERVER": name,
        "BANDMASTER_DRAIN_TIMEOUT": str(DRAIN_TIMEOUT),
        "BANDMASTER_TERMINATION_GRACE": str(TERMINATION_GRACE),
    }
    if name == "launcher":
        kind, _, loop = (flavour or "uvicorn").partition("-")
        values |= {
            "BANDMASTER_SERVER_PORT": str(port),
            "BANDMASTER_SERVER_SERVER": kind,
            "BANDMASTER_SERVER_LOOP": loop or "auto",
        }
    return {**values, **settings}


@dataclass
class Observation:
    """The facts of one process and of its clients. Times are seconds since the first signal."""

    code: int | None = None
    """The exit code; None if the process didn't end within `PATIENCE`."""
    took: float = 0.0
    facts: list = field(default_factory=list)
    output: str = ""
    status: dict = field(default_factory=dict)
    """Of each request: the HTTP status, or the name of the error."""
    at: dict = field(default_factory=dict)
    """Of each request: the time of its response, or of its error."""
    text: dict = field(default_factory=dict)
    """Of each request: the body of its response."""
    close_code: int | None = None
    """The close code that the WebSocket's client received."""


class Served:
    """A server process under observation."""

    def __init__(self, port, folder):
        self.port = port
        self.facts_path = folder / "facts"
        self.release_path = folder / "release"
        self.output_path = folder / "output"
        self.observation = Observation()
        self.signalled = None
        self.process = None

    def facts(self):
        return read_whole_lines(self.facts_path)

    def wait(self, done, expected):
        """Wait until ``done()`` is true; fail when the process has ended, or after `PATIENCE`."""
        until = time.monotonic() + PATIENCE
        while not done():
            assert self.process.poll() is None, f"ended before {expected}:\n{self.output_path.read_text()}"
            assert time.monotonic() < until, f"waited in vain for {expected}:\n{self.output_path.read_text()}"
            time.sleep(0.02)

    def wait_ready(self):
        self.wait(lambda: self.get("/readyz")[0] == 200, "readiness")

    def wait_fact(self, text):
        self.wait(lambda: text in self.facts(), text)

    def wait_output(self, text):
        self.wait(lambda: text in self.output_path.read_text(), text)

    def release(self):
        """Let the requests to /held end."""
        self.release_path.touch()

    def get(self, path, timeout=10.0):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except (OSError, http.client.HTTPException) as error:
            return type(error).__name__, ""
        finally:
            connection.close()

    def record(self, name, path, timeout=10.0):
        self.observation.status[name], self.observation.text[name] = self.get(path, timeout)
        self.note_time(name)

    def record_until(self, status, name, path, timeout=10.0):
        """Repeat a request until a status comes; after `PATIENCE`, keep the status of the last one."""
        until = time.monotonic() + PATIENCE
        self.record(name, path, timeout)
        while self.observation.status[name] != status and time.monotonic() < until:
            time.sleep(0.02)
            self.record(name, path, timeout)

    def note_time(self, name):
        self.observation.at[name] = time.monotonic() - (self.signalled or time.monotonic())

    def signal(self, number=signal.SIGTERM):
        self.signalled = self.signalled or time.monotonic()
        self.process.send_signal(number)

    def end(self, patience=PATIENCE):
        """Wait until the process has ended without force, and observe the end."""
        began = self.signalled or time.monotonic()
        with suppress(subprocess.TimeoutExpired):
            self.observation.code = self.process.wait(patience)
        self.observation.took = time.monotonic() - began
        self.observation.facts = self.facts()
        self.observation.output = self.output_path.read_text()
        return self.observation


@contextmanager
def serve(server, scenario, folder, **settings):
    folder.mkdir(parents=True, exist_ok=True)
    served = Served(free_port(), folder)
    variables = build_environment(server, served.port, scenario, served.facts_path, settings)
    with (
        served.output_path.open("wb") as output,
        guarded_process(
            build_command(server, served.port), cwd=HERE, environment=variables, stdout=output
        ) as served.process,
    ):
        yield served


@contextmanager
def run_clients(*functions):
    """Run functions beside the block, each in a thread, and join the threads at the end of the block."""
    threads = [threading.Thread(target=function) for function in functions]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for thread in threads:
            thread.join(PATIENCE)
