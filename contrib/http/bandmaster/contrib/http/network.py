"""Network streams whose sockets are closed when they are cancelled half-way."""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import anyio

if TYPE_CHECKING:
    from httpcore2 import SOCKET_OPTION, AsyncNetworkBackend, AsyncNetworkStream
else:
    # httpcore2 is imported with the first client: it imports trio, which runs a program when it is imported.
    AsyncNetworkBackend = AsyncNetworkStream = object


class ClosingBackend(AsyncNetworkBackend):
    """The network by anyio, without sockets that only the garbage collector would close."""

    def __init__(self) -> None:
        from httpcore2 import AnyIOBackend

        self._inner: AsyncNetworkBackend = AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  # httpcore2's own
        local_address: str | None = None,
        socket_options: Iterable[SOCKET_OPTION] | None = None,
    ) -> AsyncNetworkStream:
        """Connect to a host."""
        return ClosingStream(await self._inner.connect_tcp(host, port, timeout, local_address, socket_options))


class ClosingStream(AsyncNetworkStream):
    """A network stream that is closed when TLS can't be started on it.

    httpcore2 closes the stream after an error, but not after a cancellation.
    """

    def __init__(self, inner: AsyncNetworkStream) -> None:
        self._inner = inner

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109  # httpcore2's own
        """The next bytes; none at the end."""
        return await self._inner.read(max_bytes, timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109  # httpcore2's own
        """Send bytes."""
        await self._inner.write(buffer, timeout)

    async def aclose(self) -> None:
        """Close the stream."""
        await self._inner.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109  # httpcore2's own
    ) -> AsyncNetworkStream:
        """Start TLS on the stream."""
        try:
            return ClosingStream(await self._inner.start_tls(ssl_context, server_hostname, timeout))
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self._inner.aclose()
            raise

    def get_extra_info(self, info: str) -> Any:
        """A property of the stream, by httpcore2's name."""
        return self._inner.get_extra_info(info)
