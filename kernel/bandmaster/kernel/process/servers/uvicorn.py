"""Run uvicorn, with what is touched of its internals."""

from __future__ import annotations

import socket
from collections.abc import Generator
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from bandmaster.kernel.process.servers.settings import ServerSettings

if TYPE_CHECKING:
    from starlette.types import ASGIApp


class Uvicorn:
    """uvicorn, with its lifespan off and its hands off the signals."""

    def __init__(self, settings: ServerSettings) -> None:
        self.version = f"uvicorn {version('uvicorn')}"
        self._settings = settings
        self._server: Any = None
        self._stopping = False

    async def serve(self, app: ASGIApp, sock: socket.socket) -> None:
        """Answer what arrives, until stopped."""
        import uvicorn

        class Quiet(uvicorn.Server):
            # It would put its own handlers in place of the launcher's.
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
        self._server = Quiet(config)
        self._server.should_exit = self._stopping
        await self._server.serve(sockets=[sock])

    def stop(self) -> None:
        """Accept no more, end when what is open has been answered."""
        self._stopping = True
        if self._server is not None:
            self._server.should_exit = True

    def force(self) -> None:
        """Drop what is left."""
        self.stop()
        if self._server is None:
            return
        self._server.force_exit = True
        state = self._server.server_state
        for task in list(state.tasks):
            task.cancel()
        for connection in list(state.connections):
            if connection.transport is not None:  # pragma: no branch
                connection.transport.abort()
