"""The interface of the servers that the launcher can run."""

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
    """What the launcher needs of a server.

    The application's lifespan and the process's signals are none of its business.
    """

    version: str
    """Its name and version."""

    async def serve(self, app: ASGIApp, sock: socket.socket) -> None:
        """Answer what arrives at a listening socket, until stopped."""

    def stop(self) -> None:
        """Accept no more connections, end when those that are open have been answered."""

    def force(self) -> None:
        """Drop what is left."""


def make_server(settings: ServerSettings) -> Server:
    """The server that the settings name.

    Raises:
        ServerNotInstalledError: it, or the event loop that they name, isn't there.
    """
    if settings.loop in ("trio", "uvloop"):
        _installed(settings.loop, f"pip install {settings.loop}, or leave BANDMASTER_SERVER_LOOP unset")
    _installed(settings.server, f'pip install "bandmaster[{settings.server}]"')
    makers: dict[str, Callable[[ServerSettings], Server]] = {
        "uvicorn": Uvicorn,
        "hypercorn": Hypercorn,
        "granian": Granian,
    }
    return makers[settings.server](settings)


def _installed(name: str, remedy: str) -> None:
    if importlib.util.find_spec(name) is None:
        raise ServerNotInstalledError(f"{name} isn't installed: {remedy}.")
