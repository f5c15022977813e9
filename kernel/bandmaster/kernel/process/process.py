"""A process that a kernel owns: it hears the signals, starts the plan, drains and stops when asked to."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

import anyio

from bandmaster.kernel.errors import PlanError, StartCancelled
from bandmaster.kernel.lifecycle.kernel import Kernel
from bandmaster.kernel.process.servers.settings import ServerSettings
from bandmaster.kernel.reports import FAILED, OK, exit_code, report
from bandmaster.kernel.settings.reading import read_one
from bandmaster.kernel.shutdown.escalation import Escalation
from bandmaster.kernel.shutdown.stop_signals import STOP_SIGNALS, replace_handlers
from bandmaster.kernel.shutdown.watchdog import Watchdog
from bandmaster.kernel.text import masked

END_PATIENCE = 2.0
"""Seconds that threads which aren't daemons get after everything has been stopped."""


def run_process(kernel: Kernel, *, target: str | None = None, health: tuple[str, int] | None = None) -> int:
    """Start everything, and drain and stop when asked to: a process that serves no requests, such as a worker.

    The answer is the exit code; signals are obeyed and failures told as `bandmaster run` does it. Work counts as cut
    short where a drain hook was. ``health`` is a host and a port at which uvicorn serves the health endpoints and
    nothing else; ``target`` names the kernel for `bandmaster timeline`.

    Raises:
        ValueError: this isn't the main thread.
    """
    try:
        settings = read_one(ServerSettings)
    except PlanError as error:
        tell(report(error))
        return exit_code(error)
    if health is not None:
        from starlette.applications import Starlette

        from bandmaster.kernel.hosting.application import Application
        from bandmaster.kernel.process.launcher import launch

        host, port = health
        # What else is set about where to serve is about another process: the one that answers requests.
        only = {"server": "uvicorn", "host": host, "port": port, "uds": None, "fd": None, "root_path": ""}
        loop = "auto" if settings.runs_on_trio else settings.loop
        return launch(
            Application(kernel, Starlette(debug=kernel.settings.debug)),
            settings.model_copy(update={**only, "loop": loop}),
            target=target,
        )
    with readable_logging(debug=kernel.settings.debug):
        return _Plain(kernel, settings, target).run()


def end_process(code: int) -> NoReturn:
    """End this process with the code that `run_process` or the launcher has answered.

    A signal that comes while the interpreter winds up changes it no more. Threads that won't end get `END_PATIENCE`.
    """
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    Watchdog(grace=END_PATIENCE, abandon_after=END_PATIENCE).watch_exit(code)
    sys.exit(code)


def outcome(error: BaseException | None, signals: Sequence[int], *, starting: bool, left: int) -> int:
    """The exit code of a run: the first of the signals came while ``starting``; ``left`` pieces of work were cut short."""
    if len(signals) >= 2:
        return 128 + signals[-1]
    if error is not None and not (starting and isinstance(error, StartCancelled)):
        return exit_code(error)
    if signals and (starting or left):
        return 128 + signals[0]
    return FAILED if left else OK


class Process:
    """One run of a kernel in this process; what happens between start and stop is its subclasses'."""

    def __init__(
        self,
        kernel: Kernel,
        settings: ServerSettings,
        target: str | None,
        *,
        exit_process: Callable[[int], object] = os._exit,
    ) -> None:
        self.kernel = kernel
        self.settings = settings
        self.target = target
        self._escalation = Escalation(kernel, exit_process=exit_process)
        self._error: BaseException | None = None
        self._left = 0

    def run(self) -> int:
        """Run until it is over; the answer is the exit code."""
        backend = "trio" if self.settings.runs_on_trio else "asyncio"
        options = {} if self.settings.runs_on_trio else {"use_uvloop": self.settings.runs_on_uvloop}
        with replace_handlers(self._escalation.receive), self._escalation.watching():
            anyio.run(self._main, backend=backend, backend_options=options)
        return self._code()

    async def _live(self) -> None:
        """Start, do what is to be done, stop. Leaves in ``_left`` how much work was cut short."""
        raise NotImplementedError

    async def _close(self) -> None:
        """Close what `_live` may have left open where it failed."""

    def _code(self) -> int:
        stop = self._escalation
        return outcome(self._error, stop.signals, starting=stop.stopped_while_starting, left=self._left)

    async def _main(self) -> None:
        self._escalation.enter_event_loop()
        async with anyio.create_task_group() as self._tasks:
            self._tasks.start_soon(self._escalation.attend)
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
            tell(report(self._error, debug=self.kernel.settings.debug))
        self._escalation.leave_event_loop(self._code())

    async def _announce(self, message: str, **about: object) -> None:
        import structlog

        structlog.get_logger("bandmaster.kernel").info(message, **about)
        notify(self.settings.notify_socket, "READY=1")
        if self.kernel.settings.timeline:
            from bandmaster.kernel.listeners.timeline_store import save_timeline

            await anyio.to_thread.run_sync(save_timeline, self.target, self.kernel.timeline.record)


class _Plain(Process):
    """One that serves nothing: what it does is its components' business."""

    async def _live(self) -> None:
        async with self.kernel.running():
            await self._announce("running", role=self.kernel.role)
            await self.kernel.wait_stop_requested()
            notify(self.settings.notify_socket, "STOPPING=1")
            await self._escalation.run_until_skipped(self._drain)

    async def _drain(self) -> None:
        self._left = await self.kernel.drain()


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


def tell(text: str) -> None:
    """Say something on stderr, whatever logging does."""
    sys.stderr.write(f"bandmaster: {masked(text)}\n")
    sys.stderr.flush()
