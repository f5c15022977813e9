"""A session of requests whose connections can be ended from another thread.

This is the package's one file that depends on internals of requests and urllib3: the two methods that are there for
subclasses of an adapter, and the classes of connections that a pool makes. ``tests/contrib/tracing/test_export.py``
fails where a new version changes them.
"""

from __future__ import annotations

import socket
import weakref
from contextlib import suppress
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection


class AbortableSession(requests.Session):
    """A session that sends to a collector. `abort` ends the requests under way with an error, at once.

    A time limit isn't enough for that: it counts from the last byte, so that a collector that sends a byte now and then
    holds a request for ever.
    """

    def __init__(self) -> None:
        super().__init__()
        connections: weakref.WeakSet[Any] = weakref.WeakSet()
        self._connections = connections
        adapter = _TrackingAdapter(connections)
        self.mount("http://", adapter)
        self.mount("https://", adapter)

    def abort(self) -> None:
        """End every connection."""
        for connection in list(self._connections):
            sock = getattr(connection, "sock", None)
            if sock is not None:
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)


class _TrackingAdapter(HTTPAdapter):
    def __init__(self, connections: weakref.WeakSet[Any]) -> None:
        self._tracked = connections
        super().__init__()

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **pool_kwargs: Any) -> None:
        super().init_poolmanager(connections, maxsize, block, **pool_kwargs)
        self.poolmanager.pool_classes_by_scheme = _make_pool_classes(self._tracked)

    def proxy_manager_for(self, proxy: str, **proxy_kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **proxy_kwargs)
        manager.pool_classes_by_scheme = _make_pool_classes(self._tracked)
        return manager


def _make_pool_classes(tracked: weakref.WeakSet[Any]) -> dict[str, Any]:
    class Plain(HTTPConnection):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            tracked.add(self)

    class Encrypted(HTTPSConnection):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            tracked.add(self)

    class PlainPool(urllib3.HTTPConnectionPool):
        ConnectionCls = Plain

    class EncryptedPool(urllib3.HTTPSConnectionPool):
        ConnectionCls = Encrypted

    return {"http": PlainPool, "https": EncryptedPool}
