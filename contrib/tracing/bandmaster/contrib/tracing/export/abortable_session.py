"""A session of requests whose connections can be ended from another thread.

This is the package's one file that depends on internals of requests and urllib3: the two methods that are there for
subclasses of an adapter, and the classes of connections that a pool makes.
``tests/contrib/tracing/test_opentelemetry_internals.py`` fails where a new version changes them.
"""

from __future__ import annotations

import socket
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import requests


class Connections:
    """The connections of a session, as far as they are in use."""

    def __init__(self) -> None:
        self._all: weakref.WeakSet[Any] = weakref.WeakSet()

    def add(self, connection: Any) -> None:
        """Add a connection that a pool has made."""
        self._all.add(connection)

    def __contains__(self, connection: object) -> bool:
        return connection in self._all

    def end(self) -> None:
        """End every connection: requests under way fail at once.

        A time limit isn't enough for that: the limit counts from the last byte, so that a collector that sends a byte
        now and then holds a request for ever.
        """
        for connection in list(self._all):
            sock = getattr(connection, "sock", None)
            if sock is not None:
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)


def make_session() -> tuple[requests.Session, Connections]:
    """A session, and its connections."""
    # Here, because urllib3 binds a socket when it is imported, to see whether the machine has IPv6.
    import requests
    import urllib3
    from requests.adapters import HTTPAdapter
    from urllib3.connection import HTTPConnection, HTTPSConnection

    connections = Connections()

    class Plain(HTTPConnection):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            connections.add(self)

    class Encrypted(HTTPSConnection):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            connections.add(self)

    class PlainPool(urllib3.HTTPConnectionPool):
        ConnectionCls = Plain  # pyright: ignore[reportAssignmentType]  # a protocol that urllib3's own classes miss

    class EncryptedPool(urllib3.HTTPSConnectionPool):
        ConnectionCls = Encrypted  # pyright: ignore[reportAssignmentType]  # likewise

    pool_classes = {"http": PlainPool, "https": EncryptedPool}

    class TrackingAdapter(HTTPAdapter):
        def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **pool_kwargs: Any) -> None:
            super().init_poolmanager(connections, maxsize, block, **pool_kwargs)
            self.poolmanager.pool_classes_by_scheme = pool_classes

        def proxy_manager_for(self, proxy: str, **proxy_kwargs: Any) -> Any:
            manager = super().proxy_manager_for(proxy, **proxy_kwargs)
            manager.pool_classes_by_scheme = pool_classes
            return manager

    session = requests.Session()
    session.mount("http://", TrackingAdapter())
    session.mount("https://", TrackingAdapter())
    return session, connections
