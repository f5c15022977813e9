"""Send requests on a pool, once each."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx2

from bandmaster.contrib.http.errors import ClientLabel
from bandmaster.kernel import get_logger

if TYPE_CHECKING:
    from httpcore2 import AsyncConnectionPool


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


class PoolTransport(httpx2.AsyncBaseTransport):
    """A transport like httpx2's own, for a pool that is made elsewhere, which httpx2's has no argument for."""

    def __init__(self, pool: AsyncConnectionPool, label: ClientLabel) -> None:
        self._pool = pool
        self._label = label
        self._timeouts = 0

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request once."""
        import httpcore2

        url = request.url
        sent = httpcore2.Request(
            method=request.method,
            url=httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )
        try:
            with _core_errors():
                answer = await self._pool.handle_async_request(sent)
        except httpx2.PoolTimeout:
            self._timeouts += 1
            self._log_full_pool(request)
            raise
        assert isinstance(answer.stream, AsyncIterable)
        return httpx2.Response(
            answer.status,
            headers=answer.headers,
            stream=_PoolStream(answer.stream),
            extensions=answer.extensions,
        )

    async def aclose(self) -> None:
        """Close every connection."""
        await self._pool.aclose()

    def read_gauge(self) -> HttpPoolGauge:
        """How full the pool is."""
        connections = self._pool.connections
        in_use = sum(not connection.is_idle() for connection in connections)
        return HttpPoolGauge(
            self._label.name, self._label.max_connections, len(connections), in_use, timeouts=self._timeouts
        )

    def _log_full_pool(self, request: httpx2.Request) -> None:
        gauge = self.read_gauge()
        get_logger("bandmaster.http").warning(
            "HTTP connection pool is full",
            client=gauge.client,
            host=request.url.host,
            limit=gauge.limit,
            in_use=gauge.in_use,
            hint=f"raise {self._label.connections_variable}, or give slow services a client of their own",
        )


class _PoolStream(httpx2.AsyncByteStream):
    """The body of an answer.

    httpx2's own leaves a generator to the garbage collector when a body isn't read to its end.
    """

    def __init__(self, inner: AsyncIterable[bytes]) -> None:
        self._inner = inner

    async def __aiter__(self) -> AsyncIterator[bytes]:
        chunks = aiter(self._inner)
        try:
            with _core_errors():
                async for chunk in chunks:
                    yield chunk
        finally:
            if isinstance(chunks, AsyncGenerator):
                await chunks.aclose()

    async def aclose(self) -> None:
        """Give the connection back to the pool, or close it."""
        close = getattr(self._inner, "aclose", None)
        if close is not None:
            await close()


@contextmanager
def _core_errors() -> Iterator[None]:
    """Turn httpcore2's errors into those of the same names of httpx2."""
    try:
        yield
    except Exception as error:
        kind = getattr(httpx2, type(error).__name__, None)
        if type(error).__module__ != "httpcore2" or kind is None:
            raise
        raise kind(str(error)) from error
