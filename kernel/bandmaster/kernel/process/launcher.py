"""The process of `bandmaster run`: a kernel's, with a server as its body."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

import anyio

from bandmaster.kernel.errors import BindError, PlanError, ServerEndedError, ServerNotInstalledError
from bandmaster.kernel.process.process import Process, notify, readable_logging, tell
from bandmaster.kernel.process.servers.interface import Server, make_server
from bandmaster.kernel.process.servers.settings import ServerSettings
from bandmaster.kernel.process.servers.sockets import bind, close, listen
from bandmaster.kernel.reports import exit_code, report
from bandmaster.kernel.settings.reading import read_one

if TYPE_CHECKING:
    from bandmaster.kernel.hosting.application import Application

STOP_PATIENCE = 2.0
"""Seconds that the server gets to close its connections, once what was in flight has been waited for."""
FORCE_PATIENCE = 1.0
"""Seconds that what is dropped gets to clean up."""


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
        settings = settings if settings is not None else read_one(ServerSettings)
        server = make_server(settings)
        sock = bind(settings)
    except (PlanError, ServerNotInstalledError, BindError) as error:
        tell(report(error))
        return exit_code(error)
    try:
        with readable_logging(debug=app.settings.debug):
            return _Launch(app, settings, server, sock, target).run()
    finally:
        close(sock, settings)


class _Launch(Process):
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
        super().__init__(app.kernel, settings, target, exit_process=exit_process)
        self.app = app
        self.server = server
        self.sock = sock
        self._server_error: BaseException | None = None
        self._opened = False
        self._url = ""

    async def _main(self) -> None:
        self._server_over = anyio.Event()
        self._server_scope = anyio.CancelScope()
        await super()._main()

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
        await self._announce("serving", url=self._url, server=self.server.version)
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
        await self._escalation.run_until_skipped(self._drain_all)
        return self.app.in_flight + self.app.kernel.cut_short

    async def _drain_all(self) -> None:
        async with anyio.create_task_group() as tasks:

            async def refuse_after_delay() -> None:
                # Whoever is refused a connection tries another instance, which a 503 wouldn't make them do.
                await anyio.sleep(self.app.settings.drain_delay)
                self.server.stop()

            tasks.start_soon(refuse_after_delay)
            await self.app.drain()
            tasks.cancel_scope.cancel()

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
        if not self._escalation.skips_drain:
            with anyio.move_on_after(STOP_PATIENCE):
                await self._server_over.wait()
        if not self._server_over.is_set():
            self.server.force()
            with anyio.move_on_after(FORCE_PATIENCE):
                await self.app.wait_empty()
                await self._server_over.wait()
        self._server_scope.cancel()
