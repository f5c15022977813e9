"""The process of `bandmaster run`: it owns the signals, starts the plan, serves as its body."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

import anyio

from bandmaster.kernel import events
from bandmaster.kernel.errors import PlanError, StartCancelled
from bandmaster.kernel.events import Event
from bandmaster.kernel.failures import FAILED, OK, exit_code, report
from bandmaster.kernel.servers import (
    BindError,
    Server,
    ServerEndedError,
    ServerNotInstalledError,
    ServerSettings,
    bind,
    close,
    listen,
    make_server,
)
from bandmaster.kernel.settings import read_settings
from bandmaster.kernel.signals import STOP_SIGNALS, Move, Requests, Wake, owned, waker
from bandmaster.kernel.watchdog import Watchdog, Witness

if TYPE_CHECKING:
    from bandmaster.kernel.application import Application

__all__ = ["end", "exit_code", "launch", "outcome", "report"]

STOP_PATIENCE = 2.0
"""Seconds that the server gets to close its connections, once what was in flight has been waited for."""
FORCE_PATIENCE = 1.0
"""Seconds that what is dropped gets to clean up."""

END_PATIENCE = 2.0
"""Seconds that threads which aren't daemons get after everything has been stopped."""


def launch(app: Application, settings: ServerSettings | None = None, *, target: str | None = None) -> int:
    """Start everything, serve, drain and stop when asked to; the answer is the exit code.

    0: asked to stop, and clean. 70: the start, the run or the stop failed. 78: the settings, the server or the address
    can't be used. 128 + n: ended by signal n with work cut short. The report of a failure goes to stderr.

    SIGTERM and SIGINT belong to it while it runs, so it must be called in the main thread. The first rolls a start back,
    or drains and stops; the second skips the drain; the third ends the process at once. Where everything that was asked
    nicely is overdue (the setting ``termination_grace``), a watchdog names what is left and ends the process.

    ``settings`` are read from the environment unless given; ``target`` names the application for `bandmaster timeline`.

    Raises:
        ValueError: this isn't the main thread.
    """
    try:
        settings = settings if settings is not None else _read_settings()
        server = make_server(settings)
        sock = bind(settings)
    except (PlanError, ServerNotInstalledError, BindError) as error:
        _tell(report(error))
        return exit_code(error)
    try:
        with readable_logging(debug=app.settings.debug):
            return _Launch(app, settings, server, sock, target).run()
    finally:
        close(sock, settings)


def end(code: int) -> NoReturn:
    """End this process with the code that `launch` has answered.

    A signal that comes while the interpreter winds up changes it no more. Threads that won't end get `END_PATIENCE`.
    """
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    Watchdog(grace=END_PATIENCE, abandon_after=END_PATIENCE).stay(code)
    sys.exit(code)


def outcome(error: BaseException | None, signals: Sequence[int], *, starting: bool, left: int) -> int:
    """The exit code of a run: the first of the signals came while ``starting``; ``left`` requests were cut short."""
    if len(signals) >= 2:
        return 128 + signals[-1]
    if error is not None and not (starting and isinstance(error, StartCancelled)):
        return exit_code(error)
    if signals and (starting or left):
        return 128 + signals[0]
    return FAILED if left else OK


def _read_settings() -> ServerSettings:
    values, problems = read_settings([ServerSettings])
    if problems:
        raise PlanError(problems)
    read = values[ServerSettings]
    assert isinstance(read, ServerSettings)
    return read


class _Launch:
    """One run of an application in this process."""

    def __init__(
        self,
        app: Application,
        settings: ServerSettings,
        server: Server,
        sock: socket.socket,
        target: str | None,
        *,
        exit_process: Callable[[int], object] = os._exit,
    ) -> None:
        self.app = app
        self.settings = settings
        self.server = server
        self.sock = sock
        self.target = target
        self._exit = exit_process
        self._requests = Requests()
        self._starting = True
        """Whether the first signal, if it comes now, finds a start under way."""
        self._signalled_while_starting = False
        self._error: BaseException | None = None
        self._server_error: BaseException | None = None
        self._left = 0
        self._opened = False
        self._wake: Wake | None = None
        self._url = ""
        self._witness = Witness()
        kernel = app.kernel.settings
        self._watchdog = Watchdog(
            grace=kernel.termination_grace,
            abandon_after=kernel.abandon_after,
            describe=self._witness.story,
            exit_process=exit_process,
        )

    def run(self) -> int:
        """Run until it is over; the answer is the exit code."""
        backend = "trio" if self.settings.runs_on_trio else "asyncio"
        options = {} if self.settings.runs_on_trio else {"use_uvloop": self.settings.runs_on_uvloop}
        with owned(self._heard), self._watchdog, self.app.kernel.listening(self._witness, self._happened):
            anyio.run(self._main, backend=backend, backend_options=options)
        return self._code()

    def _code(self) -> int:
        return outcome(self._error, self._requests.numbers, starting=self._signalled_while_starting, left=self._left)

    # -- signals, between two bytecodes of the main thread -----------------------------------------------------

    def _heard(self, number: signal.Signals) -> None:
        move = self._requests.hear(number)
        if move is None:
            return
        if move is Move.LEAVE:
            os.write(2, f"bandmaster: {number.name} for the third time: leaving at once\n".encode())
            self._exit(128 + number)
            return
        if move is Move.STOP:
            self._signalled_while_starting = self._starting
            self._watchdog.asked(number)
        else:
            self._watchdog.hurried(number)
        if self._wake is not None:
            self._wake(lambda: self._rung.set())

    def _obey(self) -> None:
        """Do what the signals so far mean, in the event loop; doing it twice is as good as once."""
        if self._requests.numbers:
            self._watchdog.acted()
            self.app.kernel.request_stop(self._requests.numbers[0].name)
        if len(self._requests.numbers) > 1:
            self._hurry.set()

    def _happened(self, event: Event) -> None:
        if isinstance(event, events.KernelStarting):
            # A signal may have come before there was a run to stop.
            self._obey()
        elif isinstance(event, events.Ready):
            self._starting = False
            self._watchdog.acted()
        elif isinstance(event, events.KernelStopping):
            self._starting = False
            self._watchdog.asked()
        elif isinstance(event, events.OnlyAbandonedLeft):
            self._watchdog.abandoned(event.components)

    # -- the event loop ----------------------------------------------------------------------------------------

    async def _main(self) -> None:
        self._hurry = anyio.Event()
        self._rung = anyio.Event()
        self._server_over = anyio.Event()
        self._server_scope = anyio.CancelScope()
        self._wake = waker()
        self._watchdog.hear(self._wake)
        async with anyio.create_task_group() as self._tasks:
            self._tasks.start_soon(self._attend)
            try:
                await self._live()
            except anyio.get_cancelled_exc_class():
                raise
            except BaseException as error:  # noqa: BLE001  # SystemExit from a component is a failure like any other here
                self._error = error
            await self._close()
            self._tasks.cancel_scope.cancel()
        self._conclude()

    def _conclude(self) -> None:
        if self._error is not None:
            _tell(report(self._error, debug=self.app.settings.debug))
        # The event loop still waits for tasks and threads that others have left behind.
        self._wake = None
        self._watchdog.finished(self._code())

    async def _attend(self) -> None:
        self._obey()
        while True:
            await self._rung.wait()
            self._rung = anyio.Event()
            self._obey()

    async def _live(self) -> None:
        if self.app.settings.serve_while_starting:
            self._open()
        async with self.app.running():
            if not self._opened:
                self._open()
            try:
                await self._serve()
            except anyio.get_cancelled_exc_class():
                # A component has crashed. The plan stops at once; so must the server, beside it.
                self.server.stop()
                self._tasks.start_soon(self._close)
                raise

    async def _serve(self) -> None:
        await self._announce()
        await self._wait_stop_requested()
        notify(self.settings.notify_socket, "STOPPING=1")
        self._left = await self._drain()
        await self._close()

    async def _wait_stop_requested(self) -> None:
        async with anyio.create_task_group() as tasks:

            async def watch_server() -> None:
                await self._server_over.wait()
                tasks.cancel_scope.cancel()

            tasks.start_soon(watch_server)
            await self.app.kernel.wait_stop_requested()
            tasks.cancel_scope.cancel()
        self._check_server()

    def _check_server(self) -> None:
        if self._server_over.is_set():
            raise ServerEndedError(f"{self.server.version} ended by itself") from self._server_error

    async def _drain(self) -> int:
        async with anyio.create_task_group() as tasks:

            async def skip_when_hurried() -> None:
                await self._hurry.wait()
                tasks.cancel_scope.cancel()

            async def refuse_after_delay() -> None:
                # Whoever is refused a connection tries another instance, which a 503 wouldn't make them do.
                await anyio.sleep(self.app.settings.drain_delay)
                self.server.stop()

            tasks.start_soon(skip_when_hurried)
            tasks.start_soon(refuse_after_delay)
            await self.app.drain()
            tasks.cancel_scope.cancel()
        return self.app.in_flight

    async def _announce(self) -> None:
        import structlog

        structlog.get_logger("bandmaster.kernel").info("serving", url=self._url, server=self.server.version)
        notify(self.settings.notify_socket, "READY=1")
        if self.app.settings.timeline:
            from bandmaster.kernel.state import save_timeline

            await anyio.to_thread.run_sync(save_timeline, self.target, self.app.kernel.timeline.record)

    # -- the server --------------------------------------------------------------------------------------------

    def _open(self) -> None:
        self._url = listen(self.sock, self.settings)
        self._opened = True
        self._tasks.start_soon(self._run_server, name=f"bandmaster: {self.settings.server}")

    async def _run_server(self) -> None:
        with self._server_scope:
            try:
                await self.server.serve(self.app, self.sock)
            except (Exception, SystemExit) as error:  # noqa: BLE001  # uvicorn leaves by SystemExit
                self._server_error = error
        self._server_over.set()

    async def _close(self) -> None:
        """Stop the server, at last by force. What is left in flight has had its time by now."""
        if not self._opened:
            return
        self.server.stop()
        if not self._hurry.is_set():
            with anyio.move_on_after(STOP_PATIENCE):
                await self._server_over.wait()
        if not self._server_over.is_set():
            self.server.force()
            with anyio.move_on_after(FORCE_PATIENCE):
                await self.app.wait_empty()
                await self._server_over.wait()
        self._server_scope.cancel()


# -- around it -----------------------------------------------------------------------------------------------------


def notify(address: str, state: str) -> bool:
    """Tell systemd what this is at, as sd_notify(3) does; whether there was anybody to tell."""
    if not address:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.setblocking(False)
        try:
            client.sendto(state.encode(), f"\0{address[1:]}" if address.startswith("@") else address)
        except OSError:
            return False
    return True


@contextmanager
def readable_logging(*, debug: bool = False) -> Iterator[None]:
    """Log lines for people on stderr, unless somebody has set logging up already."""
    import structlog

    ours = not structlog.is_configured()
    root = logging.getLogger()
    handler = None if root.handlers else logging.StreamHandler(sys.stderr)
    level = logging.DEBUG if debug else logging.INFO
    if ours:
        structlog.configure(
            processors=[
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
                structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), sort_keys=False),
            ],
            wrapper_class=structlog.make_filtering_bound_logger(level),
            logger_factory=structlog.PrintLoggerFactory(sys.stderr),
            cache_logger_on_first_use=False,
        )
    before = root.level
    if handler is not None:
        handler.setFormatter(logging.Formatter("%(asctime)s [%(levelname)-8s] %(name)s: %(message)s", "%H:%M:%S"))
        root.addHandler(handler)
        root.setLevel(level)
        # Servers tell of their own start and stop what the launcher tells already; what they warn of stays.
        for name in ("uvicorn.error", "hypercorn.error"):
            logging.getLogger(name).setLevel(logging.DEBUG if debug else logging.WARNING)
    try:
        yield
    finally:
        if ours:
            structlog.reset_defaults()
        if handler is not None:
            root.removeHandler(handler)
            root.setLevel(before)


def _tell(text: str) -> None:
    sys.stderr.write(f"bandmaster: {text}\n")
    sys.stderr.flush()
