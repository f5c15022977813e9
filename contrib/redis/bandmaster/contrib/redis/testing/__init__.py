"""A real Redis for tests: a given or a started server, emptied for each test, and restarted on demand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bandmaster.kernel import export_lazily

if TYPE_CHECKING:
    from bandmaster.contrib.redis.testing.programs import redis_program as redis_program
    from bandmaster.contrib.redis.testing.server import RedisServer as RedisServer
    from bandmaster.contrib.redis.testing.server import RedisTestSettings as RedisTestSettings
    from bandmaster.contrib.redis.testing.server import redis_server as redis_server

# pytest imports this package at every start, so that its modules are imported at first use (PEP 562).
export_lazily(
    __name__,
    {
        "programs": ["redis_program"],
        "server": ["RedisServer", "RedisTestSettings", "redis_server"],
    },
)
