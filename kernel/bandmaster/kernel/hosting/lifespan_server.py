"""Serve the ASGI lifespan protocol: start and stop an application as a foreign server asks."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import anyio
from starlette.types import Message, Receive, Send

from bandmaster.kernel import events
from bandmaster.kernel.errors import StartCancelled
from bandmaster.kernel.events import Event
from bandmaster.kernel.hosting.draining import CloseServer
from bandmaster.kernel.lifecycle.kernel import Kernel
from bandmaster.kernel.logs import get_logger
from bandmaster.kernel.reports import one_line, report, split_report
from bandmaster.kernel.settings.kernel import KernelSettings
from bandmaster.kernel.shutdown.escalation import Action, Escalation
from bandmaster.kernel.shutdown.signal_relay import SignalRelay
from bandmaster.kernel.shutdown.stop_signals import STOP_SIGNALS, is_handled, precede_handlers

_RELAY_DELAYS = (0.01, 0.2)
"""Seconds after the startup within which a server runs the event loop in which it serves; on a busy machine the second
one counts.
"""


class Served(Protocol):
    """An application as the lifespan protocol runs it."""

    @property
    def kernel(self) -> Kernel:
        """The kernel that the application runs."""
        raise NotImplementedError

    @property
    def settings(self) -> KernelSettings:
        """The kernel's settings."""
        raise NotImplementedError

    def running(self) -> AbstractAsyncContextManager[Any]:
        """Start the application, serve, stop."""
        raise NotImplementedError

    async def drain(self, *, delay: float, close_server: CloseServer | None = None) -> int:
        """Let the requests in flight end; ``close_server`` is called when no more are to come."""
        raise NotImplementedError


async def speak_lifespan(app: Served, receive: Receive, send: Send) -> None:
    """Start and stop the application when the server asks for that. A failure is sent to the server, and then raised.

    Servers exit by the message: without one, they take an exception for an application that has no lifespan, and serve
    it. Test clients and lifespan managers fail by the exception, as they do for Starlette: without one, they wait for
    ever. See the lifespan protocol of the ASGI specification.

    Raises:
        StartError, StartCancelled: after ``lifespan.startup.failed``.
        CrashError, StopError: after ``lifespan.shutdown.failed``.
    """
    await _Session(app, receive, send).run()


class _Session:
    """One run of an application under a server.

    A server asks for the clean-up after the last request, and gives no notice when a stop begins. Where the server
    handles signals in the main thread, they are therefore received here first, and passed on to the server. Without
    such a server (a test client, an app mounted in another) no signal is received and no process ended.
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
        self._kill = kill
        self._escalation = Escalation(app.kernel, exit_process=exit_process)
        self._relay = SignalRelay(STOP_SIGNALS)
        self._held: list[Callable[[], None]] = []
        """Passes the first signal on to the server, once WebSockets are closed and the drain delay is over."""
        self._held_longer: list[Callable[[], None]] = []
        """Passes the second signal on, once everything has stopped: a second signal ends a server's event loop."""
        self._preceded: frozenset[signal.Signals] = frozenset()
        self._started = False
        self._leaving = False
        self._over = False
        self._ended_server = False

    async def run(self) -> None:
        """Run the application, from the server's first message to the last answer."""
        await self._receive()
        self._shutdown = anyio.Event()
        self._escalation.enter_event_loop()
        with (
            precede_handlers(self._receive_signal, lambda: self._escalation.is_stopping, self._relay) as self._preceded,
            # Without a server that handles signals the process isn't ours to end: a test client's, for example.
            self._escalation.watching(may_end_process=bool(self._preceded)),
            self._app.kernel.listening(self._end_server_on_crash),
        ):
            last, error = await self._run_application()
        try:
            await self._send(last)
            if error is not None:
                raise error
        finally:
            del error  # a frame that holds the exception it raises is a reference cycle

    async def _run_application(self) -> tuple[Message, BaseException | None]:
        """Start, serve, stop. Returns the last message for the server, and the error if there was one."""
        early = self._app.settings.serve_while_starting
        error: BaseException | None = None
        async with anyio.create_task_group() as self._tasks:
            self._tasks.start_soon(self._escalation.attend)
            try:
                if early:
                    await self._confirm_start()
                await self._start_and_serve(confirm=not early)
            except anyio.get_cancelled_exc_class():
                raise
            except BaseException as raised:  # noqa: BLE001  # sent to the server, and raised by run()
                error = raised
                _log_failure(error, has_answer=not (early or self._started))
            finally:
                self._over = True
                _hand_on(self._held)  # a crash may have cut the drain delay short
                _hand_on(self._held_longer)
            if (early or self._started) and not self._shutdown.is_set():
                # The server doesn't know yet. Its requests are answered with 503 until it ends.
                if error is not None:
                    self._end_server()
                await self._shutdown.wait()
            self._tasks.cancel_scope.cancel()
        if error is None:
            return {"type": "lifespan.shutdown.complete"}, None
        kind = "shutdown" if early or self._started else "startup"
        return {"type": f"lifespan.{kind}.failed", "message": one_line(error)}, error

    async def _start_and_serve(self, *, confirm: bool) -> None:
        async with self._app.running():
            self._started = True
            try:
                if confirm:
                    await self._confirm_start()
                await self._escalation.run_until_skipped(self._serve)
            finally:
                self._leaving = True

    async def _confirm_start(self) -> None:
        await self._send({"type": "lifespan.startup.complete"})
        self._tasks.start_soon(self._await_shutdown)
        if self._preceded:
            self._tasks.start_soon(self._install_relay)

    async def _install_relay(self) -> None:
        # granian runs its event loop anew after the startup, and uvloop then takes the signals for itself again.
        for delay in _RELAY_DELAYS:
            await anyio.sleep(delay)
            self._relay.install()

    async def _await_shutdown(self) -> None:
        await self._receive()
        self._shutdown.set()
        # With serve_while_starting the server may ask for it while the start is under way.
        self._app.kernel.request_stop("lifespan.shutdown")

    async def _serve(self) -> None:
        """Serve and drain, until the server asks for the clean-up or the time for draining is over."""
        await self._app.kernel.wait_stop_requested()
        if self._shutdown.is_set():
            await self._app.drain(delay=0)
            return
        if not self._escalation.signals:
            self._end_server()  # a component requested the stop
        try:
            await self._app.drain(delay=self._app.settings.drain_delay, close_server=self._close_server)
        finally:
            _hand_on(self._held)  # the time may have been over before the server's turn had come

    async def _close_server(self) -> None:
        """Let the server have the signal, and wait until it asks for the clean-up: then it accepts nothing more."""
        _hand_on(self._held)
        await self._shutdown.wait()

    def _receive_signal(self, number: signal.Signals, pass_on: Callable[[], None]) -> bool:
        """Take note of a signal, in a signal handler; whether the server gets the signal later, or never."""
        action = self._escalation.receive(number)
        if action is None:
            return True  # nor does the server get an echo: uvicorn would take it for the second signal
        if action is Action.STOP:
            if self._started and not self._leaving:
                # Also without a drain delay: a server that has the signal would end WebSockets in its own way.
                self._held.append(pass_on)
                return True
            return False
        _hand_on(self._held)
        if not self._over:
            self._held_longer.append(pass_on)
        return not self._over

    def _end_server_on_crash(self, event: Event) -> None:
        # A crash stops the kernel without a request: the server gets the signal before anything is unwound.
        if isinstance(event, events.KernelStopping) and self._started and not self._leaving:
            self._leaving = True
            self._end_server()

    def _end_server(self) -> None:
        """Have the server stop, as far as it listens to signals."""
        if self._ended_server or self._escalation.signals:
            return
        self._ended_server = True
        if signal.SIGTERM in self._preceded and is_handled(signal.SIGTERM):
            self._kill(os.getpid(), signal.SIGTERM)


def _hand_on(held: list[Callable[[], None]]) -> None:
    while held:
        held.pop()()


def _log_failure(error: BaseException, *, has_answer: bool) -> None:
    """Log a failure. If ``has_answer``, servers log the sentence at once, from ``lifespan.startup.failed``."""
    logger = get_logger("bandmaster.kernel")
    if isinstance(error, StartCancelled):
        logger.warning("the start was cancelled", reason=one_line(error))
        return
    sentence, evidence = split_report(report(error))
    if not has_answer:
        logger.error(sentence, exception=evidence or None)
    elif evidence:
        logger.error("the start failed", exception=evidence)
