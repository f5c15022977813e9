"""Tests of bandmaster.kernel.hosting.lifespan_server."""

import signal
import threading
from contextlib import asynccontextmanager

import anyio
import pytest
import structlog

from bandmaster.kernel import KernelSettings, LifespanBand, LifespanContribution, create_app, events
from bandmaster.kernel.hosting.lifespan_server import _Session
from bandmaster.kernel.shutdown.escalation import ECHO
from bandmaster.kernel.shutdown.stop_signals import STOP_SIGNALS

pytestmark = [pytest.mark.anyio]

SIGTERM, SIGINT = signal.SIGTERM, signal.SIGINT


@pytest.fixture(autouse=True)
def quiet():
    """Log lines are kept, not printed."""
    with structlog.testing.capture_logs() as lines:
        yield lines


class Handlers:
    """The handlers of a server that runs in this process."""

    def __init__(self):
        self.heard = []
        self.before = {}

    def __enter__(self):
        self.before = {number: signal.signal(number, self) for number in STOP_SIGNALS}
        return self

    def __exit__(self, *error):
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def __call__(self, number, frame):
        self.heard.append(number)


@pytest.fixture
def server_handlers():
    with Handlers() as handlers:
        yield handlers


class Component:
    """A component whose life a test writes down and disturbs."""

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
    """The other side of the conversation."""

    def __init__(self, app):
        self.app = app
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
async def conversation(app):
    server = Server(app)
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(server.run)
            server.ask("startup")
            yield server
    finally:
        server.close()


async def wait_until(condition):
    with anyio.fail_after(5):
        while not condition():
            await anyio.sleep(0.01)


async def fail():
    raise RuntimeError("no luck\nat all")


# -- without signals -----------------------------------------------------------------------------------------------


@pytest.mark.requirement("FA-1", "XC-C2")
async def test_an_ordinary_life():
    """Startup starts, shutdown stops; no handler is touched and nobody killed."""
    part = Component()
    before = signal.getsignal(SIGTERM)
    async with conversation(application(part)) as server:
        assert await server.answer() == "startup.complete"
        assert signal.getsignal(SIGTERM) is before
        assert part.facts == ["start"]
        server.ask("shutdown")
        assert await server.answer(2) == "shutdown.complete"
    assert part.facts == ["start", "stop"]
    assert (server.killed, server.ended) == ([], [])


@pytest.mark.requirement("FA-14", "XC-L4")
async def test_a_failed_start_is_told_and_never_raised(quiet):
    """One line of cause to the server, all of it to the log, once."""
    async with conversation(application(Component(start=fail))) as server:
        assert await server.answer() == "startup.failed"
    message = server.sent[0]["message"]
    assert "'part'" in message
    assert "no luck" in message
    assert "\n" not in message
    (line,) = [line for line in quiet if line["event"] == "the start has failed"]
    assert line["log_level"] == "error"
    assert "Traceback" in line["exception"]


async def test_a_failed_stop_is_told(quiet):
    """By the last message; and logged."""
    async with conversation(application(Component(stop=fail))) as server:
        await server.answer()
        server.ask("shutdown")
        assert await server.answer(2) == "shutdown.failed"
    assert "the run has failed" in [line["event"] for line in quiet]


async def test_what_is_no_exception_passes_after_it_was_told():
    """A component that exits the process is a failed start for the server, and still exits it."""

    async def leave():
        raise SystemExit(3)

    server = Server(application(Component(start=leave)))
    server.ask("startup")
    with pytest.raises(SystemExit):
        await server.run()
    server.close()
    assert await server.answer() == "startup.failed"


async def test_the_server_cancels():
    """The components still stop in order; no crash is made of it."""
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


async def test_a_crash_without_a_server_to_tell():
    """Nobody is killed; everything but the last word is over, and it waits for the question."""
    trigger = anyio.Event()

    async def crash():
        await trigger.wait()
        raise RuntimeError("died")

    part, other = Component(crash=crash), Component("other")
    async with conversation(application(part, other)) as server:
        await server.answer()
        trigger.set()
        await wait_until(lambda: "stop" in other.facts)
        await anyio.wait_all_tasks_blocked()
        assert (await server.app.live()).status == "fail"
        assert (await server.app.ready()).status == "fail"
        assert len(server.sent) == 1
        server.ask("shutdown")
        assert await server.answer(2) == "shutdown.failed"
    assert server.killed == []


async def test_a_thread_other_than_the_main_one(server_handlers):
    """A test client's: signals are left alone."""
    part = Component()

    async def run():
        async with conversation(application(part)) as server:
            await server.answer()
            assert signal.getsignal(SIGTERM) is server_handlers
            server.ask("shutdown")

    thread = threading.Thread(target=anyio.run, args=(run,))
    thread.start()
    await anyio.to_thread.run_sync(thread.join)
    assert part.facts == ["start", "stop"]


# -- serving while starting ----------------------------------------------------------------------------------------


async def test_serving_while_starting():
    """The server may serve at once; a shutdown meanwhile rolls back."""
    part = Component(start=anyio.sleep_forever)
    async with conversation(application(part, serve_while_starting=True)) as server:
        assert await server.answer() == "startup.complete"
        await wait_until(lambda: part.facts)
        server.ask("shutdown")
        assert await server.answer(2) == "shutdown.failed"
    assert "before everything had started" in server.sent[1]["message"]


async def test_a_failure_while_serving_and_starting(server_handlers):
    """The server is told by the signal that it knows."""
    async with conversation(application(Component(start=fail), serve_while_starting=True)) as server:
        await server.answer()
        await wait_until(lambda: server.killed)
        server.ask("shutdown")
        assert await server.answer(2) == "shutdown.failed"
    assert server.killed == [SIGTERM]


async def test_serving_while_starting_until_the_end():
    """What was answered early isn't answered again."""
    part = Component()
    async with conversation(application(part, serve_while_starting=True)) as server:
        assert await server.answer() == "startup.complete"
        await wait_until(lambda: server.app.kernel.is_ready)
        server.ask("shutdown")
        assert await server.answer(2) == "shutdown.complete"
    assert part.facts == ["start", "stop"]


async def test_an_application_speaks_it():
    """Whatever server asks."""
    sent = []
    questions = iter(("startup", "shutdown"))

    async def receive():
        return {"type": f"lifespan.{next(questions)}"}

    async def send(message):
        sent.append(message["type"])

    await application(Component())({"type": "lifespan"}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


# -- signals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", STOP_SIGNALS)
async def test_a_signal_while_starting(server_handlers, number, quiet):
    """The start is cancelled, the signal handed on at once, the failure told without a traceback."""
    part = Component(start=anyio.sleep_forever)
    async with conversation(application(part)) as server:
        await wait_until(lambda: part.facts)
        signal.raise_signal(number)
        assert server_handlers.heard == [number]
        assert await server.answer() == "startup.failed"
    assert "asked to stop" in server.sent[0]["message"]
    assert "the start was cancelled" in [line["event"] for line in quiet]
    assert signal.getsignal(number) is server_handlers


async def test_a_signal_while_serving(server_handlers):
    """Readiness fails, the drain is announced, the server hears the signal at once where there is no delay."""
    async with conversation(application(Component())) as server:
        await server.answer()
        signal.raise_signal(SIGTERM)
        assert server_handlers.heard == [SIGTERM]
        await wait_until(lambda: server.app.kernel.phase.value == "draining")
        assert (await server.app.ready()).status == "fail"
        server.ask("shutdown")
        assert await server.answer(2) == "shutdown.complete"
    assert server.killed == []


async def test_the_drain_delay(server_handlers):
    """Until it is over the server knows nothing, an echo doesn't tell it either, and requests are accepted."""
    async with conversation(application(Component(), drain_delay=0.3)) as server:
        await server.answer()
        signal.raise_signal(SIGTERM)
        signal.raise_signal(SIGTERM)
        await wait_until(lambda: server.app.kernel.phase.value == "draining")
        assert server_handlers.heard == []
        await wait_until(lambda: server_handlers.heard)
        assert server_handlers.heard == [SIGTERM]
        server.ask("shutdown")
        assert await server.answer(2) == "shutdown.complete"


@pytest.mark.parametrize("drain_delay", [0, 0.3])
async def test_an_echo_is_never_handed_on(server_handlers, drain_delay):
    """A server may take it for the second signal, which is another request."""
    part = Component()
    async with conversation(application(part, drain_delay=drain_delay)) as server:
        await server.answer()
        signal.raise_signal(SIGINT)
        signal.raise_signal(SIGINT)
        await wait_until(lambda: server_handlers.heard)
        server.ask("shutdown")
        assert await server.answer(2) == "shutdown.complete"
    assert server_handlers.heard == [SIGINT]


async def test_a_crash_in_the_drain_delay(server_handlers):
    """The server hears then of the signal that it was spared, and ends."""
    trigger = anyio.Event()

    async def crash():
        await trigger.wait()
        raise RuntimeError("died")

    async with conversation(application(Component(crash=crash), drain_delay=5)) as server:
        await server.answer()
        signal.raise_signal(SIGTERM)
        assert server_handlers.heard == []
        trigger.set()
        await wait_until(lambda: server_handlers.heard)
        server.ask("shutdown")
        assert await server.answer(2) == "shutdown.failed"
    assert server_handlers.heard == [SIGTERM]
    assert server.killed == []


async def test_a_second_signal(server_handlers):
    """The drain is skipped; the server hears of it once all has stopped, for a server that is hurried ends the loop."""
    may_stop = anyio.Event()
    part = Component(stop=may_stop.wait)
    async with conversation(application(part, drain_delay=5)) as server:
        await server.answer()
        signal.raise_signal(SIGINT)
        assert server_handlers.heard == []
        await anyio.sleep(ECHO * 4)
        signal.raise_signal(SIGINT)
        assert server_handlers.heard == [SIGINT]
        await wait_until(lambda: server.app.kernel.phase.value == "stopping")
        await anyio.sleep(0.1)
        assert (part.facts, server_handlers.heard) == (["start"], [SIGINT])
        may_stop.set()
        await wait_until(lambda: len(server_handlers.heard) == 2)
        assert part.facts == ["start", "stop"]
        assert len(server.sent) == 1
        server.ask("shutdown")
        assert await server.answer(2) == "shutdown.complete"
    assert server.ended == []


async def test_a_second_signal_when_all_has_stopped(server_handlers):
    """A server that still waits, for its last request perhaps, hears of it at once."""
    async with conversation(application(Component(), drain_timeout=0.1)) as server:
        await server.answer()
        signal.raise_signal(SIGINT)
        await wait_until(lambda: server.app.kernel.phase.value == "stopped")
        await anyio.sleep(ECHO * 2)
        signal.raise_signal(SIGINT)
        assert server_handlers.heard == [SIGINT, SIGINT]
        server.ask("shutdown")
        assert await server.answer(2) == "shutdown.complete"


async def test_a_third_signal(server_handlers):
    """It leaves at once, whatever the server thinks of it."""
    async with conversation(application(Component(stop=lambda: anyio.sleep(0.5)))) as server:
        await server.answer()
        for _ in range(3):
            signal.raise_signal(SIGTERM)
            await anyio.sleep(ECHO * 4)
        server.ask("shutdown")
        await server.answer(2)
    assert server.ended == [128 + SIGTERM]


async def test_a_server_that_waits_for_ever(server_handlers):
    """After drain_timeout the stops begin, for they have to fit into the grace."""
    part = Component()
    async with conversation(application(part, drain_timeout=0.1)) as server:
        await server.answer()
        signal.raise_signal(SIGTERM)
        await wait_until(lambda: "stop" in part.facts)
        assert len(server.sent) == 1
        server.ask("shutdown")
        await server.answer(2)


async def test_a_crash_ends_the_server(server_handlers):
    """By the signal that the server handles, before anything is unwound; the last word is a failure."""
    trigger = anyio.Event()

    async def crash():
        await trigger.wait()
        raise RuntimeError("died")

    async with conversation(application(Component(crash=crash))) as server:
        await server.answer()
        trigger.set()
        await wait_until(lambda: server.killed)
        server.ask("shutdown")
        assert await server.answer(2) == "shutdown.failed"
    assert server.killed == [SIGTERM]


async def test_only_abandoned_components_left(server_handlers):
    """The process is ended: only that ends them."""
    async with conversation(application(Component())) as server:
        await server.answer()
        server.app.kernel.emit(events.OnlyAbandonedLeft(at=0.0, components=("part",)))
        await wait_until(lambda: server.ended)
        server.ask("shutdown")
        await server.answer(2)
    assert server.ended == [70]


async def test_a_component_asks_for_the_stop(server_handlers):
    """As a signal would: the server is sent one."""
    async with conversation(application(Component())) as server:
        await server.answer()
        server.app.kernel.request_stop("enough")
        await wait_until(lambda: server.killed)
        server.ask("shutdown")
        assert await server.answer(2) == "shutdown.complete"
    assert server.killed == [SIGTERM]
