"""Bounded pools: a task waits for its turn while all connections are in use."""

from __future__ import annotations

from typing import Any

import anyio
from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.sentinel import SentinelConnectionPool

from bandmaster.contrib.redis.close_guard import CloseGuard
from bandmaster.contrib.redis.errors import RedisPoolTimeoutError, redis_errors


class BoundedPool(ConnectionPool):
    """At most ``max_connections`` connections; waiting tasks get one in the order of their requests.

    This class replaces redis-py's ``BlockingConnectionPool``, which loses a wake-up when a waiting task is cancelled at
    the moment in which it is woken (``asyncio.Condition``, before Python 3.13). Other tasks then time out beside a free
    connection.
    """

    def __init__(self, *, guard: CloseGuard, label: str, max_connections: int, timeout: float, **options: Any) -> None:
        super().__init__(max_connections=max_connections, guard=guard, **options)
        self.timeout = timeout
        self._guard = guard
        self._label = label
        self._turns = anyio.Semaphore(max_connections)

    async def get_connection(self, command_name: Any = None, *keys: Any, **options: Any) -> Any:
        """An open connection without unread answers.

        Raises:
            RedisPoolTimeoutError: no connection became free within ``timeout`` seconds.
            RedisClosedError: the client was closed, before the call or while waiting.
        """
        await self._wait_for_turn()
        try:
            self._guard.check()
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
        """Return a connection to the pool."""
        # A release that is cancelled half-way would lose a connection of the pool for good.
        with anyio.CancelScope(shield=True):
            try:
                await super().release(connection)
            finally:
                self._turns.release()

    async def aclose(self) -> None:
        """Close every connection, also those in use, and refuse to open new ones."""
        self._guard.closed = True
        for _ in range(self._turns.statistics().tasks_waiting):
            self._turns.release()
        with redis_errors():
            await super().aclose()

    def count_connections(self) -> tuple[int, int]:
        """The numbers of open connections that wait in the pool, and that are in use."""
        return len(self._available_connections), len(self._in_use_connections)

    def count_waiting(self) -> int:
        """The number of tasks that wait for a connection."""
        return self._turns.statistics().tasks_waiting

    async def _wait_for_turn(self) -> None:
        self._guard.check()
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
            f"all {self.max_connections} connections of {self._label} are in use, and none became free within "
            f"{self.timeout:g} s; blocking commands, subscriptions and pipelines with WATCH hold one each. Raise "
            "max_connections, or release connections sooner"
        )

    def __repr__(self) -> str:
        # redis-py renders pools into error messages, and by default all options, the password included.
        return f"<{type(self).__name__} of {self._label}>"


class SentinelPool(BoundedPool, SentinelConnectionPool):
    """A bounded pool for the master that sentinels name."""
