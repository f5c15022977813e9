"""Run uvicorn inside the launcher, and hold every internal of uvicorn that this needs.

The internals, with the reason where each is used: ``Server.capture_signals``, ``handle_exit``, ``should_exit``,
``force_exit``, ``server_state`` and the name of the logger. `tests/kernel/process/test_server_internals.py` fails
when a new version of uvicorn changes one.
"""

from __future__ import annotations

import signal
import socket
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from bandmaster.kernel.discovery.distributions import render_version
from bandmaster.kernel.process.servers.settings import ServerSettings

if TYPE_CHECKING:
    from starlette.types import ASGIApp

LOGGER = "uvicorn.error"
"""The logger of everything but requests, at every level."""


class Uvicorn:
    """uvicorn without lifespan and signal handlers."""

    def __init__(self, settings: ServerSettings) -> None:
        self.version = render_version("uvicorn")
        self._settings = settings
        self._server: Any = None
        self._stopping = False

    async def serve(self, app: ASGIApp, sock: socket.socket) -> None:
        """Answer the requests that arrive at a listening socket, until stopped."""
        import uvicorn

        class ServerWithoutSignals(uvicorn.Server):
            # uvicorn would replace the launcher's signal handlers with its own.
            @contextmanager
            def capture_signals(self) -> Generator[None, None, None]:
                yield

        settings = self._settings
        limits: dict[str, Any] = {}
        if settings.header_limit is not None:
            limits |= {"http": "h11", "h11_max_incomplete_event_size": settings.header_limit}
        if settings.websocket_message_limit is not None:
            limits["ws_max_size"] = settings.websocket_message_limit
        config = uvicorn.Config(
            app,
            interface="asgi3",
            lifespan="off",
            log_config=None,
            access_log=settings.access_log,
            backlog=settings.backlog,
            timeout_keep_alive=settings.keep_alive,
            proxy_headers=bool(settings.trusted_proxies),
            forwarded_allow_ips=sorted(settings.trusted_proxies),
            root_path=settings.root_path,
            **limits,
        )
        self._server = ServerWithoutSignals(config)
        self._server.should_exit = self._stopping
        await self._server.serve(sockets=[sock])

    def stop(self) -> None:
        """Accept no more connections, and end when the requests in flight have been answered."""
        if self._server is not None and not self._server.should_exit:
            # uvicorn has no method that stops it. Libraries replace its signal handler to learn of the stop.
            self._server.handle_exit(signal.SIGTERM, None)
            self._server.should_exit = True
        self._stopping = True

    def force(self) -> None:
        """Drop the connections that are left."""
        self.stop()
        if self._server is None:
            return
        # force_exit only ends the waiting: uvicorn would leave the connections open.
        self._server.force_exit = True
        for connection in list(self._server.server_state.connections):
            connection.transport.abort()
