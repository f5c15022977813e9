"""A process that runs a kernel: starts the plan, handles stop signals, drains, stops, and reports failures."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import anyio
import sniffio

from bandmaster.kernel.lifecycle.kernel import Kernel
from bandmaster.kernel.logs import get_logger
from bandmaster.kernel.planning.component_variables import list_place_variables
from bandmaster.kernel.process.console_logging import report_failure
from bandmaster.kernel.process.exit import choose_exit_code
from bandmaster.kernel.process.servers.settings import ServerSettings
from bandmaster.kernel.process.systemd import notify
from bandmaster.kernel.reports import report
from bandmaster.kernel.shutdown.escalation import Escalation
from bandmaster.kernel.shutdown.stop_signals import replace_handlers


def check_may_run(function: str) -> None:
    """Refuse a call of ``function`` in a thread or an event loop where a process can't be run.

    Raises:
        RuntimeError: the caller isn't the main thread, or an event loop runs there.
    """
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError(
            f"{function}() must be called in the main thread, the only one in which Python handles SIGTERM and SIGINT. "
            "In another thread, run an event loop with `async with app.running()`, which handles no signals."
        )
    try:
        library = sniffio.current_async_library()
    except sniffio.AsyncLibraryNotFoundError:
        return
    raise RuntimeError(
        f"{function}() runs an event loop of its own, so it can't be called while one of {library} runs "
        "in this thread. "
        "Call it from a plain function, or use `async with app.running()` in the event loop that runs."
    )


class Process:
    """One run of a kernel in this process. A subclass defines the work between the start and the stop."""

    def __init__(
        self,
        kernel: Kernel,
        settings: ServerSettings,
        target: str | None,
        *,
        traceback: bool = False,
        exit_process: Callable[[int], object] = os._exit,
    ) -> None:
        self.kernel = kernel
        self.settings = settings
        self.target = target
        self._traceback = traceback
        self._escalation = Escalation(kernel, exit_process=exit_process)
        self._error: BaseException | None = None
        self._cut_short = 0

    def run(self) -> int:
        """Run until asked to stop, or until a failure, and return the exit code."""
        backend = "trio" if self.settings.runs_on_trio else "asyncio"
        options = {} if self.settings.runs_on_trio else {"use_uvloop": self.settings.runs_on_uvloop}
        escalation = self._escalation
        with replace_handlers(escalation.receive, lambda: escalation.is_stopping), escalation.watching():
            anyio.run(self._main, backend=backend, backend_options=options)
        return self._exit_code()

    async def _run_kernel(self) -> None:
        """Start the kernel, do the work, drain and stop."""
        raise NotImplementedError

    async def _drain(self) -> int:
        """Let the work that is under way end. Returns how much of it was cut short."""
        raise NotImplementedError

    async def _drain_unless_skipped(self) -> None:
        """Drain, until a second signal comes."""
        self._cut_short = 1  # which a second signal cuts short unless the drain is over by then

        async def drain() -> None:
            self._cut_short = await self._drain()

        await self._escalation.run_until_skipped(drain)

    async def _clean_up(self) -> None:
        """Close everything that a failed `_run_kernel` may have left open."""

    async def _main(self) -> None:
        self._escalation.enter_event_loop()
        async with anyio.create_task_group() as self._tasks:
            self._tasks.start_soon(self._escalation.attend)
            try:
                await self._run_kernel()
            except anyio.get_cancelled_exc_class():
                raise
            except BaseException as error:  # noqa: BLE001  # SystemExit from a component is a failure like any other here
                self._error = error
            await self._clean_up()
            self._tasks.cancel_scope.cancel()
        self._report_end()

    def _report_end(self) -> None:
        if self._error is not None:
            list_variables = partial(list_place_variables, self.kernel.plan)
            with suppress(OSError):  # the terminal may be closed, as SIGHUP says
                report_failure(report(self._error, full=self._traceback, list_variables=list_variables))
        self._escalation.leave_event_loop(self._exit_code())

    def _exit_code(self) -> int:
        escalation = self._escalation
        return choose_exit_code(
            self._error,
            escalation.signals,
            stopped_while_starting=escalation.stopped_while_starting,
            cut_short=self._cut_short,
        )

    async def _report_ready(self, event: str, **fields: str | None) -> None:
        """Log that the start has completed, notify systemd, and save the timeline."""
        get_logger("bandmaster.kernel").info(event, **fields)
        notify(self.settings.notify_socket, "READY=1")
        if self.kernel.settings.timeline:
            from bandmaster.kernel.listeners.timeline_store import save_timeline

            await anyio.to_thread.run_sync(save_timeline, self.target, self.kernel.timeline.record)

    def _report_stopping(self) -> None:
        """Notify systemd that the stop has been requested."""
        notify(self.settings.notify_socket, "STOPPING=1")
