"""A Redis client with a bounded pool and a health check, closed with the application."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bandmaster.kernel import export_lazily

if TYPE_CHECKING:
    from bandmaster.contrib.redis.address import same_database as same_database
    from bandmaster.contrib.redis.clients import open_client as open_client
    from bandmaster.contrib.redis.command_observers import ClientPlace as ClientPlace
    from bandmaster.contrib.redis.command_observers import CommandObserver as CommandObserver
    from bandmaster.contrib.redis.command_observers import RedisCommand as RedisCommand
    from bandmaster.contrib.redis.command_observers import ReportCommandEnd as ReportCommandEnd
    from bandmaster.contrib.redis.component import redis as redis
    from bandmaster.contrib.redis.component import redis_component as redis_component
    from bandmaster.contrib.redis.errors import RedisClosedError as RedisClosedError
    from bandmaster.contrib.redis.errors import RedisPoolTimeoutError as RedisPoolTimeoutError
    from bandmaster.contrib.redis.errors import RedisRefusedError as RedisRefusedError
    from bandmaster.contrib.redis.errors import RedisUnavailableError as RedisUnavailableError
    from bandmaster.contrib.redis.errors import redis_errors as redis_errors
    from bandmaster.contrib.redis.reachability import see_redis as see_redis
    from bandmaster.contrib.redis.settings import RedisSettings as RedisSettings
    from bandmaster.contrib.redis.shared_databases import warn_if_shared as warn_if_shared

# The module of each public name. A name is imported at its first use (PEP 562): code that reads the settings needs no
# client.
export_lazily(
    __name__,
    {
        "address": ["same_database"],
        "clients": ["open_client"],
        "command_observers": ["ClientPlace", "CommandObserver", "RedisCommand", "ReportCommandEnd"],
        "component": ["redis", "redis_component"],
        "errors": [
            "RedisClosedError",
            "RedisPoolTimeoutError",
            "RedisRefusedError",
            "RedisUnavailableError",
            "redis_errors",
        ],
        "reachability": ["see_redis"],
        "settings": ["RedisSettings"],
        "shared_databases": ["warn_if_shared"],
    },
)
