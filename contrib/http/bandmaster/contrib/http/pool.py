"""One bounded pool for the connections of a client, direct ones and those by a proxy."""

from __future__ import annotations

import ssl
from dataclasses import dataclass

import anyio
import httpcore2
import httpx2

from bandmaster.contrib.http.errors import ClientLabel
from bandmaster.contrib.http.proxies import ProxyRules
from bandmaster.kernel import get_logger


@dataclass(frozen=True, slots=True)
class HttpPoolGauge:
    """How full the pool of a client is, for an exporter of metrics."""

    client: str
    limit: int
    """The most connections that the pool may open."""
    open: int
    """The number of connections that are open, or being opened."""
    in_use: int
    timeouts: int
    """How many calls have found no free connection in time, since the start."""


class RoutedPool(httpcore2.AsyncConnectionPool):
    """A pool whose connections go by the proxy that the rules name for their address, or directly.

    httpx2 would make a pool for each proxy, each with the whole number of connections.
    """

    def __init__(
        self, rules: ProxyRules, *, tls: ssl.SSLContext, max_connections: int, max_idle: int, idle_timeout: float
    ) -> None:
        super().__init__(
            ssl_context=tls,
            max_connections=max_connections,
            max_keepalive_connections=max_idle,
            keepalive_expiry=idle_timeout,
        )
        self._rules = rules
        # These pools only make connections, which belong to this one.
        self._by_proxy = {
            url: httpcore2.AsyncConnectionPool(ssl_context=tls, proxy=_make_proxy(url), keepalive_expiry=idle_timeout)
            for url in rules.urls
        }

    def create_connection(self, origin: httpcore2.Origin) -> httpcore2.AsyncConnectionInterface:
        """A connection to an address, which is opened when it is used."""
        proxy = self._rules.choose(origin.scheme.decode(), origin.host.decode(), origin.port)
        if proxy is None:
            return PooledConnection(super().create_connection(origin))
        return PooledConnection(self._by_proxy[proxy].create_connection(origin))


class PooledConnection(httpcore2.AsyncConnectionInterface):
    """A connection that is closed when a request fails or is cancelled half-way.

    httpcore2's own connections forget that in some places, such as while TLS is started behind a proxy: they stay in
    the pool as if they were in use, until no place is left.
    """

    def __init__(self, inner: httpcore2.AsyncConnectionInterface) -> None:
        self._inner = inner

    async def handle_async_request(self, request: httpcore2.Request) -> httpcore2.Response:
        """Send a request on the connection."""
        try:
            return await self._inner.handle_async_request(request)
        except httpcore2.ConnectionNotAvailable:
            # Another request was faster; the pool finds another connection.
            raise
        except BaseException:
            if not (self._inner.is_idle() or self._inner.is_closed()):
                with anyio.CancelScope(shield=True):
                    await self._inner.aclose()
            raise

    async def aclose(self) -> None:
        """Close the connection."""
        await self._inner.aclose()

    def info(self) -> str:
        """The address and the state, for people."""
        return self._inner.info()

    def can_handle_request(self, origin: httpcore2.Origin) -> bool:
        """Whether the connection leads to an address."""
        return self._inner.can_handle_request(origin)

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


class PoolTransport(httpx2.AsyncHTTPTransport):
    """httpx2's transport on a pool of this package."""

    def __init__(self, pool: RoutedPool, label: ClientLabel) -> None:
        # httpx2's constructor would make a pool of its own, and has no argument for another one.
        self._pool = pool
        self._label = label
        self._timeouts = 0

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request once."""
        try:
            return await super().handle_async_request(request)
        except httpx2.PoolTimeout:
            self._timeouts += 1
            gauge = self.read_gauge()
            get_logger("bandmaster.http").warning(
                "HTTP connection pool is full",
                client=gauge.client,
                host=request.url.host,
                limit=gauge.limit,
                in_use=gauge.in_use,
                hint=f"raise {self._label.connections_variable}, or give slow services a client of their own",
            )
            raise

    def read_gauge(self) -> HttpPoolGauge:
        """How full the pool is."""
        connections = self._pool.connections
        in_use = sum(not connection.is_idle() for connection in connections)
        return HttpPoolGauge(
            self._label.name, self._label.max_connections, len(connections), in_use, timeouts=self._timeouts
        )


def _make_proxy(url: str) -> httpcore2.Proxy:
    # httpx2 decodes the user and the password.
    proxy = httpx2.Proxy(url)
    address = proxy.url
    return httpcore2.Proxy(
        httpcore2.URL(
            scheme=address.raw_scheme, host=address.raw_host, port=address.port, target=address.raw_path or b"/"
        ),
        auth=proxy.raw_auth,
    )
