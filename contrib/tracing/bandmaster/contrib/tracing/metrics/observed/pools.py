"""The metrics of connection pools: those of databases and of Redis clients among the running components."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, TypeAlias

from opentelemetry.metrics import Meter, Observation

from bandmaster.contrib.tracing.metrics import catalogue
from bandmaster.kernel import Resources

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from bandmaster.contrib.persistence import DatabaseManager

__all__ = ["PoolMetrics", "PoolReading", "find_pools"]


@dataclass(frozen=True, slots=True)
class PoolReading:
    """How full one pool is."""

    name: str
    resource: str
    """The budget that counts the connections; empty if none does."""
    limit: int
    open: int
    in_use: int
    waiting: int | None = None
    """None if the pool doesn't tell."""


ReadPools: TypeAlias = Callable[[], Iterable[PoolReading]]
"""Reads the pools of one component. Called in any thread."""


def find_pools(resources: Resources) -> list[ReadPools]:
    """A reader for each component with pools that this package knows."""
    found: list[ReadPools] = []
    if find_spec("bandmaster.contrib.persistence") is not None:
        found += _find_databases(resources)
    if find_spec("bandmaster.contrib.redis") is not None:
        found += _find_redis_clients(resources)
    return found


class PoolMetrics:
    """Gives the metrics of pools at each collection."""

    def __init__(self) -> None:
        self._pools: Sequence[ReadPools] = ()

    def register(self, meter: Meter) -> None:
        """Create the instruments."""
        catalogue.POOL_CONNECTIONS.observe(meter, self._observe_connections)
        catalogue.POOL_LIMIT.observe(meter, self._observe_limits)
        catalogue.POOL_PENDING.observe(meter, self._observe_pending)
        catalogue.BUDGET_USED.observe(meter, self._observe_used)

    def watch(self, pools: Sequence[ReadPools]) -> None:
        """Read these pools from now on; none after the stop, when their components are gone."""
        self._pools = tuple(pools)

    def _read(self) -> Iterator[PoolReading]:
        for read in self._pools:
            yield from read()

    def _observe_connections(self) -> Iterator[Observation]:
        for pool in self._read():
            labels = {"db.client.connection.pool.name": pool.name}
            yield Observation(pool.in_use, labels | {"db.client.connection.state": "used"})
            yield Observation(max(0, pool.open - pool.in_use), labels | {"db.client.connection.state": "idle"})

    def _observe_limits(self) -> Iterator[Observation]:
        for pool in self._read():
            yield Observation(pool.limit, {"db.client.connection.pool.name": pool.name})

    def _observe_pending(self) -> Iterator[Observation]:
        for pool in self._read():
            if pool.waiting is not None:
                yield Observation(pool.waiting, {"db.client.connection.pool.name": pool.name})

    def _observe_used(self) -> Iterator[Observation]:
        used: dict[str, int] = {}
        for pool in self._read():
            if pool.resource:
                used[pool.resource] = used.get(pool.resource, 0) + pool.open
        for resource, count in used.items():
            yield Observation(count, {"resource": resource})


def _find_databases(resources: Resources) -> Iterator[ReadPools]:
    from bandmaster.contrib.persistence import DatabaseManager

    for manager in resources[Sequence[DatabaseManager]]:
        yield partial(_read_database, manager)


def _read_database(manager: DatabaseManager) -> Iterator[PoolReading]:
    resource = "postgres" if manager.settings.is_postgresql else ""
    for gauge in manager.gauges():
        yield PoolReading(f"{gauge.database}/{gauge.pool}", resource, gauge.limit, gauge.open, gauge.in_use)


def _find_redis_clients(resources: Resources) -> Iterator[ReadPools]:
    from redis.asyncio import Redis

    for name, client in resources[Mapping[str, Redis]].items():
        yield partial(_read_redis, name, client)


def _read_redis(name: str, client: Redis) -> Iterator[PoolReading]:
    from bandmaster.contrib.redis import read_pool_gauge

    gauge = read_pool_gauge(client)
    if gauge is not None:
        yield PoolReading(name, "redis", gauge.limit, gauge.open, gauge.in_use, gauge.waiting)
