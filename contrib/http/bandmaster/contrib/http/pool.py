"""One bounded pool for the connections of a client, direct ones and those by a proxy."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import anyio
import httpx2

from bandmaster.contrib.http.network import ClosingBackend
from bandmaster.contrib.http.proxies import ProxyRules

if TYPE_CHECKING:
    from httpcore2 import AsyncConnectionInterface, AsyncConnectionPool, Origin, Proxy, Request, Response
else:
    AsyncConnectionInterface = object  # see network.py


def open_pool(
    rules: ProxyRules, *, tls: ssl.SSLContext, max_connections: int, max_idle: int, idle_timeout: float
) -> AsyncConnectionPool:
    """A pool whose connections go by the proxy that the rules name for their address, or directly.

    httpx2 would make a pool for each proxy, each with the whole number of connections.
    """
    import httpcore2

    class RoutedPool(httpcore2.AsyncConnectionPool):
        def create_connection(self, origin: Origin) -> AsyncConnectionInterface:
            proxy = rules.choose(origin.scheme.decode(), origin.host.decode(), origin.port)
            if proxy is None:
                return PooledConnection(super().create_connection(origin))
            return PooledConnection(by_proxy[proxy].create_connection(origin))

    # These pools only make connections, which belong to the one that is returned.
    by_proxy = {
        url: httpcore2.AsyncConnectionPool(
            ssl_context=tls, proxy=_make_proxy(url), keepalive_expiry=idle_timeout, network_backend=ClosingBackend()
        )
        for url in rules.urls
    }
    return RoutedPool(
        ssl_context=tls,
        max_connections=max_connections,
        max_keepalive_connections=max_idle,
        keepalive_expiry=idle_timeout,
        network_backend=ClosingBackend(),
    )


class PooledConnection(AsyncConnectionInterface):
    """A connection that is closed when a request fails or is cancelled half-way.

    httpcore2's own connections forget that in some places, such as while TLS is started behind a proxy: they stay in
    the pool as if they were in use, until no place is left.
    """

    def __init__(self, inner: AsyncConnectionInterface) -> None:
        self._inner = inner

    async def handle_async_request(self, request: Request) -> Response:
        """Send a request on the connection."""
        try:
            return await self._inner.handle_async_request(request)
        except BaseException as error:
            if not (_is_taken(error) or self._inner.is_idle() or self._inner.is_closed()):
                with anyio.CancelScope(shield=True):
                    await self._inner.aclose()
            raise

    async def aclose(self) -> None:
        """Close the connection."""
        await self._inner.aclose()

    def info(self) -> str:
        """The address and the state, for people."""
        return self._inner.info()

    def can_handle_request(self, origin: Origin) -> bool:
        """Whether the connection leads to an address."""
        return self._inner.can_handle_request(origin)

    def can_multiplex(self) -> bool:
        """Whether the connection takes several requests at once, which those of HTTP/1.1 don't."""
        return False

    def is_connected(self) -> bool:
        """Whether the connection is open."""
        return self._inner.is_connected()

    def is_available(self) -> bool:
        """Whether the connection can take a request now."""
        return self._inner.is_available()

    def has_expired(self) -> bool:
        """Whether the connection was idle for too long, or was closed by the other side."""
        return self._inner.has_expired()

    def is_idle(self) -> bool:
        """Whether the connection is open without a request."""
        return self._inner.is_idle()

    def is_closed(self) -> bool:
        """Whether the connection is closed."""
        return self._inner.is_closed()

    def __repr__(self) -> str:
        return f"<PooledConnection [{self.info()}]>"


def _is_taken(error: BaseException) -> bool:
    """Whether another request was faster to use the connection; the pool then finds another connection."""
    from httpcore2 import ConnectionNotAvailable

    return isinstance(error, ConnectionNotAvailable)


def _make_proxy(url: str) -> Proxy:
    import httpcore2

    # httpx2 decodes the user and the password.
    proxy = httpx2.Proxy(url)
    address = httpcore2.URL(
        scheme=proxy.url.raw_scheme,
        host=proxy.url.raw_host,
        port=proxy.url.port,
        target=proxy.url.raw_path,
    )
    return httpcore2.Proxy(address, auth=proxy.raw_auth)
