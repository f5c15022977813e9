"""A real PostgreSQL for tests: a given or a started server, with databases and roles for each test."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bandmaster.contrib.persistence.testing.databases import PostgresDatabase, fresh_database
    from bandmaster.contrib.persistence.testing.server import PostgresServer, PostgresTestSettings, postgres_server

# pytest imports this package at every start, so that its modules are imported at first use (PEP 562).
_HOMES = {
    "PostgresDatabase": "databases",
    "PostgresServer": "server",
    "PostgresTestSettings": "server",
    "fresh_database": "databases",
    "postgres_server": "server",
}

__all__ = ["PostgresDatabase", "PostgresServer", "PostgresTestSettings", "fresh_database", "postgres_server"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
