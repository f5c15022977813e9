"""Run hypercorn."""

from __future__ import annotations

import importlib
import logging
import socket
from importlib.metadata import version
from typing import TYPE_CHECKING

import anyio

from bandmaster.kernel.process.servers.cancellable_calls import CancellableCalls
from bandmaster.kernel.process.servers.settings import ServerSettings

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send


class Hypercorn:
    """hypercorn, on asyncio or trio; it insists on a lifespan and gets an empty one."""

    def __init__(self, settings: ServerSettings) -> None:
        self.version = f"hypercorn {version('hypercorn')}"
        self._settings = settings
        self._stopping = False
        self._asked: anyio.Event | None = None
        self._requests = CancellableCalls()

    async def serve(self, app: ASGIApp, sock: socket.socket) -> None:
        """Answer what arrives, until stopped."""
        from hypercorn.config import Config

        settings = self._settings
        config = Config()
        # It takes the descriptor for its own.
        config.bind = [f"fd://{sock.detach()}"]
        config.backlog = settings.backlog
        config.keep_alive_timeout = settings.keep_alive
        config.root_path = settings.root_path
        config.loglevel = "WARNING"
        config.errorlog = logging.getLogger("hypercorn.error")
        # The launcher says when it is enough.
        config.graceful_timeout = 3600
        if settings.access_log:
            config.accesslog = logging.getLogger("hypercorn.access")
        if settings.header_limit is not None:
            config.h11_max_incomplete_size = settings.header_limit
            config.h2_max_header_list_size = settings.header_limit
        if settings.websocket_message_limit is not None:
            config.websocket_max_message_size = settings.websocket_message_limit
        module = importlib.import_module("hypercorn.trio" if settings.runs_on_trio else "hypercorn.asyncio")
        self._asked = anyio.Event()
        if self._stopping:
            self._asked.set()
        serving = _with_empty_lifespan(self._requests.of(app))
        await module.serve(serving, config, shutdown_trigger=self._asked.wait, mode="asgi")

    def stop(self) -> None:
        """Accept no more, end when what is open has been answered."""
        self._stopping = True
        if self._asked is not None:
            self._asked.set()

    def force(self) -> None:
        """Drop what is left."""
        self.stop()
        self._requests.cut()


def _with_empty_lifespan(app: ASGIApp) -> ASGIApp:
    async def serving(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await app(scope, receive, send)
            return
        for answer in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{answer}.complete"})

    return serving
