"""Run an application in this process, together with a server: the launcher of `bandmaster run`."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import anyio

from bandmaster.kernel.errors import BandmasterError, ServerEndedError
from bandmaster.kernel.hosting.targets import make_application
from bandmaster.kernel.process.console_logging import log_to_stderr, report_refusal
from bandmaster.kernel.process.process import Process, check_may_run
from bandmaster.kernel.process.servers.interface import Server, make_server
from bandmaster.kernel.process.servers.settings import (
    ServerName,
    ServerSettings,
    check_server_settings,
    make_server_settings,
)
from bandmaster.kernel.process.servers.sockets import bind, close, listen
from bandmaster.kernel.reports import MISCONFIGURED, report
from bandmaster.kernel.settings.environment import Environment, use_environment

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from bandmaster.kernel.hosting.application import Application
    from bandmaster.kernel.lifecycle.kernel import Kernel

    App: TypeAlias = Application | Kernel | ASGIApp

STOP_PATIENCE = 2.0
"""Seconds that the server gets to close its connections, after the requests in flight are over."""
FORCE_PATIENCE = 1.0
"""Seconds that the server gets to end after it has been told to drop its connections."""


def serve(
    app: App | Callable[[], App],
    *,
    settings: ServerSettings | None = None,
    host: str | None = None,
    port: int | None = None,
    uds: str | Path | None = None,
    server: ServerName | None = None,
    env_file: str | os.PathLike[str] | None = None,
    target: str | None = None,
    traceback: bool = False,
) -> int:
    """Start the plan, serve, drain and stop when asked to, and return the exit code: `bandmaster run` as a function.

    ``app`` is an `Application`, a `Kernel`, any ASGI app, or a function without arguments that returns one of them. The
    settings are ``settings``, or else read from the environment; ``host``, ``port``, ``uds`` and ``server`` have
    precedence over both. ``env_file`` is a file of lines ``NAME=value`` with further variables, also for an application
    that ``app`` composes. ``target`` names the application for `bandmaster timeline`. ``traceback`` shows the whole
    traceback of a failure, where a report would have a sentence.

    The exit code is 0 after a clean stop on request; 70 if the start, the run or the stop failed; 78 if the plan, the
    settings, the server or the address can't be used, and nothing was started; 128 + n if signal n cut work short. The
    report of a failure goes to stderr. ``serve`` returns the code instead of ending the process, so that the caller can
    still act after the run, and so that tests can call it. Pass the code to `end_process`, or to `sys.exit`.

    The first SIGTERM or SIGINT rolls a start back, or drains and stops; the second skips the drain; the third ends the
    process at once. When the setting ``termination_grace`` has passed, a watchdog names the components that are left,
    and ends the process.

    Raises:
        RuntimeError: the caller isn't the main thread, or an event loop runs there.
        ValueError: ``settings`` is something else than `ServerSettings`, or ``env_file`` isn't a path.
    """
    check_may_run("serve")
    check_server_settings(settings)
    options = {"host": host, "port": port, "uds": uds, "server": server}
    environment = Environment.choose(env_file)
    try:
        with use_environment(environment):
            application = make_application(app)
        # An application that was composed before may have an env file of its own.
        with use_environment(environment) if env_file is not None else application.kernel.use_environment():
            chosen = make_server_settings(options, settings)
        running_server = make_server(chosen)
        sock = bind(chosen)
    except BandmasterError as error:
        report_refusal(report(error, full=traceback))
        return MISCONFIGURED
    try:
        with log_to_stderr(application.settings.log_format, application.settings.least_log_level):
            return ServerProcess(application, chosen, running_server, sock, target, traceback=traceback).run()
    finally:
        close(sock, chosen)


class ServerProcess(Process):
    """One run of an application, with a server in the same event loop."""

    def __init__(
        self,
        app: Application,
        settings: ServerSettings,
        server: Server,
        sock: socket.socket,
        target: str | None,
        *,
        traceback: bool = False,
        exit_process: Callable[[int], object] = os._exit,
    ) -> None:
        super().__init__(app.kernel, settings, target, traceback=traceback, exit_process=exit_process)
        self.app = app
        self.server = server
        self.sock = sock
        self._server_error: BaseException | None = None
        self._is_open = False
        self._url = ""

    async def _main(self) -> None:
        self._server_ended = anyio.Event()
        self._server_scope = anyio.CancelScope()
        await super()._main()

    async def _run_kernel(self) -> None:
        if self.app.settings.serve_while_starting:
            self._open_server()
        async with self.app.running():
            if not self._is_open:
                self._open_server()
            try:
                await self._serve()
            except anyio.get_cancelled_exc_class():
                # A component has crashed, and the plan is stopping. The server must stop at the same time, in a task
                # that this cancellation doesn't reach.
                self.server.stop()
                self._tasks.start_soon(self._clean_up)
                raise

    async def _serve(self) -> None:
        await self._report_ready("serving", url=self._url, server=self.server.version)
        await self._wait_stop_requested()
        self._report_stopping()
        await self._drain_unless_skipped()
        await self.app.cancel_requests()
        await self._clean_up()

    async def _wait_stop_requested(self) -> None:
        async with anyio.create_task_group() as tasks:

            async def cancel_when_server_ends() -> None:
                await self._server_ended.wait()
                tasks.cancel_scope.cancel()

            tasks.start_soon(cancel_when_server_ends)
            await self.app.kernel.wait_stop_requested()
            tasks.cancel_scope.cancel()
        self._check_server()

    def _check_server(self) -> None:
        if self._server_ended.is_set():
            raise ServerEndedError(f"{self.server.version} ended by itself") from self._server_error

    async def _drain(self) -> int:
        async def close_server() -> None:
            # A client whose connection is refused tries another instance; a client that gets a 503 doesn't.
            self.server.stop()

        return await self.app.drain(close_server=close_server) + self.app.kernel.cut_short

    def _open_server(self) -> None:
        self._url = listen(self.sock, self.settings)
        self._is_open = True
        self._tasks.start_soon(self._run_server, name=f"bandmaster: {self.settings.server}")

    async def _run_server(self) -> None:
        with self._server_scope:
            try:
                await self.server.serve(self.app, self.sock)
            except (Exception, SystemExit) as error:  # noqa: BLE001  # uvicorn raises SystemExit where it can't serve
                self._server_error = error
        self._server_ended.set()

    async def _clean_up(self) -> None:
        """Stop the server, by force if necessary. The requests in flight have had their time by now."""
        if not self._is_open:
            return
        self.server.stop()
        if not self._escalation.skips_drain:
            with anyio.move_on_after(STOP_PATIENCE):
                await self._server_ended.wait()
        if not self._server_ended.is_set():
            self.server.force()
            with anyio.move_on_after(FORCE_PATIENCE):
                await self._server_ended.wait()
        self._server_scope.cancel()
