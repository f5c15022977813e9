"""Run hypercorn inside the launcher, and hold everything of hypercorn that this depends on.

Only documented names are used, but some in ways that hypercorn's documentation doesn't promise.
`tests/kernel/process/test_server_internals.py` fails when a new version of hypercorn changes one.
"""

from __future__ import annotations

import importlib
import logging
import socket
from typing import TYPE_CHECKING

import anyio

from bandmaster.kernel.discovery.distributions import render_version
from bandmaster.kernel.process.servers.settings import ServerSettings

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

LOGGER = "hypercorn.error"
"""The logger of everything but requests, at every level."""

# Seconds after which hypercorn would drop the requests in flight itself. The launcher decides when that happens, so
# this must be longer than any drain.
_NEVER = 3600


class Hypercorn:
    """hypercorn on asyncio or trio."""

    def __init__(self, settings: ServerSettings) -> None:
        self.version = render_version("hypercorn")
        self._settings = settings
        self._stopping = False
        self._stop_requested: anyio.Event | None = None

    async def serve(self, app: ASGIApp, sock: socket.socket) -> None:
        """Answer the requests that arrive at a listening socket, until stopped."""
        from hypercorn.config import Config

        settings = self._settings
        config = Config()
        # hypercorn takes no socket object, only the number of a descriptor, which it then owns and closes.
        config.bind = [f"fd://{sock.detach()}"]
        config.backlog = settings.backlog
        config.keep_alive_timeout = settings.keep_alive
        config.root_path = settings.root_path
        config.loglevel = "WARNING"
        # Given a logger, hypercorn adds no handlers of its own, and its messages reach those of the root logger.
        config.errorlog = logging.getLogger(LOGGER)
        config.graceful_timeout = _NEVER
        if settings.access_log:
            config.accesslog = logging.getLogger("hypercorn.access")
        if settings.header_limit is not None:
            config.h11_max_incomplete_size = settings.header_limit
            config.h2_max_header_list_size = settings.header_limit
        if settings.websocket_message_limit is not None:
            config.websocket_max_message_size = settings.websocket_message_limit
        module = importlib.import_module("hypercorn.trio" if settings.runs_on_trio else "hypercorn.asyncio")
        self._stop_requested = anyio.Event()
        if self._stopping:
            self._stop_requested.set()
        await module.serve(_answer_lifespan(app), config, shutdown_trigger=self._stop_requested.wait, mode="asgi")

    def stop(self) -> None:
        """Accept no more connections, and end when the requests in flight have been answered."""
        self._stopping = True
        if self._stop_requested is not None:
            self._stop_requested.set()

    def force(self) -> None:
        """Do no more than `stop`: hypercorn closes the connections of requests that are over."""
        self.stop()


def _answer_lifespan(app: ASGIApp) -> ASGIApp:
    """The application with an empty lifespan: hypercorn has no option to leave the lifespan out."""

    async def serve_without_lifespan(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await app(scope, receive, send)
            return
        for phase in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{phase}.complete"})

    return serve_without_lifespan
