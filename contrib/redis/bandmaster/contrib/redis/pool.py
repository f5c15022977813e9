"""Pools with a bound: who comes when all connections are in use waits for a turn."""

from __future__ import annotations

from typing import Any

import anyio
from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.sentinel import SentinelConnectionPool

from bandmaster.contrib.redis.errors import RedisPoolTimeoutError, redis_errors
from bandmaster.contrib.redis.gate import Gate


class BoundedPool(ConnectionPool):
    """At most ``max_connections`` connections, given out in the order in which they were asked for.

    It does what redis-py's ``BlockingConnectionPool`` is for. That one loses a wake-up when a waiting task is cancelled
    at the moment in which it is woken (``asyncio.Condition``, before Python 3.13): others then wait until they time out
    beside a free connection.
    """

    def __init__(self, *, gate: Gate, what: str, max_connections: int, timeout: float, **options: Any) -> None:
        super().__init__(max_connections=max_connections, gate=gate, **options)
        self.timeout = timeout
        self._gate = gate
        self._what = what
        self._turns = anyio.Semaphore(max_connections)

    async def get_connection(self, command_name: Any = None, *keys: Any, **options: Any) -> Any:
        """A connection that is there and has nothing unread in it.

        Raises:
            RedisPoolTimeoutError: none has become free within ``timeout`` seconds.
            RedisClosedError: the client has been closed, perhaps meanwhile.
        """
        await self._wait_for_turn()
        try:
            self._gate.check()
            connection = self.get_available_connection()  # type: ignore[no-untyped-call]
        except BaseException:
            self._turns.release()
            raise
        try:
            with redis_errors():
                await self.ensure_connection(connection)
        except BaseException:
            await self.release(connection)
            raise
        return connection

    async def release(self, connection: AbstractConnection) -> None:
        """Give a connection back."""
        # Half a release, cancelled in its midst, would make the pool smaller for good.
        with anyio.CancelScope(shield=True):
            try:
                await super().release(connection)
            finally:
                self._turns.release()

    async def aclose(self) -> None:
        """Close every connection, also those in use, and let none be opened again."""
        self._gate.closed = True
        for _ in range(self._turns.statistics().tasks_waiting):
            self._turns.release()
        with redis_errors():
            await super().aclose()

    async def _wait_for_turn(self) -> None:
        self._gate.check()
        try:
            self._turns.acquire_nowait()
        except anyio.WouldBlock:
            pass
        else:
            return
        with anyio.move_on_after(self.timeout):
            await self._turns.acquire()
            return
        raise RedisPoolTimeoutError(
            f"all {self.max_connections} connections of {self._what} are in use, and none became free within "
            f"{self.timeout:g} s; blocking commands, subscriptions and pipelines that watch hold one each. Raise "
            "max_connections, or hold them for less long"
        )

    def __repr__(self) -> str:
        # Stands in the texts of redis-py's errors, where all options would be told.
        return f"<{type(self).__name__} of {self._what}>"


class SentinelPool(BoundedPool, SentinelConnectionPool):
    """The same for the master that sentinels name."""
