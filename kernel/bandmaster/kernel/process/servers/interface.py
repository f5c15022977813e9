"""The interface through which the launcher runs every server."""

from __future__ import annotations

import importlib.util
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from bandmaster.kernel.errors import ServerNotInstalledError
from bandmaster.kernel.process.servers.granian import Granian
from bandmaster.kernel.process.servers.hypercorn import Hypercorn
from bandmaster.kernel.process.servers.settings import ServerSettings
from bandmaster.kernel.process.servers.uvicorn import Uvicorn

if TYPE_CHECKING:
    from starlette.types import ASGIApp


class Server(Protocol):
    """A server in the launcher's event loop.

    A server neither runs the application's lifespan nor handles signals: the launcher does both.
    """

    version: str
    """The name and the version: ``uvicorn 0.35.0``."""

    async def serve(self, app: ASGIApp, sock: socket.socket) -> None:
        """Answer the requests that arrive at a listening socket, until stopped."""

    def stop(self) -> None:
        """Accept no more connections, and end when the requests in flight have been answered."""

    def force(self) -> None:
        """Drop the connections that are left, as far as the server can. No request is in flight any more."""


def make_server(settings: ServerSettings) -> Server:
    """The server that the settings name.

    Raises:
        ServerNotInstalledError: the server, or the event loop that the settings name, isn't installed.
    """
    if settings.loop in ("trio", "uvloop"):
        _check_installed(settings.loop, f"pip install {settings.loop}, or leave BANDMASTER_SERVER_LOOP unset")
    _check_installed(settings.server, f'pip install "bandmaster[{settings.server}]"')
    makers: dict[str, Callable[[ServerSettings], Server]] = {
        "uvicorn": Uvicorn,
        "hypercorn": Hypercorn,
        "granian": Granian,
    }
    return makers[settings.server](settings)


def _check_installed(name: str, remedy: str) -> None:
    if importlib.util.find_spec(name) is None:
        raise ServerNotInstalledError(f"{name} isn't installed: {remedy}.")
