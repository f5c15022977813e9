"""How full the pool of a client is."""

from __future__ import annotations

from dataclasses import dataclass

from redis.asyncio import Redis

from bandmaster.contrib.redis.pool import BoundedPool


@dataclass(frozen=True, slots=True)
class RedisPoolGauge:
    """How full the pool of a Redis client is."""

    limit: int
    """The most connections that the pool may open."""
    open: int
    """The number of connections that are open."""
    in_use: int
    waiting: int
    """The number of tasks that wait for a connection."""


def read_pool_gauge(client: Redis) -> RedisPoolGauge | None:
    """The gauge of the pool of a client; None for a client that this package hasn't made."""
    pool = client.connection_pool
    if not isinstance(pool, BoundedPool):
        return None
    idle, in_use = pool.count_connections()
    return RedisPoolGauge(pool.max_connections, open=idle + in_use, in_use=in_use, waiting=pool.count_waiting())
