"""A Redis client with a bounded pool and a health check, closed with the application."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bandmaster.contrib.redis.address import same_database
    from bandmaster.contrib.redis.clients import open_client
    from bandmaster.contrib.redis.component import redis, redis_component
    from bandmaster.contrib.redis.errors import (
        RedisClosedError,
        RedisPoolTimeoutError,
        RedisRefusedError,
        RedisUnavailableError,
        redis_errors,
    )
    from bandmaster.contrib.redis.reachability import see_redis
    from bandmaster.contrib.redis.settings import RedisSettings
    from bandmaster.contrib.redis.shared_databases import warn_if_shared

# The module of each public name. A name is imported at its first use (PEP 562): code that reads the settings needs no
# client.
_HOMES = {
    "RedisClosedError": "errors",
    "RedisPoolTimeoutError": "errors",
    "RedisRefusedError": "errors",
    "RedisSettings": "settings",
    "RedisUnavailableError": "errors",
    "open_client": "clients",
    "redis": "component",
    "redis_component": "component",
    "redis_errors": "errors",
    "see_redis": "reachability",
    "same_database": "address",
    "warn_if_shared": "shared_databases",
}

__all__ = [
    "RedisClosedError",
    "RedisPoolTimeoutError",
    "RedisRefusedError",
    "RedisSettings",
    "RedisUnavailableError",
    "open_client",
    "redis",
    "redis_component",
    "redis_errors",
    "same_database",
    "see_redis",
    "warn_if_shared",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
