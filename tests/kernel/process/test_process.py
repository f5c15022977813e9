"""Tests of bandmaster.kernel.process.process: processes that serve no requests."""

import contextlib
import http.client
import os
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator
from typing import Annotated

import anyio
import pytest

from bandmaster.kernel import (
    Context,
    Kernel,
    KernelSettings,
    LifespanBand,
    LifespanContribution,
    Named,
    PlanError,
    lifespan,
    run_process,
)
from bandmaster.kernel.shutdown.escalation import ECHO

SIGTERM, SIGINT = signal.SIGTERM, signal.SIGINT

pytestmark = pytest.mark.usefixtures("left_as_it_was")


class Work:
    """A kernel with one component, and a thread that sends this process signals once it has started."""

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


def test_it_starts_drains_and_stops(capfd):
    """Asked to stop, it ends with 0, and says on stderr what it did."""
    made = Work(SIGTERM)
    assert 0 == made.run()
    assert ["start", "stop"] == made.facts
    out, err = capfd.readouterr()
    assert ("", True, True) == (out, "role=worker" in err, "reason=SIGTERM" in err)


def test_work_that_is_cut_short_is_told_by_the_exit_code():
    """A drain hook that isn't over in time had something to do."""

    async def hook():
        await anyio.sleep_forever()

    made = Work(SIGTERM, hook=hook, drain_timeout=0.2)
    assert 128 + SIGTERM == made.run()
    assert ["start", "stop"] == made.facts


def test_a_second_signal_skips_the_drain():
    """Whoever presses Ctrl-C twice doesn't want to wait."""

    async def hook():
        await anyio.sleep_forever()

    made = Work(SIGTERM, SIGINT, hook=hook, drain_timeout=8)
    began = time.monotonic()
    assert 128 + SIGINT == made.run()
    assert ["start", "stop"] == made.facts
    assert 6 > time.monotonic() - began


def test_a_stop_while_starting():
    """The start is rolled back."""
    made = Work(SIGTERM, start=anyio.sleep_forever)
    assert 128 + SIGTERM == made.run()
    assert ["start"] == made.facts


def test_a_start_that_fails(capfd):
    """70, and the cause on stderr."""

    async def fail():
        raise OSError("no disk")

    assert 70 == Work(start=fail).run()
    assert "no disk" in capfd.readouterr().err


def test_settings_that_are_wrong(monkeypatch, capfd):
    """78, and nothing is started."""
    monkeypatch.setenv("BANDMASTER_SERVER_PORT", "many")
    made = Work()
    made.started.set()
    assert 78 == made.run()
    assert [] == made.facts
    assert "BANDMASTER_SERVER_PORT" in capfd.readouterr().err


def test_systemd_is_told(tmp_path, monkeypatch):
    """Of the readiness and of the stop."""
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(address)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        assert 0 == Work(SIGTERM).run()
        assert [b"READY=1", b"STOPPING=1"] == [listener.recv(100) for _ in range(2)]


def test_the_timeline_is_kept():
    """`bandmaster timeline` tells of workers as well."""
    from bandmaster.kernel.listeners.timeline_store import load_timeline

    assert 0 == Work(SIGTERM).run(target="shop:app")
    assert load_timeline("shop:app") is not None


def test_health_endpoints_for_an_orchestrator(monkeypatch):
    """They, and nothing else, are served where they are asked for; where requests are served otherwise doesn't matter."""
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

    made = Work(SIGTERM)
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
    """The exit code doesn't depend on who looks on."""

    async def hook():
        await anyio.sleep_forever()

    made = Work(SIGTERM, hook=hook, drain_timeout=0.2)
    assert 128 + SIGTERM == made.run(health=("127.0.0.1", 0))


# -- the kernel of another role ------------------------------------------------------------------------------------


class Thing:
    pass


def parts():
    @lifespan(band=LifespanBand.SERVICES, roles={"web"})
    async def pages():
        yield

    @lifespan(band=LifespanBand.SERVICES, roles={"worker"})
    async def jobs(thing: Thing):
        yield

    return [pages, jobs]


def names(kernel):
    return [component.name for component in kernel.plan.components]


def test_a_kernel_for_another_role():
    """The same parts, settings and overrides, another choice of them."""
    settings = KernelSettings(termination_grace=77, drain_timeout=1, drain_delay=0)
    web = Kernel(
        contributions=parts(), discover=False, role="web", settings=settings, disable={"x"}, overrides={Thing: Thing()}
    )
    worker = web.for_role("worker")
    assert (["pages"], ["jobs"]) == (names(web), names(worker))
    assert ("worker", web.settings) == (worker.role, worker.settings)
    assert any("'x' is disabled" in warning for warning in worker.plan.warnings)


def test_another_role_with_other_settings():
    """Overrides come on top, the kernel's settings in place."""
    thing = Thing()
    web = Kernel(contributions=parts(), discover=False, role="web", settings=KernelSettings(), overrides={str: "x"})
    worker = web.for_role("worker", overrides={Thing: thing}, settings=KernelSettings(processes=3))
    assert {(Thing, None): thing, (str, None): "x"} == {
        key: value for key, value in worker.plan.overrides.items() if key.type is not KernelSettings
    }
    assert (3, 1) == (worker.plan.processes, web.plan.processes)


def test_a_kernel_for_a_role_that_cannot_be_planned():
    """It is said when it is made, as for every kernel."""
    web = Kernel(contributions=parts(), discover=False, role="web", settings=KernelSettings())
    with pytest.raises(PlanError, match="needs a Thing"):
        web.for_role("worker")


@pytest.mark.anyio
async def test_services_get_what_everything_provides():
    """Waiting for readiness answers with the resources of all components, those that start later included."""
    found = []

    @lifespan(band=LifespanBand.SERVICES)
    async def early(context: Context):
        async def look():
            resources = await context.wait_ready()
            found.append((resources[str], resources[str, "late"]))

        context.supervise(look)
        yield

    @lifespan(band=LifespanBand.APPLICATION)
    async def late() -> AsyncIterator[Annotated[str, Named("late")]]:
        yield "a value"

    kernel = Kernel(contributions=[early, late], discover=False, overrides={str: "given"}, settings=KernelSettings())
    async with kernel.running():
        with anyio.fail_after(2):
            while not found:
                await anyio.sleep(0)
    assert [("given", "a value")] == found
