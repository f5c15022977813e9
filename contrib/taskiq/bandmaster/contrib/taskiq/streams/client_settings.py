"""The clients that a broker has: alike but for how long they wait, how often they try, and how many connections."""

from __future__ import annotations

from bandmaster.contrib.redis import RedisSettings
from bandmaster.contrib.taskiq.streams.options import LONGEST_READ

_SHORTEST_PATIENCE = 0.2


def reading(settings: RedisSettings) -> RedisSettings:
    """For the one read that waits on the server. It tries nothing again: what a lost answer brought is found later."""
    return settings.model_copy(
        update={
            "max_connections": 1,
            "socket_timeout": LONGEST_READ + settings.socket_timeout,
            "retries": 0,
            "client_name": _named(settings, "read"),
        }
    )


def renewing(settings: RedisSettings, lease: float) -> RedisSettings:
    """For renewals, which have a quarter of a lease for an answer."""
    patience = max(_SHORTEST_PATIENCE, lease / 4)
    return settings.model_copy(
        update={
            "max_connections": 1,
            "socket_timeout": min(settings.socket_timeout, patience),
            "connect_timeout": min(settings.connect_timeout, patience),
            "retries": 0,
            "client_name": _named(settings, "leases"),
        }
    )


def probing(settings: RedisSettings) -> RedisSettings:
    """For who asks only how the server is, and wants to know soon."""
    return settings.model_copy(
        update={
            "max_connections": 1,
            "pool_timeout": settings.probe_timeout,
            "socket_timeout": settings.probe_timeout,
            "connect_timeout": settings.probe_timeout,
            "retries": 0,
            "client_name": _named(settings, "probe"),
        }
    )


def _named(settings: RedisSettings, what: str) -> str:
    return settings.client_name and f"{settings.client_name}-{what}"
