"""A real Redis for tests: a given or a started server, emptied for each test, and restarted on demand."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bandmaster.contrib.redis.testing.programs import redis_program
    from bandmaster.contrib.redis.testing.server import RedisServer, RedisTestSettings, redis_server

# pytest imports this package at every start, so that its modules are imported at first use (PEP 562).
_HOMES = {
    "RedisServer": "server",
    "RedisTestSettings": "server",
    "redis_program": "programs",
    "redis_server": "server",
}

__all__ = ["RedisServer", "RedisTestSettings", "redis_program", "redis_server"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
