"""Settings of the broker's clients for reading, renewing and probing: their timeouts, retries and connections."""

from __future__ import annotations

from bandmaster.contrib.redis import RedisSettings
from bandmaster.contrib.taskiq.streams.options import LONGEST_READ

_SHORTEST_RENEWAL_TIMEOUT = 0.2


def make_reading_settings(settings: RedisSettings) -> RedisSettings:
    """For blocking reads. Nothing is retried: the messages of a lost answer are found when their leases expire."""
    return settings.model_copy(
        update={
            "max_connections": 1,
            "socket_timeout": LONGEST_READ + settings.socket_timeout,
            "retries": 0,
            "client_name": _make_client_name(settings, "read"),
        }
    )


def make_renewal_settings(settings: RedisSettings, lease: float) -> RedisSettings:
    """For renewals, which time out after a quarter of a lease."""
    timeout = max(_SHORTEST_RENEWAL_TIMEOUT, lease / 4)
    return settings.model_copy(
        update={
            "max_connections": 1,
            "socket_timeout": min(settings.socket_timeout, timeout),
            "connect_timeout": min(settings.connect_timeout, timeout),
            "retries": 0,
            "client_name": _make_client_name(settings, "leases"),
        }
    )


def make_probe_settings(settings: RedisSettings) -> RedisSettings:
    """For health probes, which must answer soon."""
    return settings.model_copy(
        update={
            "max_connections": 1,
            "pool_timeout": settings.probe_timeout,
            "socket_timeout": settings.probe_timeout,
            "connect_timeout": settings.probe_timeout,
            "retries": 0,
            "client_name": _make_client_name(settings, "probe"),
        }
    )


def _make_client_name(settings: RedisSettings, purpose: str) -> str:
    return settings.client_name and f"{settings.client_name}-{purpose}"
