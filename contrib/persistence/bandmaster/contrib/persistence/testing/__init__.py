"""A real PostgreSQL for tests: a given or a started server, with databases and roles for each test."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bandmaster.kernel import export_lazily

if TYPE_CHECKING:
    from bandmaster.contrib.persistence.testing.databases import PostgresDatabase as PostgresDatabase
    from bandmaster.contrib.persistence.testing.databases import fresh_database as fresh_database
    from bandmaster.contrib.persistence.testing.server import PostgresServer as PostgresServer
    from bandmaster.contrib.persistence.testing.server import PostgresTestSettings as PostgresTestSettings
    from bandmaster.contrib.persistence.testing.server import postgres_server as postgres_server

# pytest imports this package at every start, so that its modules are imported at first use (PEP 562).
export_lazily(
    __name__,
    {
        "databases": ["PostgresDatabase", "fresh_database"],
        "server": ["PostgresServer", "PostgresTestSettings", "postgres_server"],
    },
)
