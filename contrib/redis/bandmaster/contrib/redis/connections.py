"""Connections that refuse to reopen once their client is closed, and raise this package's errors."""

from __future__ import annotations

import ssl
from typing import Any

from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.sentinel import SentinelManagedConnection
from redis.exceptions import RedisError

from bandmaster.contrib.redis.close_guard import CloseGuard
from bandmaster.contrib.redis.errors import raise_translated, redis_errors, translate


class GuardedConnection(AbstractConnection):
    """The additions to every kind of connection: the client's guard, and translated errors.

    Pipelines, locks and subscriptions reconnect the connection that they hold without the pool, so the guard is checked
    here as well. Errors are translated here, below redis-py's own retries, which recognise the translated classes
    because they are subclasses of redis-py's own.
    """

    def __init__(self, *, guard: CloseGuard, **options: Any) -> None:
        self._guard = guard
        super().__init__(**options)

    async def connect(self) -> None:
        """Like redis-py's method, with translated errors."""
        with redis_errors():
            await super().connect()  # type: ignore[no-untyped-call]

    async def connect_check_health(self, check_health: bool = True, retry_socket_connect: bool = True) -> None:
        """Like redis-py's method, with translated errors.

        Raises:
            RedisClosedError: the client was closed, before the call or while connecting.
        """
        self._guard.check()
        with redis_errors():
            await super().connect_check_health(check_health, retry_socket_connect)
        if self._guard.closed:
            await self.disconnect(nowait=True)
            self._guard.check()

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        """Like redis-py's method, with translated errors."""
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
        """Like redis-py's method, with translated errors."""
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
            # The answer to EXEC is a list, with an error in the place of each failed command.
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
        # redis-py would read all certificates of the system for each connection, and block the event loop.
        self.ssl_context.context = tls


class SentinelTCPConnection(GuardedConnection, SentinelManagedConnection):
    """A connection to the master that sentinels name."""

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        """Like redis-py's method, but reconnects a lost connection to the current master.

        redis-py would reconnect to the former master, until all retries of the command are used up.
        """
        if not self.is_connected:
            with redis_errors():
                master = await self.connection_pool.get_master_address()
            await self.connect_to(master)  # type: ignore[no-untyped-call]
        await super().send_packed_command(command, check_health)


class SentinelTLSConnection(TLSConnection, SentinelTCPConnection):
    """A connection to the master that sentinels name, by TLS."""
