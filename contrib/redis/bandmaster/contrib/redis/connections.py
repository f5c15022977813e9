"""Connections that stay closed once their client is, and fail with this package's errors."""

from __future__ import annotations

import ssl
from typing import Any

from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.sentinel import SentinelManagedConnection
from redis.exceptions import RedisError

from bandmaster.contrib.redis.errors import raise_translated, redis_errors, translate
from bandmaster.contrib.redis.gate import Gate


class GuardedConnection(AbstractConnection):
    """What every connection has in addition.

    Pipelines, locks and subscriptions reconnect the connection that they hold without asking the pool, so that the
    guard must stand here as well. Errors are turned here because everything passes here, redis-py's own retries
    included: they see exceptions of the types that they know.
    """

    def __init__(self, *, gate: Gate, **options: Any) -> None:
        self._gate = gate
        super().__init__(**options)

    async def connect(self) -> None:
        """As redis-py's."""
        with redis_errors():
            await super().connect()  # type: ignore[no-untyped-call]

    async def connect_check_health(self, check_health: bool = True, retry_socket_connect: bool = True) -> None:
        """As redis-py's.

        Raises:
            RedisClosedError: the client has been closed, perhaps meanwhile.
        """
        self._gate.check()
        with redis_errors():
            await super().connect_check_health(check_health, retry_socket_connect)
        if self._gate.closed:
            await self.disconnect(nowait=True)
            self._gate.check()

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        """As redis-py's."""
        try:
            await super().send_packed_command(command, check_health)
        except RedisError as error:
            raise_translated(error)

    async def read_response(
        self,
        disable_decoding: bool = False,
        timeout: float | None = None,  # noqa: ASYNC109  # redis-py's own
        *,
        disconnect_on_error: Any = True,
        push_request: bool | None = False,
    ) -> Any:
        """As redis-py's."""
        try:
            response = await super().read_response(
                disable_decoding,
                timeout,
                disconnect_on_error=disconnect_on_error,
                push_request=push_request,
            )
        except RedisError as error:
            raise_translated(error)
        if type(response) is list:
            # What EXEC answers holds the errors of the commands.
            response[:] = [translate(item) if isinstance(item, RedisError) else item for item in response]
        return response


class TCPConnection(GuardedConnection, Connection):
    """A connection to a host and port."""


class UnixConnection(GuardedConnection, UnixDomainSocketConnection):
    """A connection to a Unix socket."""


class TLSConnection(GuardedConnection, SSLConnection):
    """A connection to a host and port by TLS."""

    def __init__(self, *, tls: ssl.SSLContext, **options: Any) -> None:
        super().__init__(**options)
        # redis-py would read all certificates of the system again for each connection, on the event loop.
        self.ssl_context.context = tls


class SentinelTCPConnection(GuardedConnection, SentinelManagedConnection):
    """A connection to the master that sentinels name."""

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        """As redis-py's, but a lost connection is made anew to whichever is the master now.

        redis-py would go back to the one that was, until all tries of the command are used up.
        """
        if not self.is_connected:
            with redis_errors():
                master = await self.connection_pool.get_master_address()
            await self.connect_to(master)  # type: ignore[no-untyped-call]
        await super().send_packed_command(command, check_health)


class SentinelTLSConnection(TLSConnection, SentinelTCPConnection):
    """A connection to the master that sentinels name, by TLS."""
