"""The lifespan protocol under a foreign server: the same run as the launcher's, as far as the server lets it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial
from typing import Any, Protocol

import anyio
from starlette.types import Message, Receive, Send

from bandmaster.kernel import events
from bandmaster.kernel.errors import StartCancelled
from bandmaster.kernel.events import Event
from bandmaster.kernel.lifecycle.kernel import Kernel
from bandmaster.kernel.reports import one_line, report
from bandmaster.kernel.settings.kernel import KernelSettings
from bandmaster.kernel.shutdown.stop_signals import Move, Requests, chained, is_handled, waker
from bandmaster.kernel.shutdown.watchdog import Watchdog, Witness


class Served(Protocol):
    """What the protocol drives: an application, seen from the server's side."""

    @property
    def kernel(self) -> Kernel:
        """The kernel that runs in it."""
        raise NotImplementedError

    @property
    def settings(self) -> KernelSettings:
        """The kernel's settings."""
        raise NotImplementedError

    def running(self) -> AbstractAsyncContextManager[Any]:
        """Start, serve, stop."""
        raise NotImplementedError

    async def begin_drain(self, *, delay: float) -> None:
        """Fail readiness, and tell everybody inside."""

    async def drain(self, *, delay: float) -> int:
        """Let what is in flight end."""
        raise NotImplementedError


async def speak_lifespan(app: Served, receive: Receive, send: Send) -> None:
    """Start when the server says so, stop when it says so; answer failures, never raise them.

    A server goes on serving when an exception leaves the lifespan, so what fails is told by a message. What isn't an
    ``Exception`` (a cancellation, Ctrl-C) still passes, once everything has stopped. See the lifespan protocol of the
    ASGI specification.
    """
    await _Session(app, receive, send).run()


class _Session:
    """One run of an application, as told to a server.

    Servers don't say that a stop has begun, only, after the last request, that it is time for the clean-up. So where
    the server handles signals of its own, in the main thread, they are heard before it hears them. Without such a
    server (a test client, an app mounted in another) no signal is touched and no process ended.
    """

    def __init__(
        self,
        app: Served,
        receive: Receive,
        send: Send,
        *,
        exit_process: Callable[[int], object] = os._exit,
        kill: Callable[[int, int], object] = os.kill,
    ) -> None:
        self._app = app
        self._receive = receive
        self._send = send
        self._exit = exit_process
        self._kill = kill
        self._requests = Requests()
        self._held: list[Callable[[], None]] = []
        """Hands on the first signal, until the drain delay is over."""
        self._held_longer: list[Callable[[], None]] = []
        """Hands on the second one, until everything has stopped: a server that is hurried ends its event loop at once."""
        self._chained: frozenset[signal.Signals] = frozenset()
        self._started = False
        self._leaving = False
        self._over = False
        self._ended_server = False
        self._witness = Witness()
        settings = app.settings
        self._watchdog = Watchdog(
            grace=settings.termination_grace,
            abandon_after=settings.abandon_after,
            describe=self._witness.story,
            exit_process=exit_process,
        )

    async def run(self) -> None:
        """Hold the conversation, from its first message to its last."""
        await self._receive()
        self._shutdown = anyio.Event()
        self._hurry = anyio.Event()
        self._rung = anyio.Event()
        self._wake = waker()
        self._watchdog.hear(self._wake)
        with (
            chained(self._heard) as self._chained,
            self._watchdog if self._chained else nullcontext(),
            self._app.kernel.listening(self._witness, self._happened),
        ):
            last, error = await self._live()
        await self._send(last)
        if error is not None and not isinstance(error, Exception):
            raise error

    async def _live(self) -> tuple[Message, BaseException | None]:
        """Start, serve, stop; the answer is the last message, and what went wrong."""
        early = self._app.settings.serve_while_starting
        error: BaseException | None = None
        async with anyio.create_task_group() as self._tasks:
            self._tasks.start_soon(self._attend)
            try:
                if early:
                    await self._confirm()
                await self._run(confirm=not early)
            except anyio.get_cancelled_exc_class():
                raise
            except BaseException as raised:  # noqa: BLE001  # told to the server, and raised again if it is fatal
                error = raised
                _log(error, started=self._started)
            finally:
                self._over = True
                _hand_on(self._held)  # a crash may have cut the drain delay short
                _hand_on(self._held_longer)
            if (early or self._started) and not self._shutdown.is_set():
                # The server doesn't know yet. What it asks is answered with 503 until it ends.
                if error is not None:
                    self._end_server()
                await self._shutdown.wait()
            self._tasks.cancel_scope.cancel()
        if error is None:
            return {"type": "lifespan.shutdown.complete"}, None
        kind = "shutdown" if early or self._started else "startup"
        return {"type": f"lifespan.{kind}.failed", "message": one_line(error)}, error

    async def _attend(self) -> None:
        while True:
            await self._rung.wait()
            self._rung = anyio.Event()
            self._obey()

    async def _run(self, *, confirm: bool) -> None:
        async with self._app.running():
            self._started = True
            self._watchdog.acted()
            try:
                if confirm:
                    await self._confirm()
                await self._serve()
            finally:
                self._leaving = True

    async def _confirm(self) -> None:
        await self._send({"type": "lifespan.startup.complete"})
        self._tasks.start_soon(self._read)

    async def _read(self) -> None:
        await self._receive()
        self._shutdown.set()
        # With serve_while_starting the server may say so while the start is under way.
        self._app.kernel.request_stop("lifespan.shutdown")

    async def _serve(self) -> None:
        """Until the server says that it is time for the clean-up, or somebody can't wait."""
        async with anyio.create_task_group() as tasks:

            async def skip_when_hurried() -> None:
                await self._hurry.wait()
                tasks.cancel_scope.cancel()

            tasks.start_soon(skip_when_hurried)
            await self._app.kernel.wait_stop_requested()
            if not self._shutdown.is_set():
                if not self._requests.numbers:
                    self._end_server()  # a component asked for the stop
                await self._drain_with_server()
            if self._shutdown.is_set():
                await self._app.drain(delay=0)
            tasks.cancel_scope.cancel()

    async def _drain_with_server(self) -> None:
        delay = self._app.settings.drain_delay
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(self._app.begin_drain, delay=delay))
            await anyio.sleep(delay)
            _hand_on(self._held)
            # Most servers wait for requests in flight for ever; then the stops wouldn't fit into the grace.
            with anyio.move_on_after(self._app.settings.drain_timeout):
                await self._shutdown.wait()

    # -- signals, between two bytecodes of the main thread -----------------------------------------------------

    def _heard(self, number: signal.Signals, hand_on: Callable[[], None]) -> bool:
        move = self._requests.hear(number)
        if move is None:
            return True  # nor does the server hear of an echo: uvicorn would take it for the second signal
        if move is Move.LEAVE:
            os.write(2, f"bandmaster: {number.name} for the third time: leaving at once\n".encode())
            self._exit(128 + number)
        self._wake(lambda: self._rung.set())
        if move is not Move.STOP:
            self._watchdog.hurried(number)
            _hand_on(self._held)
            if not self._over:
                self._held_longer.append(hand_on)
            return not self._over
        self._watchdog.asked(number)
        if self._started and not self._leaving and self._app.settings.drain_delay > 0:
            self._held.append(hand_on)
            return True
        return False

    def _obey(self) -> None:
        """Do what the signals so far mean, in the event loop; doing it twice is as good as once."""
        if self._requests.numbers:
            self._watchdog.acted()
            self._app.kernel.request_stop(self._requests.numbers[0].name)
        if len(self._requests.numbers) > 1:
            self._hurry.set()

    # -- what happens in the kernel ----------------------------------------------------------------------------

    def _happened(self, event: Event) -> None:
        if isinstance(event, events.KernelStarting):
            self._obey()  # a signal may have come before there was a run to stop
        elif isinstance(event, events.KernelStopping):
            self._watchdog.asked()
            if self._started and not self._leaving:
                # A crash: the server is told before anything is unwound.
                self._leaving = True
                self._end_server()
        elif isinstance(event, events.OnlyAbandonedLeft):
            self._watchdog.abandoned(event.components)

    def _end_server(self) -> None:
        """Have the server stop, as far as it listens to signals."""
        if self._ended_server or self._requests.numbers:
            return
        self._ended_server = True
        if signal.SIGTERM in self._chained and is_handled(signal.SIGTERM):
            self._kill(os.getpid(), signal.SIGTERM)


def _hand_on(held: list[Callable[[], None]]) -> None:
    while held:
        held.pop()()


def _log(error: BaseException, *, started: bool) -> None:
    import structlog

    logger = structlog.get_logger("bandmaster.kernel")
    if isinstance(error, StartCancelled):
        logger.warning("the start was cancelled", reason=one_line(error))
        return
    # As text: a logger that formats exceptions itself may show the values of local variables.
    logger.error("the run has failed" if started else "the start has failed", exception=report(error))
