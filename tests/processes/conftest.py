"""Real server processes on loopback, and what is seen of them from outside."""

import http.client
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import websockets.exceptions
import websockets.sync.client

from bandmaster.kernel.testing import free_port, guarded_process

HERE = Path(__file__).parent
PATIENCE = 25.0
"""Seconds; every wait ends then at the latest."""


@contextmanager
def running(command, log, *, cwd=None, **environment):
    """A process whose output goes to a file; ended at the end, by force if it must be."""
    with (
        log.open("wb") as output,
        guarded_process(command, cwd=cwd, environment={**os.environ, **environment}, stdout=output) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE)


def until_answered(ask, process, log):
    """Ask until there is somebody who answers; fails when the process has ended or patience has."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return ask()
        except OSError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.05)


def command(server, port):
    name, _, flavour = server.partition("/")
    python = [sys.executable, "-W", "ignore"]
    if name == "launcher":
        return [*python, "served.py"]
    if name == "uvicorn":
        return [*python, "-m", "uvicorn", "served:app", "--port", str(port), "--loop", flavour or "auto"]
    if name == "hypercorn":
        options = {"trio": ["-k", "trio", "-w", "0"], "alone": ["-w", "0"]}.get(flavour, [])
        return [*python, "-m", "hypercorn", "served:app", "-b", f"127.0.0.1:{port}", *options]
    return [*python, "-m", "granian", "--interface", "asgi", "served:app", "--port", str(port)]


def environment(server, port, scenario, facts, settings):
    name, _, flavour = server.partition("/")
    values = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([*os.environ.get("PYTHONPATH", "").split(os.pathsep), str(HERE)]).strip(
            os.pathsep
        ),
        "SCENARIO": scenario,
        "FACTS": str(facts),
        "XDG_STATE_HOME": str(facts.parent),
        "BANDMASTER_ABANDON_AFTER": "0.5",
        "BANDMASTER_DRAIN_TIMEOUT": "4",
        "BANDMASTER_TERMINATION_GRACE": "8",
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
class Seen:
    """What one process did, and what its clients saw. Times are seconds since the first signal."""

    code: int | None = None
    took: float = 0.0
    facts: list = field(default_factory=list)
    output: str = ""
    status: dict = field(default_factory=dict)
    """Of each request: the HTTP status, or the name of the error."""
    at: dict = field(default_factory=dict)
    """When each of them was answered."""
    text: dict = field(default_factory=dict)
    close_code: int | None = None


class Served:
    """One server process."""

    def __init__(self, port, folder):
        self.port = port
        self.facts_path = folder / "facts"
        self.output_path = folder / "output"
        self.seen = Seen()
        self.signalled = None
        self.process = None

    def facts(self):
        return self.facts_path.read_text().splitlines() if self.facts_path.exists() else []

    def wait(self, done, what):
        """Until ``done`` says so; fails when the process has ended or patience has."""
        until = time.monotonic() + PATIENCE
        while not done():
            assert self.process.poll() is None, f"ended before {what}:\n{self.output_path.read_text()}"
            assert time.monotonic() < until, f"waited in vain for {what}:\n{self.output_path.read_text()}"
            time.sleep(0.02)

    def wait_ready(self):
        self.wait(lambda: self.get("/readyz")[0] == 200, "readiness")

    def wait_fact(self, text):
        self.wait(lambda: text in self.facts(), text)

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
        self.seen.status[name], self.seen.text[name] = self.get(path, timeout)
        self.seen.at[name] = time.monotonic() - (self.signalled or time.monotonic())

    def signal(self, number=signal.SIGTERM):
        self.signalled = self.signalled or time.monotonic()
        self.process.send_signal(number)

    def end(self, patience=PATIENCE):
        """Wait until it has ended by itself; if it hasn't, there is no exit code."""
        began = self.signalled or time.monotonic()
        with suppress(subprocess.TimeoutExpired):
            self.seen.code = self.process.wait(patience)
        self.seen.took = time.monotonic() - began
        self.seen.facts = self.facts()
        self.seen.output = self.output_path.read_text()
        return self.seen


@contextmanager
def serving(server, scenario, folder, **settings):
    folder.mkdir(parents=True, exist_ok=True)
    served = Served(free_port(), folder)
    variables = environment(server, served.port, scenario, served.facts_path, settings)
    with (
        served.output_path.open("wb") as output,
        guarded_process(command(server, served.port), cwd=HERE, environment=variables, stdout=output) as served.process,
    ):
        yield served


@contextmanager
def clients(*functions):
    """Functions that run beside, each in a thread that has ended at the end."""
    threads = [threading.Thread(target=function) for function in functions]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for thread in threads:
            thread.join(PATIENCE)


# -- the scenarios -------------------------------------------------------------------------------------------------


def fails_to_start(server, folder):
    with serving(server, "start failure", folder) as served:
        return served.end()


def stopped_while_starting(server, folder, *signals, scenario="hanging start"):
    with serving(server, scenario, folder) as served:
        served.wait_fact("start service")
        for number in signals or (signal.SIGTERM,):
            if served.signalled:
                time.sleep(0.2)
            served.signal(number)
        return served.end(2.0 if server == "hypercorn" else PATIENCE)


def crashes(server, folder):
    with serving(server, "crash", folder) as served:
        served.wait_ready()
        served.signalled = time.monotonic()
        served.record("crash", "/crash")
        served.wait_fact("stop database")
        served.record("after", "/", 1.0)
        served.record("live", "/livez", 1.0)
        if server.startswith("hypercorn"):
            served.signal()  # it hears of the crash from nobody
        return served.end()


def stops(server, folder, scenario="", number=signal.SIGTERM):
    with serving(server, scenario, folder) as served:
        served.wait_ready()
        served.signal(number)
        return served.end()


def drains(server, folder):
    """A WebSocket, a stream and a request in flight, then SIGTERM, then a new connection."""
    with serving(server, "", folder) as served:
        served.wait_ready()
        welcome = threading.Event()
        streaming = threading.Event()

        def web_socket():
            with websockets.sync.client.connect(f"ws://127.0.0.1:{served.port}/ws", close_timeout=1) as connection:
                connection.recv()
                welcome.set()
                try:
                    connection.recv(timeout=10)
                except websockets.exceptions.ConnectionClosed as closed:
                    served.seen.close_code = closed.rcvd.code if closed.rcvd else 1006
                except TimeoutError:
                    served.seen.close_code = 0
                served.seen.at["socket"] = time.monotonic() - served.signalled

        def stream():
            connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=12)
            connection.request("GET", "/stream")
            answer = connection.getresponse()
            first = answer.read(1)
            streaming.set()
            try:
                served.seen.text["stream"] = (first + answer.read()).decode()
            except (OSError, http.client.HTTPException) as error:
                served.seen.text["stream"] = type(error).__name__
            served.seen.at["stream"] = time.monotonic() - served.signalled
            connection.close()

        with clients(web_socket, stream, lambda: served.record("slow", "/slow")):
            served.wait_fact("slow began")
            assert welcome.wait(10)
            assert streaming.wait(10)
            served.signal()
            time.sleep(0.4)
            served.record("new", "/", 1.0)
        return served.end()


def hurried(server, folder, first=signal.SIGINT):
    """A long request in flight, a signal and then Ctrl-C, and a stop that takes its time."""
    with serving(server, "slow stop", folder) as served:
        served.wait_ready()
        with clients(lambda: served.record("slow", "/slow?seconds=15", 12.0)):
            served.wait_fact("slow began")
            served.signal(first)
            time.sleep(0.4)
            served.signal(signal.SIGINT)
            served.end()
        return served.end()


def interrupted_from_the_terminal(server, folder):
    """As Ctrl-C does it: the signal goes to the whole group."""
    with serving(server, "", folder) as served:
        served.wait_ready()
        served.signalled = time.monotonic()
        os.killpg(served.process.pid, signal.SIGINT)
        return served.end()


def finds_the_port_taken(server, folder):
    with serving(server, "", folder) as first:
        first.wait_ready()
        with serving(server, "", folder / "second", BANDMASTER_SERVER_PORT=str(first.port)) as served:
            served.seen.text["port"] = str(first.port)
            return served.end()


SCENARIOS = {
    "ctrl-c": interrupted_from_the_terminal,
    "port taken": finds_the_port_taken,
    "start failure": fails_to_start,
    "term while starting": stopped_while_starting,
    "two ints while starting": lambda server, folder: stopped_while_starting(
        server, folder, signal.SIGINT, signal.SIGINT
    ),
    "blocking start": lambda server, folder: stopped_while_starting(server, folder, scenario="blocking start"),
    "stubborn start": lambda server, folder: stopped_while_starting(server, folder, scenario="stubborn start"),
    "crash": crashes,
    "clean": stops,
    "stop failure": lambda server, folder: stops(server, folder, "stop failure"),
    "hanging stop": lambda server, folder: stops(server, folder, "hanging stop"),
    "stubborn stop": lambda server, folder: stops(server, folder, "stubborn stop"),
    "blocking stop": lambda server, folder: stops(server, folder, "blocking stop"),
    "drain": drains,
    "two ints": hurried,
    "term and int": lambda server, folder: hurried(server, folder, signal.SIGTERM),
}


@pytest.fixture(scope="session")
def see(request, tmp_path_factory):
    """What was seen of a server in a scenario; all that the session needs are run side by side, each once."""
    wanted = dict.fromkeys(
        (item.callspec.params["server"], marker.args[0])
        for item in request.session.items
        for marker in item.iter_markers("scenario")
    )
    # Those that mostly wait come first: the others fill their time.
    wanted = sorted(
        wanted, key=lambda pair: pair[1] not in ("blocking stop", "two ints", "term and int", "term while starting")
    )
    folder = tmp_path_factory.mktemp("processes")
    results: dict[tuple[str, str], Future[Seen]] = {}
    pool = ThreadPoolExecutor(4)
    try:
        for number, (server, scenario) in enumerate(wanted):
            results[server, scenario] = pool.submit(SCENARIOS[scenario], server, folder / str(number))
        yield lambda server, scenario: results[server, scenario].result()
    finally:
        pool.shutdown(cancel_futures=True)


def pytest_configure(config):
    config.addinivalue_line("markers", "scenario(name): what a server process goes through before the test looks")
