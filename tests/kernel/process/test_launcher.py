"""Tests of bandmaster.kernel.process.launcher."""

import contextlib
import http.client
import logging
import os
import signal
import socket
import threading
import time

import anyio
import pytest
import structlog

from bandmaster.kernel import KernelSettings, LifespanBand, LifespanContribution, create_app, events
from bandmaster.kernel.errors import BindError, StartCancelled, StartError
from bandmaster.kernel.process import launcher, process
from bandmaster.kernel.process.launcher import _Launch, launch
from bandmaster.kernel.process.process import notify, outcome, readable_logging
from bandmaster.kernel.process.servers.interface import make_server
from bandmaster.kernel.process.servers.settings import ServerSettings
from bandmaster.kernel.process.servers.sockets import bind
from bandmaster.kernel.shutdown.escalation import ECHO

SIGTERM, SIGINT = signal.SIGTERM, signal.SIGINT
FAILED = StartError("no", component="a")
CANCELLED = StartCancelled("asked to")

pytestmark = pytest.mark.usefixtures("left_as_it_was")


@pytest.mark.parametrize(
    ("error", "signals", "starting", "left", "code"),
    [
        (None, (SIGTERM,), False, 0, 0),
        (None, (), False, 0, 0),
        (None, (SIGTERM,), False, 2, 143),
        (None, (), False, 2, 70),
        (None, (SIGTERM, SIGINT), False, 0, 130),
        (CANCELLED, (SIGINT,), True, 0, 130),
        (CANCELLED, (), False, 0, 70),
        (FAILED, (), False, 0, 70),
        (FAILED, (SIGTERM,), True, 0, 70),
        (FAILED, (SIGTERM, SIGTERM), True, 0, 143),
        (BindError("taken"), (), False, 0, 78),
    ],
)
def test_exit_codes(error, signals, starting, left, code):
    """0 clean, 70 failed, 78 misconfigured, 128 + n with work cut short by signal n."""
    assert code == outcome(error, signals, starting=starting, left=left)


# -- runs in this process ------------------------------------------------------------------------------------------


class Life:
    """An application with one component, whose facts a test looks at."""

    def __init__(self, *, start=None, stop=None, crash=None, **settings):
        self.facts = []
        self.start, self.stop, self.crash = start, stop, crash
        part = LifespanContribution(name="part", factory=self.run, band=LifespanBand.SERVICES)
        self.app = create_app(contributions=[part], discover=False, settings=KernelSettings(**settings))

    @contextlib.asynccontextmanager
    async def run(self):
        self.facts.append("start")
        if self.start is not None:
            await self.start()
        if self.crash is None:
            yield
        else:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self.crash)
                yield
                tasks.cancel_scope.cancel()
        if self.stop is not None:
            await self.stop()
        self.facts.append("stop")


class Outside:
    """A thread that waits for something and then sends this process signals, or whatever a test wants."""

    def __init__(self, life, act):
        self.life, self.act = life, act
        self.thread = threading.Thread(target=self.run)
        self.error = None

    def run(self):
        try:
            until = time.monotonic() + 10
            while "start" not in self.life.facts and time.monotonic() < until:
                time.sleep(0.01)
            self.act()
        except Exception as error:
            self.error = error

    def __enter__(self):
        self.thread.start()

    def __exit__(self, *error):
        self.thread.join()
        assert self.error is None


def ready(life):
    until = time.monotonic() + 10
    while not life.app.kernel.is_ready and time.monotonic() < until:
        time.sleep(0.01)
    time.sleep(0.1)


def send(*numbers):
    for index, number in enumerate(numbers):
        if index:
            # Far enough apart for a busy machine, on which the main thread hears of a signal late.
            time.sleep(ECHO * 4)
        os.kill(os.getpid(), number)


def run(life, act, **settings):
    with Outside(life, act):
        return launch(life.app, ServerSettings(**{"port": 0, "loop": "asyncio", **settings}), target="a:app")


async def fail():
    raise RuntimeError("no luck")


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_clean_run(loop, capfd):
    """It says where it serves, keeps the timeline, stops in order, and leaves stdout alone."""
    life = Life()

    def act():
        ready(life)
        send(SIGTERM)

    assert run(life, act, loop=loop) == 0
    assert life.facts == ["start", "stop"]
    out, err = capfd.readouterr()
    assert out == ""
    assert "url=http://127.0.0.1:" in err
    assert "reason=SIGTERM" in err
    from bandmaster.kernel.listeners.timeline_store import load_timeline

    assert load_timeline("a:app") is not None


def test_on_trio():
    """hypercorn serves there, too."""
    life = Life(timeline=False)

    def act():
        ready(life)
        send(SIGTERM)

    assert run(life, act, server="hypercorn", loop="trio") == 0
    assert life.facts == ["start", "stop"]


@pytest.mark.requirement("FA-14", "XC-L4")
def test_a_failed_start(capfd):
    """70, and the report on stderr."""
    assert run(Life(start=fail), lambda: None) == 70
    assert "bandmaster: The start failed: 'part'" in capfd.readouterr().err


def test_a_signal_while_starting(capfd):
    """128 + n; what has started is rolled back; no traceback for what was asked for."""
    life = Life(start=lambda: anyio.sleep(60))
    assert run(life, lambda: send(SIGTERM)) == 143
    assert "Traceback" not in capfd.readouterr().err


def test_a_failed_stop(capfd):
    """70, after an ordinary request to stop."""
    life = Life(stop=fail)

    def act():
        ready(life)
        send(SIGTERM)

    assert run(life, act) == 70
    assert "bandmaster: The stop failed: 'part'" in capfd.readouterr().err


def test_a_crash(capfd):
    """The server is stopped, the rest too, and the exit code is 70 without any signal."""

    async def crash():
        await anyio.sleep(0.2)
        raise RuntimeError("died")

    assert run(Life(crash=crash), lambda: None) == 70
    assert "bandmaster: The run failed: 'part'" in capfd.readouterr().err


def test_a_component_that_exits(capfd):
    """SystemExit is a failure like any other: the exit codes stay what they are said to be."""

    async def leave():
        raise SystemExit(0)

    assert run(Life(start=leave), lambda: None) == 70
    assert "SystemExit" in capfd.readouterr().err


def test_a_component_that_asks_for_the_stop():
    """As clean as a signal."""
    life = Life()

    def act():
        ready(life)
        life.loop.call_soon_threadsafe(life.asked.set)

    async def enough():
        import asyncio

        life.loop, life.asked = asyncio.get_running_loop(), anyio.Event()
        await life.asked.wait()
        life.app.kernel.request_stop("enough")
        await anyio.sleep_forever()

    life.crash = enough
    assert run(life, act) == 0
    assert life.facts == ["start", "stop"]


def test_a_second_signal_skips_the_drain():
    """Here the drain delay."""
    life = Life(drain_delay=15)

    def act():
        ready(life)
        send(SIGINT, SIGINT)

    began = time.monotonic()
    assert run(life, act) == 130
    assert time.monotonic() - began < 8
    assert life.facts == ["start", "stop"]


def test_a_third_signal_leaves_at_once(capfd):
    """From the handler itself, whatever the event loop is at."""
    life = Life(stop=lambda: anyio.sleep(2))
    left = []
    chosen = ServerSettings(port=0, loop="asyncio")
    sock = bind(chosen)
    one = _Launch(life.app, chosen, make_server(chosen), sock, None, exit_process=left.append)

    def act():
        ready(life)
        send(SIGTERM, SIGTERM, SIGINT)

    with Outside(life, act):
        one.run()
    sock.close()
    assert left == [130]
    assert "SIGINT for the third time" in capfd.readouterr().err


def test_a_signal_before_anything_runs():
    """It isn't lost: the start is cancelled before it begins."""
    life = Life(drain_delay=1)
    chosen = ServerSettings(port=0, loop="asyncio")
    sock = bind(chosen)
    one = _Launch(life.app, chosen, make_server(chosen), sock, None)
    one._escalation.receive(SIGTERM)
    one._escalation.receive(SIGTERM)  # an echo
    assert one.run() == 143
    sock.close()
    assert life.facts == []


def test_serving_from_before_the_start_until_the_stop():
    """The server that has answered while starting is the one that serves."""
    life = Life(serve_while_starting=True)

    def act():
        ready(life)
        send(SIGTERM)

    assert run(life, act) == 0


def test_a_server_that_ends_during_the_start(monkeypatch):
    """It is noticed as soon as there is something to serve."""
    monkeypatch.setattr(launcher, "make_server", lambda settings: Broken())
    life = Life(start=lambda: anyio.sleep(0.1), serve_while_starting=True)
    assert run(life, lambda: None) == 70
    assert life.facts == ["start", "stop"]


def test_only_abandoned_components_left():
    """The watchdog is told, and ends the process with 70."""
    life = Life()
    left = []
    chosen = ServerSettings(port=0, loop="asyncio")
    sock = bind(chosen)
    one = _Launch(life.app, chosen, make_server(chosen), sock, None, exit_process=left.append)

    def act():
        ready(life)
        life.app.kernel.emit(events.OnlyAbandonedLeft(at=0.0, components=("part",)))
        time.sleep(0.3)
        send(SIGTERM)

    with Outside(life, act):
        one.run()
    sock.close()
    assert left == [70]


def test_a_cancellation_of_the_main_task_passes():
    """Nobody but the event loop itself could do so; it is no outcome of a run."""
    life = Life()
    chosen = ServerSettings(port=0, loop="asyncio")
    sock = bind(chosen)
    one = _Launch(life.app, chosen, make_server(chosen), sock, None)

    async def main():
        with anyio.move_on_after(0.3) as scope:
            await one._main()
        assert scope.cancelled_caught

    anyio.run(main)
    sock.close()
    assert life.facts == ["start", "stop"]


def test_serving_while_starting():
    """/livez and /startupz answer, everything else gets 503, and a failed start ends it all."""
    life = Life(start=lambda: go.wait(), serve_while_starting=True)
    seen = {}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    go = threading.Event()

    async def wait():
        await anyio.to_thread.run_sync(go.wait)
        raise RuntimeError("no luck")

    life.start = wait

    def act():
        try:
            for path in ("/livez", "/startupz", "/"):
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
                connection.request("GET", path)
                seen[path] = connection.getresponse().status
                connection.close()
        finally:
            go.set()

    assert run(life, act, port=port) == 70
    assert seen == {"/livez": 200, "/startupz": 503, "/": 503}


class Broken:
    """A server that ends by itself."""

    version = "broken 1.0"

    def __init__(self, error=None, deaf=False):
        self.error, self.deaf = error, deaf

    async def serve(self, app, sock):
        if self.deaf:
            await anyio.sleep_forever()
        if self.error is not None:
            raise self.error

    def stop(self):
        """It doesn't hear."""

    def force(self):
        """Nor that."""


@pytest.mark.parametrize("error", [None, OSError("no more files"), SystemExit(1)])
def test_a_server_that_ends_by_itself(error, monkeypatch, capfd):
    """An ordered stop, and 70."""
    monkeypatch.setattr(launcher, "make_server", lambda settings: Broken(error))
    life = Life()
    assert run(life, lambda: None) == 70
    assert life.facts == ["start", "stop"]
    assert "broken 1.0 ended by itself" in capfd.readouterr().err


def test_a_server_that_will_not_end(monkeypatch):
    """It is cancelled after a while."""
    monkeypatch.setattr(launcher, "make_server", lambda settings: Broken(deaf=True))
    monkeypatch.setattr(launcher, "STOP_PATIENCE", 0.1)
    monkeypatch.setattr(launcher, "FORCE_PATIENCE", 0.1)
    life = Life()

    def act():
        ready(life)
        send(SIGTERM)

    assert run(life, act) == 0
    assert life.facts == ["start", "stop"]


# -- before and around it ------------------------------------------------------------------------------------------


def test_a_taken_port_is_known_before_anything_starts(capfd):
    """78, and what to do."""
    life = Life()
    with socket.create_server(("127.0.0.1", 0)) as other:
        assert launch(life.app, ServerSettings(port=other.getsockname()[1])) == 78
    assert life.facts == []
    error = capfd.readouterr().err
    assert error.startswith("bandmaster: 127.0.0.1:")
    assert "is taken: another process listens there already" in error


def test_wrong_settings(monkeypatch, capfd):
    """78, with the variable's name."""
    monkeypatch.setenv("BANDMASTER_SERVER_PORT", "http")
    assert launch(Life().app) == 78
    assert "BANDMASTER_SERVER_PORT is wrong" in capfd.readouterr().err


def test_settings_are_read_from_the_environment(monkeypatch):
    """Unless they are given."""
    monkeypatch.setenv("BANDMASTER_SERVER_PORT", "0")
    life = Life(start=fail)
    assert launch(life.app) == 70


def test_telling_systemd(tmp_path):
    """sd_notify(3): a datagram to the socket that it names; nobody there is no error."""
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(path)
        assert notify(path, "READY=1")
        assert systemd.recv(100) == b"READY=1"
    assert not notify(path, "STOPPING=1")
    assert not notify("", "READY=1")
    assert not notify("@bandmaster-nobody-listens-here", "READY=1")


def test_logging_that_somebody_has_set_up_is_left_alone():
    """Ours is for when nobody cared."""
    structlog.configure(processors=[])
    handlers = list(logging.getLogger().handlers)
    with readable_logging():
        assert structlog.get_config()["processors"] == []
        assert handlers or len(logging.getLogger().handlers) == 1
    assert logging.getLogger().handlers == handlers
    assert structlog.is_configured()


def test_logging_for_people(monkeypatch, capsys):
    """On stderr, without colours where no terminal is; gone afterwards."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    with readable_logging():
        structlog.get_logger("x").info("hello", who="you")
        structlog.get_logger("x").debug("not this")
        logging.getLogger("y").warning("from the library")
    out, err = capsys.readouterr()
    assert out == ""
    assert "who=you" in err
    assert "y: from the library" in err
    assert "not this" not in err
    assert "\x1b" not in err
    assert not structlog.is_configured()
    assert logging.getLogger().handlers == []


def test_ending_the_process(monkeypatch):
    """Signals that come late change the exit code no more."""
    stayed = []
    monkeypatch.setattr(process.Watchdog, "watch_exit", lambda self, code: stayed.append(code))
    before = {number: signal.getsignal(number) for number in (SIGTERM, SIGINT)}
    try:
        with pytest.raises(SystemExit) as ended:
            process.end_process(3)
        assert signal.getsignal(SIGTERM) is signal.SIG_IGN
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert (ended.value.code, stayed) == (3, [3])
