"""Tests of bandmaster.kernel.process.launcher."""

import contextlib
import http.client
import os
import signal
import socket
import threading
import time

import anyio
import pytest
from starlette.applications import Starlette

from bandmaster.kernel import (
    KernelSettings,
    LifespanBand,
    LifespanContribution,
    ServerSettings,
    create_app,
    events,
    serve,
)
from bandmaster.kernel.process import launcher, process
from bandmaster.kernel.process.launcher import ServerProcess
from bandmaster.kernel.process.servers.interface import make_server
from bandmaster.kernel.process.servers.sockets import bind
from bandmaster.kernel.shutdown.escalation import ECHO

SIGTERM, SIGINT = signal.SIGTERM, signal.SIGINT

pytestmark = pytest.mark.usefixtures("left_as_it_was")


class RecordingApp:
    """An application with one component that records its starts and stops."""

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


class ThreadBeside:
    """A thread that waits for the start and then calls the test's function, which sends signals, for example."""

    def __init__(self, recording, act):
        self.recording, self.act = recording, act
        self.thread = threading.Thread(target=self.run)
        self.error = None

    def run(self):
        try:
            until = time.monotonic() + 10
            while "start" not in self.recording.facts and time.monotonic() < until:
                time.sleep(0.01)
            self.act()
        except Exception as error:
            self.error = error

    def __enter__(self):
        self.thread.start()

    def __exit__(self, *error):
        self.thread.join()
        assert self.error is None


def wait_ready(recording):
    until = time.monotonic() + 10
    while not recording.app.kernel.is_ready and time.monotonic() < until:
        time.sleep(0.01)
    time.sleep(0.1)


def send_signals(*numbers):
    for index, number in enumerate(numbers):
        if index:
            # Far enough apart for a busy machine, on which the main thread handles a signal late.
            time.sleep(ECHO * 4)
        os.kill(os.getpid(), number)


def run_app(recording, act, **settings):
    with ThreadBeside(recording, act):
        return serve(
            recording.app, settings=ServerSettings(**{"port": 0, "loop": "asyncio", **settings}), target="a:app"
        )


async def fail():
    raise RuntimeError("no luck")


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_clean_run(loop, capfd):
    """The run logs its URL, saves the timeline, stops in order, and writes nothing to stdout."""
    recording = RecordingApp()

    def act():
        wait_ready(recording)
        send_signals(SIGTERM)

    assert run_app(recording, act, loop=loop) == 0
    assert recording.facts == ["start", "stop"]
    out, err = capfd.readouterr()
    assert out == ""
    assert "url=http://127.0.0.1:" in err
    assert "reason=SIGTERM" in err
    from bandmaster.kernel.listeners.timeline_store import load_timeline

    assert load_timeline("a:app") is not None


def test_on_trio():
    """With hypercorn the launcher runs on trio."""
    recording = RecordingApp(timeline=False)

    def act():
        wait_ready(recording)
        send_signals(SIGTERM)

    assert run_app(recording, act, server="hypercorn", loop="trio") == 0
    assert recording.facts == ["start", "stop"]


@pytest.mark.requirement("FA-14", "XC-L4")
def test_a_failed_start(capfd):
    """The exit code is 70, and the report is on stderr."""
    assert run_app(RecordingApp(start=fail), lambda: None) == 70
    assert "bandmaster: The start failed: 'part'" in capfd.readouterr().err


def test_a_signal_while_starting(capfd):
    """A signal during the start ends the run with 128 + n, and without a traceback."""
    recording = RecordingApp(start=lambda: anyio.sleep(60))
    assert run_app(recording, lambda: send_signals(SIGTERM)) == 143
    assert "Traceback" not in capfd.readouterr().err


def test_a_failed_stop(capfd):
    """A failed stop makes the exit code 70, also after an ordinary request to stop."""
    recording = RecordingApp(stop=fail)

    def act():
        wait_ready(recording)
        send_signals(SIGTERM)

    assert run_app(recording, act) == 70
    assert "bandmaster: The stop failed: 'part'" in capfd.readouterr().err


def test_a_failure_that_nobody_can_read(monkeypatch):
    """A terminal that is closed, which SIGHUP says, changes neither the stop nor the exit code."""

    def fail_to_print(text):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(process, "report_failure", fail_to_print)
    recording = RecordingApp(stop=fail)

    def act():
        wait_ready(recording)
        send_signals(signal.SIGHUP)

    assert run_app(recording, act) == 70


def test_a_crash(capfd):
    """A crash stops the server and all components, and the exit code is 70 without any signal."""

    async def crash():
        await anyio.sleep(0.2)
        raise RuntimeError("died")

    assert run_app(RecordingApp(crash=crash), lambda: None) == 70
    assert "bandmaster: The run failed: 'part'" in capfd.readouterr().err


def test_a_component_that_exits(capfd):
    """SystemExit from a component is a failure like any other, with any exit code of its own."""

    async def leave():
        raise SystemExit(0)

    assert run_app(RecordingApp(start=leave), lambda: None) == 70
    assert "SystemExit" in capfd.readouterr().err


def test_a_component_that_requests_the_stop():
    """A stop that a component requests is as clean as one by signal."""
    recording = RecordingApp()

    def act():
        wait_ready(recording)
        recording.loop.call_soon_threadsafe(recording.asked.set)

    async def enough():
        import asyncio

        recording.loop, recording.asked = asyncio.get_running_loop(), anyio.Event()
        await recording.asked.wait()
        recording.app.kernel.request_stop("enough")
        await anyio.sleep_forever()

    recording.crash = enough
    assert run_app(recording, act) == 0
    assert recording.facts == ["start", "stop"]


def test_a_second_signal_skips_the_drain():
    """A second signal ends the drain delay."""
    recording = RecordingApp(drain_delay=15)

    def act():
        wait_ready(recording)
        send_signals(SIGINT, SIGINT)

    began = time.monotonic()
    assert run_app(recording, act) == 130
    assert time.monotonic() - began < 8
    assert recording.facts == ["start", "stop"]


def test_a_third_signal_leaves_at_once(capfd):
    """A third signal ends the process in the signal handler, without waiting for the event loop."""
    recording = RecordingApp(stop=lambda: anyio.sleep(2))
    left = []
    chosen = ServerSettings(port=0, loop="asyncio")
    sock = bind(chosen)
    one = ServerProcess(recording.app, chosen, make_server(chosen), sock, None, exit_process=left.append)

    def act():
        wait_ready(recording)
        send_signals(SIGTERM, SIGTERM, SIGINT)

    with ThreadBeside(recording, act):
        one.run()
    sock.close()
    assert left == [130]
    assert "SIGINT for the third time" in capfd.readouterr().err


def test_a_signal_before_anything_runs():
    """A signal that arrives before the event loop runs prevents the start."""
    recording = RecordingApp(drain_delay=1)
    chosen = ServerSettings(port=0, loop="asyncio")
    sock = bind(chosen)
    one = ServerProcess(recording.app, chosen, make_server(chosen), sock, None)
    one._escalation.receive(SIGTERM)
    one._escalation.receive(SIGTERM)  # an echo
    assert one.run() == 143
    sock.close()
    assert recording.facts == []


def test_serving_from_before_the_start_until_the_stop():
    """The server that has answered during the start serves afterwards, too."""
    recording = RecordingApp(serve_while_starting=True)

    def act():
        wait_ready(recording)
        send_signals(SIGTERM)

    assert run_app(recording, act) == 0


def test_a_server_that_ends_during_the_start(monkeypatch):
    """A server that ends during the start fails the run when the start has completed."""
    monkeypatch.setattr(launcher, "make_server", lambda settings: BrokenServer())
    recording = RecordingApp(start=lambda: anyio.sleep(0.1), serve_while_starting=True)
    assert run_app(recording, lambda: None) == 70
    assert recording.facts == ["start", "stop"]


def test_only_abandoned_components_left():
    """The watchdog ends the process with 70 when only abandoned components are left."""
    recording = RecordingApp()
    left = []
    chosen = ServerSettings(port=0, loop="asyncio")
    sock = bind(chosen)
    one = ServerProcess(recording.app, chosen, make_server(chosen), sock, None, exit_process=left.append)

    def act():
        wait_ready(recording)
        recording.app.kernel.emit(events.OnlyAbandonedLeft(at=0.0, components=("part",)))
        time.sleep(0.3)
        send_signals(SIGTERM)

    with ThreadBeside(recording, act):
        one.run()
    sock.close()
    assert left == [70]


def test_a_cancellation_of_the_main_task_passes():
    """A cancellation from outside the run is passed on, after everything has been stopped."""
    recording = RecordingApp()
    chosen = ServerSettings(port=0, loop="asyncio")
    sock = bind(chosen)
    one = ServerProcess(recording.app, chosen, make_server(chosen), sock, None)

    async def main():
        with anyio.move_on_after(0.3) as scope:
            await one._main()
        assert scope.cancelled_caught

    anyio.run(main)
    sock.close()
    assert recording.facts == ["start", "stop"]


def test_serving_while_starting():
    """During the start /livez answers and everything else gets 503; a failed start ends the process."""
    recording = RecordingApp(start=lambda: go.wait(), serve_while_starting=True)
    seen = {}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    go = threading.Event()

    async def wait():
        await anyio.to_thread.run_sync(go.wait)
        raise RuntimeError("no luck")

    recording.start = wait

    def act():
        try:
            for path in ("/livez", "/startupz", "/"):
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
                connection.request("GET", path)
                seen[path] = connection.getresponse().status
                connection.close()
        finally:
            go.set()

    assert run_app(recording, act, port=port) == 70
    assert seen == {"/livez": 200, "/startupz": 503, "/": 503}


class BrokenServer:
    """A server that ends by itself, or that doesn't react to `stop` and `force`."""

    version = "broken 1.0"

    def __init__(self, error=None, ignores_stop=False):
        self.error, self.ignores_stop = error, ignores_stop

    async def serve(self, app, sock):
        if self.ignores_stop:
            await anyio.sleep_forever()
        if self.error is not None:
            raise self.error

    def stop(self):
        """Do nothing."""

    def force(self):
        """Do nothing."""


@pytest.mark.parametrize("error", [None, OSError("no more files"), SystemExit(1)])
def test_a_server_that_ends_by_itself(error, monkeypatch, capfd):
    """A server that ends by itself causes an ordered stop, and the exit code 70."""
    monkeypatch.setattr(launcher, "make_server", lambda settings: BrokenServer(error))
    recording = RecordingApp()
    assert run_app(recording, lambda: None) == 70
    assert recording.facts == ["start", "stop"]
    assert "broken 1.0 ended by itself" in capfd.readouterr().err


def test_a_server_that_will_not_end(monkeypatch):
    """A server that doesn't end is cancelled after its patience."""
    monkeypatch.setattr(launcher, "make_server", lambda settings: BrokenServer(ignores_stop=True))
    monkeypatch.setattr(launcher, "STOP_PATIENCE", 0.1)
    monkeypatch.setattr(launcher, "FORCE_PATIENCE", 0.1)
    recording = RecordingApp()

    def act():
        wait_ready(recording)
        send_signals(SIGTERM)

    assert run_app(recording, act) == 0
    assert recording.facts == ["start", "stop"]


def test_a_taken_port_is_known_before_anything_starts(capfd):
    """A port in use makes the exit code 78, and the error has a remedy."""
    recording = RecordingApp()
    with socket.create_server(("127.0.0.1", 0)) as other:
        assert serve(recording.app, port=other.getsockname()[1]) == 78
    assert recording.facts == []
    error = capfd.readouterr().err
    assert error.startswith("bandmaster: 127.0.0.1:")
    assert "is taken: another process listens there already" in error


def test_wrong_settings(monkeypatch, capfd):
    """A wrong setting makes the exit code 78, and the error names the variable."""
    monkeypatch.setenv("BANDMASTER_SERVER_PORT", "http")
    assert serve(RecordingApp().app) == 78
    assert "BANDMASTER_SERVER_PORT is wrong" in capfd.readouterr().err


def test_settings_are_read_from_the_environment(monkeypatch):
    """Settings are read from the environment unless they are given."""
    monkeypatch.setenv("BANDMASTER_SERVER_PORT", "0")
    recording = RecordingApp(start=fail)
    assert serve(recording.app) == 70


def test_an_env_file(tmp_path, capfd):
    """The launcher's settings are read from its own file, else from that of the application."""
    own, apps = tmp_path / "own.env", tmp_path / "app.env"
    own.write_text("BANDMASTER_SERVER_PORT=own\n", encoding="utf-8")
    apps.write_text("BANDMASTER_SERVER_PORT=app\nBANDMASTER_TITLE=app\n", encoding="utf-8")
    app = create_app(discover=False, env_file=apps)
    assert "app" == app.settings.title
    assert 78 == serve(app)
    assert f"BANDMASTER_SERVER_PORT is wrong (ServerSettings, {apps}:1)" in capfd.readouterr().err
    assert 78 == serve(app, env_file=own)
    assert f"BANDMASTER_SERVER_PORT is wrong (ServerSettings, {own}:1)" in capfd.readouterr().err
    assert 78 == serve(lambda: create_app(discover=False), env_file=tmp_path / "missing.env")
    assert "missing.env can't be read: No such file" in capfd.readouterr().err
    with pytest.raises(ValueError, match="env_file: expected the path of a file, got 3"):
        serve(app, env_file=3)


def test_every_kind_of_application(monkeypatch):
    """An Application, a Kernel, an ASGI app and a factory of one of them can be served."""
    monkeypatch.setenv("BANDMASTER_PLUGINS", "allowlist")

    @contextlib.asynccontextmanager
    async def lifespan(_app):
        await fail()
        yield

    app = RecordingApp(start=fail).app
    kinds = (app, app.kernel, Starlette(lifespan=lifespan), lambda: app)
    # The start of each of them fails, so 70 shows that it was started.
    assert [serve(kind, port=0) for kind in kinds] == [70] * 4


@pytest.mark.parametrize(
    ("app", "error"),
    [
        (42, "the application is an int; expected an Application, a Kernel, any ASGI app, or a function"),
        (lambda: None, "the function <lambda>() returned None; expected an Application"),
        (lambda: 1 / 0, "the function <lambda>() raised ZeroDivisionError: division by zero."),
    ],
)
def test_an_object_that_is_no_application(app, error, capfd):
    """The exit code is 78, and the error names the object and the kinds that can be served."""
    assert serve(app, port=0) == 78
    assert f"bandmaster: {error}" in capfd.readouterr().err


def test_options_have_precedence_over_settings(monkeypatch, tmp_path, capfd):
    """Options have precedence over the settings that are given, and these over the environment."""
    monkeypatch.setenv("BANDMASTER_SERVER_ROOT_PATH", "/environment")
    monkeypatch.setenv("NOTIFY_SOCKET", "/environment")
    base = ServerSettings(port=1, root_path="/given")
    monkeypatch.setenv("NOTIFY_SOCKET", "/later")
    seen = []
    monkeypatch.setattr(launcher, "make_server", lambda settings: seen.append(settings) or BrokenServer())
    assert serve(RecordingApp().app, settings=base, uds=str(tmp_path / "app.sock"), server="hypercorn") == 70
    (chosen,) = seen
    assert (chosen.uds, chosen.server, chosen.root_path) == (tmp_path / "app.sock", "hypercorn", "/given")
    assert (chosen.port, chosen.notify_socket) == (1, "/environment")
    assert f"unix:{tmp_path}" in capfd.readouterr().err


def test_settings_of_another_type():
    """``settings`` takes the server's settings; the kernel's belong to the application."""
    with pytest.raises(ValueError, match=r"^settings: expected ServerSettings, got KernelSettings$"):
        serve(lambda: None, settings=KernelSettings())


def test_an_option_that_is_wrong(capfd):
    """A wrong option makes the exit code 78, and the error names the option as the caller wrote it."""
    assert serve(RecordingApp().app, port=70000) == 78
    assert "port is wrong: Input should be less than or equal to 65535." in capfd.readouterr().err


def test_serving_outside_the_main_thread():
    """Another thread is refused before the application is made, because it can't handle signals."""
    errors = []

    def target():
        with pytest.raises(RuntimeError) as refused:
            serve(lambda: errors.append("made"))
        errors.append(str(refused.value))

    thread = threading.Thread(target=target)
    thread.start()
    thread.join()
    (error,) = errors
    assert error.startswith("serve() must be called in the main thread, the only one in which Python handles SIGTERM")


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_serving_inside_an_event_loop(backend):
    """A running event loop is refused with a hint, because the launcher runs one of its own."""

    async def main():
        with pytest.raises(RuntimeError, match=rf"serve\(\) runs an event loop of its own.*one of {backend} runs"):
            serve(RecordingApp().app)

    anyio.run(main, backend=backend)
