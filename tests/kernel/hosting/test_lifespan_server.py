"""Tests of bandmaster.kernel.hosting.lifespan_server."""

import signal
import threading
from contextlib import asynccontextmanager

import anyio
import pytest
from tests.logged import capture_logs

from bandmaster.kernel import (
    CrashError,
    KernelSettings,
    LifespanBand,
    LifespanContribution,
    StartCancelled,
    StartError,
    StopError,
    TransientError,
    create_app,
    events,
)
from bandmaster.kernel.hosting.lifespan_server import _Session
from bandmaster.kernel.shutdown.escalation import ECHO
from bandmaster.kernel.shutdown.stop_signals import STOP_SIGNALS

pytestmark = [pytest.mark.anyio]

SIGTERM, SIGINT = signal.SIGTERM, signal.SIGINT


@pytest.fixture(autouse=True)
def quiet():
    """Log lines are captured instead of printed."""
    with capture_logs() as lines:
        yield lines


class Handlers:
    """The handlers of a server that runs in this process."""

    def __init__(self):
        self.received = []
        self.before = {}

    def __enter__(self):
        self.before = {number: signal.signal(number, self) for number in STOP_SIGNALS}
        return self

    def __exit__(self, *error):
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def __call__(self, number, frame):
        self.received.append(number)


@pytest.fixture
def server_handlers():
    with Handlers() as handlers:
        yield handlers


class Component:
    """A component with starts and stops that a test records and disturbs."""

    def __init__(self, name="part", *, start=None, stop=None, crash=None):
        self.facts = []
        self.start, self.stop, self.crash = start, stop, crash
        self.contribution = LifespanContribution(name=name, factory=self.run, band=LifespanBand.SERVICES)

    @asynccontextmanager
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


def application(*components, **settings):
    return create_app(
        contributions=[component.contribution for component in components],
        discover=False,
        settings=KernelSettings(**{"timeline": False, **settings}),
    )


class Server:
    """A server that runs an application by the lifespan protocol."""

    def __init__(self, app, raises=()):
        self.app = app
        self.raises = raises
        self.error = None
        self.ended, self.killed = [], []
        self.sent = []
        self.over = False
        self._questions, self._asked = anyio.create_memory_object_stream(10)
        self._answered = anyio.Event()

    async def run(self):
        session = _Session(
            self.app,
            self._asked.receive,
            self._send,
            exit_process=self.ended.append,
            kill=lambda pid, number: self.killed.append(number),
        )
        try:
            await session.run()
        except self.raises as error:
            self.error = error
        finally:
            self.over = True
            self._answered.set()

    async def _send(self, message):
        self.sent.append(message)
        self._answered.set()

    def ask(self, question):
        self._questions.send_nowait({"type": f"lifespan.{question}"})

    async def answer(self, count=1):
        with anyio.fail_after(5):
            while len(self.sent) < count:
                self._answered = anyio.Event()
                await self._answered.wait()
        return self.sent[count - 1]["type"].removeprefix("lifespan.")

    def close(self):
        self._questions.close()
        self._asked.close()


@asynccontextmanager
async def served(app):
    server = Server(app)
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(server.run)
            server.ask("startup")
            yield server
    finally:
        server.close()


@asynccontextmanager
async def failing(app, expected):
    """Serve an application with a lifespan that ends with an error; the server has that error afterwards."""
    server = Server(app, raises=expected)
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(server.run)
            server.ask("startup")
            yield server
    finally:
        server.close()
    assert isinstance(server.error, expected)


async def wait_until(condition):
    with anyio.fail_after(5):
        while not condition():
            await anyio.sleep(0.01)


async def fail():
    raise RuntimeError("no luck\nat all")


@pytest.mark.requirement("FA-1", "XC-C2")
async def test_start_and_stop():
    """The startup starts, the shutdown stops; no signal handler changes, and no process is killed."""
    part = Component()
    before = signal.getsignal(SIGTERM)
    async with served(application(part)) as server:
        assert await server.answer() == "startup.complete"
        assert signal.getsignal(SIGTERM) is before
        assert part.facts == ["start"]
        server.ask("shutdown")
        assert await server.answer(2) == "shutdown.complete"
    assert part.facts == ["start", "stop"]
    assert (server.killed, server.ended) == ([], [])


@pytest.mark.requirement("FA-14", "XC-L4")
async def test_a_failed_start_is_sent_and_then_raised(quiet):
    """The server gets one line with the cause, then the error; the log gets the whole report, once."""
    async with failing(application(Component(start=fail)), StartError) as server:
        assert await server.answer() == "startup.failed"
    assert (str(server.error.__cause__), server.error.component) == ("no luck\nat all", "part")
    message = server.sent[0]["message"]
    assert "'part'" in message
    assert "no luck" in message
    assert "\n" not in message
    (line,) = [line for line in quiet if line["event"] == "the start failed"]
    assert line["log_level"] == "error"
    assert "Traceback" in line["exception"]


async def test_an_operators_failure_is_one_sentence(quiet):
    """The server logs the message at once, so the log repeats neither the sentence nor a traceback."""

    async def refuse():
        raise TransientError("the queue can't be reached: is QUEUE_URL right?")

    async with failing(application(Component(start=refuse)), StartError) as server:
        assert await server.answer() == "startup.failed"
    assert "is QUEUE_URL right?" in server.sent[0]["message"]
    assert [] == [line for line in quiet if line["event"].startswith("The start failed")]


async def test_a_failed_stop_is_sent_and_then_raised(quiet):
    """A failed stop is the last message to the server, is in the log, and is raised as it is by Starlette."""
    async with failing(application(Component(stop=fail)), StopError) as server:
        await server.answer()
        server.ask("shutdown")
        assert await server.answer(2) == "shutdown.failed"
    assert "'part' failed to stop: RuntimeError: no luck" in server.sent[1]["message"]
    assert ["The stop failed: 'part' failed to stop: RuntimeError: no luck"] == [
        line["event"] for line in quiet if line["event"].startswith("The stop failed")
    ]


async def test_an_exit_is_reported_and_raised():
    """A component that exits the process is a failed start for the server, and the exit is raised."""

    async def leave():
        raise SystemExit(3)

    server = Server(application(Component(start=leave)))
    server.ask("startup")
    with pytest.raises(SystemExit):
        await server.run()
    server.close()
    assert await server.answer() == "startup.failed"


async def test_the_server_cancels():
    """The components still stop in order, and a cancellation isn't reported as a crash."""
    part = Component()
    server = Server(application(part))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.run)
        server.ask("startup")
        await server.answer()
        tasks.cancel_scope.cancel()
    server.close()
    assert part.facts == ["start", "stop"]
    assert len(server.sent) == 1


async def test_a_crash_without_a_server_that_handles_signals():
    """No process is killed; everything stops, and the last message waits for the shutdown."""
    trigger = anyio.Event()

    async def crash():
        await trigger.wait()
        raise RuntimeError("died")

    part, other = Component(crash=crash), Component("other")
    async with failing(application(part, other), CrashError) as server:
        await server.answer()
        trigger.set()
        await wait_until(lambda: not server.app.kernel.is_running)
        assert "stop" in other.facts
        assert (await server.app.live()).status == "fail"
        assert (await server.app.ready()).status == "fail"
        assert len(server.sent) == 1
        server.ask("shutdown")
        assert await server.answer(2) == "shutdown.failed"
    assert server.killed == []


async def test_a_thread_other_than_the_main_one(server_handlers):
    """In the thread of a test client, signal handlers aren't changed."""
    part = Component()

    async def run():
        async with served(application(part)) as server:
            await server.answer()
            assert signal.getsignal(SIGTERM) is server_handlers
            server.ask("shutdown")

    thread = threading.Thread(target=anyio.run, args=(run,))
    thread.start()
    await anyio.to_thread.run_sync(thread.join)
    assert part.facts == ["start", "stop"]


async def test_serving_while_starting():
    """The server may serve at once; a shutdown meanwhile rolls the start back."""
    part = Component(start=anyio.sleep_forever)
    async with failing(application(part, serve_while_starting=True), StartCancelled) as server:
        assert await server.answer() == "startup.complete"
        await wait_until(lambda: part.facts)
        server.ask("shutdown")
        assert await server.answer(2) == "shutdown.failed"
    assert "before everything had started" in server.sent[1]["message"]


async def test_a_failure_while_serving_and_starting(server_handlers):
    """The server gets the signal on which every server ends."""
    async with failing(application(Component(start=fail), serve_while_starting=True), StartError) as server:
        await server.answer()
        await wait_until(lambda: server.killed)
        server.ask("shutdown")
        assert await server.answer(2) == "shutdown.failed"
    assert server.killed == [SIGTERM]


async def test_serving_while_starting_until_the_end():
    """The startup that was answered early isn't answered again."""
    part = Component()
    async with served(application(part, serve_while_starting=True)) as server:
        assert await server.answer() == "startup.complete"
        await wait_until(lambda: server.app.kernel.is_ready)
        server.ask("shutdown")
        assert await server.answer(2) == "shutdown.complete"
    assert part.facts == ["start", "stop"]


async def test_an_application_serves_the_protocol():
    """An application answers startup and shutdown."""
    sent = []
    questions = iter(("startup", "shutdown"))

    async def receive():
        return {"type": f"lifespan.{next(questions)}"}

    async def send(message):
        sent.append(message["type"])

    await application(Component())({"type": "lifespan"}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


@pytest.mark.parametrize("number", [SIGTERM, SIGINT])
async def test_a_signal_while_starting(server_handlers, number, quiet):
    """The start is cancelled, the signal passed on at once, the failure reported without a traceback."""
    part = Component(start=anyio.sleep_forever)
    async with failing(application(part), StartCancelled) as server:
        await wait_until(lambda: part.facts)
        signal.raise_signal(number)
        assert server_handlers.received == [number]
        assert await server.answer() == "startup.failed"
    assert "asked to stop" in server.sent[0]["message"]
    assert "the start was cancelled" in [line["event"] for line in quiet]
    assert signal.getsignal(number) is server_handlers


async def test_a_signal_while_serving(server_handlers):
    """Readiness fails, draining begins, and then the server gets the signal."""
    async with served(application(Component())) as server:
        await server.answer()
        signal.raise_signal(SIGTERM)
        assert server_handlers.received == []
        await wait_until(lambda: server_handlers.received == [SIGTERM])
        await wait_until(lambda: server.app.kernel.phase.value == "draining")
        assert (await server.app.ready()).status == "fail"
        server.ask("shutdown")
        assert await server.answer(2) == "shutdown.complete"
    assert server.killed == []


async def test_a_drain_without_any_time(server_handlers):
    """The server has the signal before components stop, and accepts no connections meanwhile."""
    received = []

    async def stop():
        received.extend(server_handlers.received)

    async with served(application(Component(stop=stop), drain_timeout=0)) as server:
        await server.answer()
        signal.raise_signal(SIGTERM)
        await wait_until(lambda: server.app.kernel.phase.value == "stopped")
        server.ask("shutdown")
        assert await server.answer(2) == "shutdown.complete"
    assert received == [SIGTERM]


async def test_the_drain_delay(server_handlers):
    """During the drain delay the server gets no signal, not even by an echo, and requests are accepted."""
    async with served(application(Component(), drain_delay=0.3)) as server:
        await server.answer()
        signal.raise_signal(SIGTERM)
        signal.raise_signal(SIGTERM)
        await wait_until(lambda: server.app.kernel.phase.value == "draining")
        assert server_handlers.received == []
        await wait_until(lambda: server_handlers.received)
        assert server_handlers.received == [SIGTERM]
        server.ask("shutdown")
        assert await server.answer(2) == "shutdown.complete"


@pytest.mark.parametrize("drain_delay", [0, 0.3])
async def test_an_echo_is_never_passed_on(server_handlers, drain_delay):
    """A server may take an echo for the second signal, which has another meaning."""
    part = Component()
    async with served(application(part, drain_delay=drain_delay)) as server:
        await server.answer()
        signal.raise_signal(SIGINT)
        signal.raise_signal(SIGINT)
        await wait_until(lambda: server_handlers.received)
        server.ask("shutdown")
        assert await server.answer(2) == "shutdown.complete"
    assert server_handlers.received == [SIGINT]


async def test_a_crash_in_the_drain_delay(server_handlers):
    """A crash passes on the signal that was held back, and the server ends."""
    trigger = anyio.Event()

    async def crash():
        await trigger.wait()
        raise RuntimeError("died")

    async with failing(application(Component(crash=crash), drain_delay=5), CrashError) as server:
        await server.answer()
        signal.raise_signal(SIGTERM)
        assert server_handlers.received == []
        trigger.set()
        await wait_until(lambda: server_handlers.received)
        server.ask("shutdown")
        assert await server.answer(2) == "shutdown.failed"
    assert server_handlers.received == [SIGTERM]
    assert server.killed == []


async def test_a_second_signal(server_handlers):
    """The drain is skipped; the server gets the signal after all stops, since a second signal ends the event loop."""
    may_stop = anyio.Event()
    part = Component(stop=may_stop.wait)
    async with served(application(part, drain_delay=5)) as server:
        await server.answer()
        signal.raise_signal(SIGINT)
        assert server_handlers.received == []
        await anyio.sleep(ECHO * 4)
        signal.raise_signal(SIGINT)
        assert server_handlers.received == [SIGINT]
        await wait_until(lambda: server.app.kernel.phase.value == "stopping")
        await anyio.sleep(0.1)
        assert (part.facts, server_handlers.received) == (["start"], [SIGINT])
        may_stop.set()
        await wait_until(lambda: len(server_handlers.received) == 2)
        assert part.facts == ["start", "stop"]
        assert len(server.sent) == 1
        server.ask("shutdown")
        assert await server.answer(2) == "shutdown.complete"
    assert server.ended == []


async def test_a_second_signal_when_all_has_stopped(server_handlers):
    """A server that still waits for requests, when all has stopped, gets the second signal at once."""
    async with served(application(Component(), drain_timeout=0.1)) as server:
        await server.answer()
        signal.raise_signal(SIGINT)
        await wait_until(lambda: server.app.kernel.phase.value == "stopped")
        await anyio.sleep(ECHO * 2)
        signal.raise_signal(SIGINT)
        assert server_handlers.received == [SIGINT, SIGINT]
        server.ask("shutdown")
        assert await server.answer(2) == "shutdown.complete"


async def test_a_third_signal(server_handlers):
    """A third signal ends the process at once."""
    async with served(application(Component(stop=lambda: anyio.sleep(0.5)))) as server:
        await server.answer()
        for _ in range(3):
            signal.raise_signal(SIGTERM)
            await anyio.sleep(ECHO * 4)
        server.ask("shutdown")
        await server.answer(2)
    assert server.ended == [128 + SIGTERM]


async def test_a_server_that_waits_without_end(server_handlers):
    """After drain_timeout the stops begin, since they have to fit into the grace."""
    part = Component()
    async with served(application(part, drain_timeout=0.1)) as server:
        await server.answer()
        signal.raise_signal(SIGTERM)
        await wait_until(lambda: "stop" in part.facts)
        assert len(server.sent) == 1
        server.ask("shutdown")
        await server.answer(2)


async def test_a_crash_ends_the_server(server_handlers):
    """A crash sends the server the signal that ends servers, before any stop; the last message is a failure."""
    trigger = anyio.Event()

    async def crash():
        await trigger.wait()
        raise RuntimeError("died")

    async with failing(application(Component(crash=crash)), CrashError) as server:
        await server.answer()
        trigger.set()
        await wait_until(lambda: server.killed)
        server.ask("shutdown")
        assert await server.answer(2) == "shutdown.failed"
    assert server.killed == [SIGTERM]


async def test_only_abandoned_components_left(server_handlers):
    """The process is ended, since no component stops an abandoned one."""
    async with served(application(Component())) as server:
        await server.answer()
        server.app.kernel.emit(events.OnlyAbandonedLeft(at=0.0, components=("part",)))
        await wait_until(lambda: server.ended)
        server.ask("shutdown")
        await server.answer(2)
    assert server.ended == [70]


async def test_a_component_asks_for_the_stop(server_handlers):
    """A stop that a component requests sends the server a signal."""
    async with served(application(Component())) as server:
        await server.answer()
        server.app.kernel.request_stop("enough")
        await wait_until(lambda: server.killed)
        server.ask("shutdown")
        assert await server.answer(2) == "shutdown.complete"
    assert server.killed == [SIGTERM]
