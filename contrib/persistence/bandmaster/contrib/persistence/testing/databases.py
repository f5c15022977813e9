"""A database for one test, with the two roles that an application has: one that owns it, one that serves."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from psycopg import sql

from bandmaster.contrib.persistence.testing.server import PostgresServer


@dataclass(frozen=True, slots=True)
class PostgresDatabase:
    """A database that nobody else uses."""

    server: PostgresServer
    name: str
    password: str = field(repr=False)
    """Of both roles."""

    @property
    def owner(self) -> str:
        """The role that owns the database and migrates it; no superuser."""
        return f"{self.name}_owner"

    @property
    def app(self) -> str:
        """The role that serves: it may use what the owner makes, and owns nothing."""
        return f"{self.name}_app"

    def owner_url(self, driver: str = "psycopg") -> str:
        """The owner's SQLAlchemy URL."""
        return self.server.url(self.name, self.owner, self.password, driver=driver)

    def app_url(self, driver: str = "psycopg") -> str:
        """The serving role's SQLAlchemy URL."""
        return self.server.url(self.name, self.app, self.password, driver=driver)

    def superuser_url(self, driver: str = "psycopg") -> str:
        """The superuser's SQLAlchemy URL, for this database."""
        return self.server.url(self.name, driver=driver)


@contextmanager
def fresh_database(server: PostgresServer) -> Iterator[PostgresDatabase]:
    """A database until the block ends; connections that are left to it are ended with it."""
    made = PostgresDatabase(server, f"test_{secrets.token_hex(6)}", secrets.token_hex(8))
    name, owner, app = map(sql.Identifier, (made.name, made.owner, made.app))
    with server.connect() as connection:
        for role in (owner, app):
            connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(role, sql.Literal(made.password)))
        connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(name, owner))
    try:
        with server.connect(made.name) as connection:
            connection.execute(sql.SQL("REVOKE CREATE ON SCHEMA public FROM PUBLIC"))
            connection.execute(sql.SQL("GRANT ALL ON SCHEMA public TO {}").format(owner))
            for granted in (
                sql.SQL("SELECT, INSERT, UPDATE, DELETE ON TABLES"),
                sql.SQL("USAGE, SELECT ON SEQUENCES"),
            ):
                connection.execute(
                    sql.SQL("ALTER DEFAULT PRIVILEGES FOR ROLE {} GRANT {} TO {}").format(owner, granted, app)
                )
        yield made
    finally:
        with server.connect() as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))
            for role in (owner, app):
                connection.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(role))
