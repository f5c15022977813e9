"""A database for one test, with two roles: the owner, which migrates, and the application's."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from psycopg import sql

from bandmaster.contrib.persistence.testing.server import PostgresServer


@dataclass(frozen=True, slots=True)
class PostgresDatabase:
    """A database of one test, with its two roles."""

    server: PostgresServer
    name: str
    password: str = field(repr=False)
    """The password of both roles."""

    @property
    def owner(self) -> str:
        """The role that owns the database and migrates the tables, without being a superuser."""
        return f"{self.name}_owner"

    @property
    def app(self) -> str:
        """The role of the application, which may use the tables of the owner and owns nothing."""
        return f"{self.name}_app"

    def owner_url(self, driver: str = "psycopg") -> str:
        """The SQLAlchemy URL of the owner."""
        return self.server.url(self.name, self.owner, self.password, driver=driver)

    def app_url(self, driver: str = "psycopg") -> str:
        """The SQLAlchemy URL of the application's role."""
        return self.server.url(self.name, self.app, self.password, driver=driver)

    def superuser_url(self, driver: str = "psycopg") -> str:
        """The SQLAlchemy URL of the superuser, for this database."""
        return self.server.url(self.name, driver=driver)


@contextmanager
def fresh_database(server: PostgresServer) -> Iterator[PostgresDatabase]:
    """Create a database and its roles, and drop them after the block; open connections to it are ended."""
    database = PostgresDatabase(server, f"test_{secrets.token_hex(6)}", secrets.token_hex(8))
    name, owner, app = map(sql.Identifier, (database.name, database.owner, database.app))
    with server.connect() as connection:
        for role in (owner, app):
            connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(role, sql.Literal(database.password)))
        connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(name, owner))
    try:
        with server.connect(database.name) as connection:
            connection.execute(sql.SQL("REVOKE CREATE ON SCHEMA public FROM PUBLIC"))
            connection.execute(sql.SQL("GRANT ALL ON SCHEMA public TO {}").format(owner))
            for granted in (
                sql.SQL("SELECT, INSERT, UPDATE, DELETE ON TABLES"),
                sql.SQL("USAGE, SELECT ON SEQUENCES"),
            ):
                connection.execute(
                    sql.SQL("ALTER DEFAULT PRIVILEGES FOR ROLE {} GRANT {} TO {}").format(owner, granted, app)
                )
        yield database
    finally:
        with server.connect() as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))
            for role in (owner, app):
                connection.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(role))
