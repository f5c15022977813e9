"""How full connection pools are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from sqlalchemy import Pool, QueuePool


@dataclass(frozen=True, slots=True)
class PoolGauge:
    """How full one pool of a database is."""

    database: str
    pool: str
    """``async``, ``sync`` or ``probe``."""
    size: int
    """The number of connections that the pool keeps open."""
    limit: int
    """The most connections that the pool may open."""
    open: int
    """The number of connections that are open."""
    in_use: int


class HasGauges(Protocol):
    """An object that reports the gauges of connection pools, for an exporter of metrics."""

    def gauges(self) -> tuple[PoolGauge, ...]:
        """One gauge for each pool."""
        ...


def read_gauge(database: str, name: str, pool: Pool) -> PoolGauge:
    """The gauge of one pool of a database."""
    assert isinstance(pool, QueuePool)  # the only kind that engines of this package have
    overflow = pool._max_overflow  # noqa: SLF001  # SQLAlchemy has no public name for it
    # SQLAlchemy counts the overflow from minus the pool's size, so that the sum is below zero at first.
    opened = max(0, pool.size() + pool.overflow())
    return PoolGauge(
        database, name, size=pool.size(), limit=pool.size() + overflow, open=opened, in_use=pool.checkedout()
    )
