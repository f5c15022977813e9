"""Run a kernel in a process that serves no requests, such as a worker or a scheduler."""

from __future__ import annotations

from bandmaster.kernel.errors import PlanError
from bandmaster.kernel.lifecycle.kernel import Kernel
from bandmaster.kernel.process.console_logging import log_to_stderr, report_refusal
from bandmaster.kernel.process.process import Process, check_may_run
from bandmaster.kernel.process.servers.settings import ServerSettings
from bandmaster.kernel.reports import exit_code, report
from bandmaster.kernel.settings.reading import load_settings


def run_process(
    kernel: Kernel, *, target: str | None = None, health: tuple[str, int] | None = None, traceback: bool = False
) -> int:
    """Run a kernel in a process that serves no requests, such as a worker, and return the exit code.

    The process starts the plan, and drains and stops when asked to. Signals, reports of failures and exit codes are
    those of `bandmaster run`; work counts as cut short if a drain hook was. Pass the exit code to `end_process`.

    ``health`` is a host and a port at which uvicorn serves the health endpoints and nothing else. ``target`` names the
    kernel for `bandmaster timeline`. ``traceback`` shows the whole traceback of a failure, where a report would have
    a sentence.

    Raises:
        RuntimeError: the caller isn't the main thread, or an event loop runs there.
    """
    check_may_run("run_process")
    try:
        settings = read_launcher_settings(kernel)
    except PlanError as error:
        report_refusal(report(error, full=traceback), kernel.settings.log_format)
        return exit_code(error)
    if health is not None:
        return _run_with_health(kernel, settings, target, *health, traceback=traceback)
    with log_to_stderr(kernel.settings.log_format, kernel.settings.least_log_level):
        return BackgroundProcess(kernel, settings, target, traceback=traceback).run()


def read_launcher_settings(kernel: Kernel) -> ServerSettings:
    """The launcher's settings, from the environment of a kernel and its env file.

    Raises:
        PlanError: they can't be read.
    """
    with kernel.use_environment():
        return load_settings(ServerSettings)


def _run_with_health(
    kernel: Kernel, settings: ServerSettings, target: str | None, host: str, port: int, *, traceback: bool
) -> int:
    from starlette.applications import Starlette

    from bandmaster.kernel.hosting.application import Application
    from bandmaster.kernel.process.launcher import serve

    # The environment may be shared with the process that answers requests, whose address this one must not take.
    address = {"host": host, "port": port, "uds": None, "fd": None, "root_path": ""}
    loop = "auto" if settings.runs_on_trio else settings.loop
    return serve(
        Application(kernel, Starlette(debug=kernel.settings.debug)),
        settings=settings.model_copy(update={**address, "server": "uvicorn", "loop": loop}),
        target=target,
        traceback=traceback,
    )


class BackgroundProcess(Process):
    """One run of a kernel; the components do all the work."""

    async def _run_kernel(self) -> None:
        async with self.kernel.running():
            await self._report_ready("running", role=self.kernel.role)
            await self.kernel.wait_stop_requested()
            self._report_stopping()
            await self._drain_unless_skipped()

    async def _drain(self) -> int:
        return await self.kernel.drain()
