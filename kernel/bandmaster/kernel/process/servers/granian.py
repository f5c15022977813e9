"""Run granian, with what is touched of its internals."""

from __future__ import annotations

import importlib
import socket
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from bandmaster.kernel.process.servers.cancellable_calls import CancellableCalls
from bandmaster.kernel.process.servers.settings import ServerSettings

if TYPE_CHECKING:
    from starlette.types import ASGIApp


class Granian:
    """granian inside this process, on the launcher's own event loop."""

    def __init__(self, settings: ServerSettings) -> None:
        self.version = f"granian {version('granian')}"
        self._settings = settings
        self._server: Any = None
        self._stopping = False
        self._requests = CancellableCalls()

    async def serve(self, app: ASGIApp, sock: socket.socket) -> None:
        """Answer what arrives, until stopped."""
        from granian.constants import Interfaces
        from granian.http import HTTP1Settings
        from granian.log import LogLevels

        settings = self._settings
        holder = importlib.import_module("granian.net").SocketHolder
        embedded = importlib.import_module("granian.server.embed").Server

        is_path = not isinstance(sock.getsockname(), tuple)

        # It would bind the address itself, with SO_REUSEPORT: a second process could take half of the traffic unseen.
        # A hook of its own subclasses; there is no public way to hand a socket in. It takes the descriptor for its own.
        def take_socket(server: Any) -> None:
            server._ssp = None  # noqa: SLF001
            server._shd = holder(sock.detach(), is_path, server.backlog)  # noqa: SLF001

        http1 = HTTP1Settings(keep_alive=settings.keep_alive > 0)
        if settings.header_limit is not None:
            http1.max_buffer_size = max(8192, settings.header_limit)
        if settings.trusted_proxies:
            from granian.utils.proxies import wrap_asgi_with_proxy_headers

            app = wrap_asgi_with_proxy_headers(app, trusted_hosts=sorted(settings.trusted_proxies))
        on_socket = type("OnSocket", (embedded,), {"_init_shared_socket": take_socket})
        self._server = on_socket(
            self._requests.of(app),
            interface=Interfaces.ASGINL,
            backlog=settings.backlog,
            http1_settings=http1,
            log_level=LogLevels.error,
            # Its own would close every handler that others have set up, and write to stdout.
            log_dictconfig={"incremental": True, "formatters": {}, "handlers": {}, "loggers": {}},
            log_access=settings.access_log,
            url_path_prefix=settings.root_path or None,
        )
        if self._stopping:
            return
        await self._server.serve()

    def stop(self) -> None:
        """Accept no more, end when what is open has been answered."""
        self._stopping = True
        if self._server is not None:
            self._server.stop()

    def force(self) -> None:
        """Drop what is left."""
        self.stop()
        self._requests.cut()
