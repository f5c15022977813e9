"""Tests of bandmaster.kernel.process.background."""

import contextlib
import http.client
import os
import signal
import socket
import threading
import time

import anyio
import pytest

from bandmaster.kernel import Context, Kernel, KernelSettings, LifespanBand, LifespanContribution, run_process
from bandmaster.kernel.shutdown.escalation import ECHO

SIGTERM, SIGINT = signal.SIGTERM, signal.SIGINT

pytestmark = pytest.mark.usefixtures("left_as_it_was")


class Worker:
    """A kernel with one component, and a thread that sends signals to this process after the start."""

    def __init__(self, *signals, hook=None, start=None, between=ECHO * 4, **settings):
        self.facts = []
        self.signals, self.hook, self.start, self.between = signals, hook, start, between
        self.started = threading.Event()
        part = LifespanContribution(name="part", factory=self.part, band=LifespanBand.SERVICES)
        self.kernel = Kernel(contributions=[part], discover=False, role="worker", settings=KernelSettings(**settings))
        self.kernel.listen(lambda event: self.started.set() if type(event).__name__ == "Ready" else None)

    @contextlib.asynccontextmanager
    async def part(self, context: Context):
        self.facts.append("start")
        if self.start is not None:
            self.started.set()
            await self.start()
        if self.hook is not None:
            context.on_drain(self.hook)
        yield
        self.facts.append("stop")

    def run(self, **options):
        thread = threading.Thread(target=self._send)
        thread.start()
        try:
            return run_process(self.kernel, **options)
        finally:
            thread.join()

    def _send(self):
        assert self.started.wait(10)
        for number in self.signals:
            time.sleep(self.between)
            os.kill(os.getpid(), number)


def test_a_clean_run(capfd):
    """The exit code after a clean stop is 0, and stderr shows the run."""
    made = Worker(SIGTERM)
    assert 0 == made.run()
    assert ["start", "stop"] == made.facts
    out, err = capfd.readouterr()
    assert ("", True, True) == (out, "role=worker" in err, "reason=SIGTERM" in err)


def test_the_exit_code_after_work_was_cut_short():
    """A drain hook that exceeds the drain timeout makes the exit code 128 + the signal."""

    async def hook():
        await anyio.sleep_forever()

    made = Worker(SIGTERM, hook=hook, drain_timeout=0.2)
    assert 128 + SIGTERM == made.run()
    assert ["start", "stop"] == made.facts


def test_a_second_signal_skips_the_drain():
    """A second Ctrl-C cancels the drain hooks that still run."""

    async def hook():
        await anyio.sleep_forever()

    made = Worker(SIGTERM, SIGINT, hook=hook, drain_timeout=8)
    began = time.monotonic()
    assert 128 + SIGINT == made.run()
    assert ["start", "stop"] == made.facts
    assert 6 > time.monotonic() - began


def test_a_stop_while_starting():
    """A stop signal during the start rolls the start back."""
    made = Worker(SIGTERM, start=anyio.sleep_forever)
    assert 128 + SIGTERM == made.run()
    assert ["start"] == made.facts


def test_a_start_that_fails(capfd):
    """The exit code is 70, and stderr shows the cause."""

    async def fail():
        raise OSError("no disk")

    assert 70 == Worker(start=fail).run()
    assert "no disk" in capfd.readouterr().err


def test_settings_that_are_wrong(monkeypatch, capfd):
    """The exit code is 78, and nothing is started."""
    monkeypatch.setenv("BANDMASTER_SERVER_PORT", "many")
    made = Worker()
    made.started.set()
    assert 78 == made.run()
    assert [] == made.facts
    assert "BANDMASTER_SERVER_PORT" in capfd.readouterr().err


def test_systemd_is_notified(tmp_path, monkeypatch):
    """systemd gets a message when the process is ready, and one when it stops."""
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(address)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        assert 0 == Worker(SIGTERM).run()
        assert [b"READY=1", b"STOPPING=1"] == [listener.recv(100) for _ in range(2)]


def test_the_timeline_is_saved():
    """`bandmaster timeline` shows the last start of a worker, too."""
    from bandmaster.kernel.listeners.timeline_store import load_timeline

    assert 0 == Worker(SIGTERM).run(target="shop:app")
    assert load_timeline("shop:app") is not None


def test_health_endpoints_for_an_orchestrator(monkeypatch):
    """Only the health endpoints are served, at their own address whatever BANDMASTER_SERVER_... is set to."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("BANDMASTER_SERVER_UDS", "/nowhere/at/all")
    monkeypatch.setenv("BANDMASTER_SERVER_SERVER", "granian")
    answers = {}

    def ask():
        for path in ("/readyz", "/livez", "/"):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", path)
            answers[path] = connection.getresponse().status
            connection.close()

    made = Worker(SIGTERM)
    send = made._send

    def look_and_send():
        assert made.started.wait(10)
        until = time.monotonic() + 5
        while time.monotonic() < until:
            with contextlib.suppress(ConnectionRefusedError):
                ask()
                break
            time.sleep(0.02)
        send()

    made._send = look_and_send
    assert 0 == made.run(health=("127.0.0.1", port))
    assert {"/readyz": 200, "/livez": 200, "/": 404} == answers


def test_a_cut_drain_counts_with_a_health_port_too():
    """The exit code after work was cut short is the same with health endpoints."""

    async def hook():
        await anyio.sleep_forever()

    made = Worker(SIGTERM, hook=hook, drain_timeout=0.2)
    assert 128 + SIGTERM == made.run(health=("127.0.0.1", 0))


def test_a_process_outside_the_main_thread():
    """Another thread is refused with the name of the function, because it can't handle signals."""
    errors = []

    def target():
        with pytest.raises(RuntimeError) as refused:
            run_process(Worker().kernel)
        errors.append(str(refused.value))

    thread = threading.Thread(target=target)
    thread.start()
    thread.join()
    (error,) = errors
    assert error.startswith("run_process() must be called in the main thread")
