"""Run granian inside the launcher, and hold every internal of granian that this needs.

The internals, with the reason where each is used: ``granian.server.embed.Server`` with
``_init_shared_socket``, ``_ssp`` and ``_shd``, ``granian.net.SocketHolder``, and the form of ``log_dictconfig``.
`tests/kernel/process/test_server_internals.py` fails when a new version of granian changes one.
"""

from __future__ import annotations

import importlib
import socket
from typing import TYPE_CHECKING, Any

from bandmaster.kernel.discovery.distributions import render_version
from bandmaster.kernel.process.servers.settings import ServerSettings

if TYPE_CHECKING:
    from starlette.types import ASGIApp


class Granian:
    """granian in the launcher's own event loop."""

    def __init__(self, settings: ServerSettings) -> None:
        self.version = render_version("granian")
        self._settings = settings
        self._server: Any = None
        self._stopping = False

    async def serve(self, app: ASGIApp, sock: socket.socket) -> None:
        """Answer the requests that arrive at a listening socket, until stopped."""
        from granian.constants import Interfaces
        from granian.http import HTTP1Settings
        from granian.log import LogLevels

        settings = self._settings
        http1 = HTTP1Settings(keep_alive=settings.keep_alive > 0)
        if settings.header_limit is not None:
            http1.max_buffer_size = settings.header_limit
        if settings.trusted_proxies:
            from granian.utils.proxies import wrap_asgi_with_proxy_headers

            app = wrap_asgi_with_proxy_headers(app, trusted_hosts=sorted(settings.trusted_proxies))
        self._server = _make_server_class(sock)(
            app,
            # ASGI without lifespan.
            interface=Interfaces.ASGINL,
            backlog=settings.backlog,
            http1_settings=http1,
            log_level=LogLevels.error,
            # granian's own configuration would close every logging handler that exists, and write to stdout.
            log_dictconfig={"incremental": True, "formatters": {}, "handlers": {}, "loggers": {}},
            log_access=settings.access_log,
            url_path_prefix=settings.root_path or None,
        )
        if self._stopping:
            return
        await self._server.serve()

    def stop(self) -> None:
        """Accept no more connections, and end when the requests in flight have been answered.

        From then on granian sends nothing more to WebSockets, not even a close.
        """
        self._stopping = True
        if self._server is not None:
            self._server.stop()

    def force(self) -> None:
        """Do no more than `stop`: granian closes the connections of requests that are over."""
        self.stop()


def _make_server_class(sock: socket.socket) -> Any:
    """A class of granian's embedded server that serves on a given socket.

    granian offers no way to pass a socket. granian itself would bind the address with SO_REUSEPORT: a second process on
    the same port would take half of the requests, instead of failing.
    """
    embedded = importlib.import_module("granian.server.embed").Server
    holder = importlib.import_module("granian.net").SocketHolder
    is_path = not isinstance(sock.getsockname(), tuple)

    def take_socket(server: Any) -> None:
        # _ssp describes a socket that is yet to be bound, _shd holds one that is bound. The holder owns the descriptor.
        server._ssp = None  # noqa: SLF001
        server._shd = holder(sock.detach(), is_path, server.backlog)  # noqa: SLF001

    return type("ServerOnSocket", (embedded,), {"_init_shared_socket": take_socket})
