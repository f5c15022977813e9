"""The environment in which Alembic runs the migrations of all parts, on synchronous and asynchronous drivers."""

from __future__ import annotations

import io
from argparse import Namespace
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import anyio
from alembic import context
from alembic.config import Config
from sqlalchemy import URL, Connection, MetaData

# Imported for what it teaches Alembic, so that migrations know op.enable_tenant_rls wherever they run.
import bandmaster.contrib.persistence.migration.operations  # noqa: F401
from bandmaster.contrib.persistence.migration.branches import MigrationError, Migrations, agree
from bandmaster.contrib.persistence.migration.connection import connected, database_url
from bandmaster.contrib.persistence.migration.locking import migration_lock

ENVIRONMENT = Path(__file__).parent / "alembic_env"
"""For ``script_location``: an ``env.py`` that calls `run_environment`, and a template for revisions."""


def configuration(
    parts: Iterable[Migrations],
    *,
    url: URL | str | None = None,
    connection: Connection | None = None,
    output: TextIO | None = None,
    metadata: Sequence[MetaData] | None = None,
) -> Config:
    """What Alembic's own commands (``alembic.command``) take, for the migrations of these parts.

    They run on the connection, or on the database of the URL; offline commands only use the dialect of the URL. They
    make an event loop of their own: where one runs, there is ``bandmaster.contrib.persistence.upgrade``. On a connection
    the `migration_lock` is for the caller to take. ``metadata`` is what autogenerate compares with; all parts' own unless given.

    Raises:
        MigrationError: the parts don't fit together.
    """
    parts = tuple(parts)
    agree(parts)
    config = Config(output_buffer=output, stdout=io.StringIO(), cmd_opts=Namespace(quiet=True))
    config.attributes |= {
        "connection": connection,
        "url": url,
        "metadata": distinct(part.metadata for part in parts) if metadata is None else tuple(metadata),
    }
    options = {
        "script_location": str(ENVIRONMENT),
        "path_separator": "newline",
        "version_locations": "\n".join(str(part.folder) for part in parts),
        "timezone": "UTC",
    }
    for name, value in options.items():
        config.set_main_option(name, value.replace("%", "%%"))
    return config


def run_environment(metadata: MetaData | Sequence[MetaData] | None = None) -> None:
    """All that an ``env.py`` needs to do, for an Alembic that is run by whatever means.

    The configuration's attributes say where: ``connection``, which is used as it is and stays open, or ``url``; without
    them the option ``sqlalchemy.url`` does. Only on a connection of its own it sees to the lock against other
    processes. ``metadata`` is what autogenerate compares with, unless the attribute ``metadata`` says so.

    Raises:
        MigrationError: nothing says where the database is.
        MigrationLockedError: another process is migrating it.
        DatabaseUnavailableError, DatabaseRefusedError: it can't be had.
    """
    config = context.config
    given = (metadata,) if isinstance(metadata, MetaData) else tuple(metadata or ())
    compared: Sequence[MetaData] = config.attributes.get("metadata") or given
    if (connection := config.attributes.get("connection")) is not None:
        _run(connection, compared)
        return
    url = config.attributes.get("url") or config.get_main_option("sqlalchemy.url")
    if not url:
        raise MigrationError("nothing says which database to migrate: set sqlalchemy.url in Alembic's configuration")
    if context.is_offline_mode():
        _write(database_url(url))
    else:
        anyio.run(connected, url, lambda own: _alone(own, compared))


def distinct(metadata: Iterable[MetaData | None]) -> tuple[MetaData, ...]:
    """Each once: parts may share one."""
    return tuple({id(one): one for one in metadata if one is not None}.values())


def comparison(metadata: Collection[MetaData], connection: Connection) -> dict[str, Any]:
    """The options for comparing models with a database. Tables of nobody's models are left alone."""
    default = connection.dialect.default_schema_name
    tables = {(table.schema or default, table.name) for one in metadata for table in one.tables.values()}
    schemas = {schema for schema, _ in tables}

    def include_name(name: str | None, kind: str, parents: Mapping[str, Any]) -> bool:
        if kind == "schema":
            return (name or default) in schemas
        return kind != "table" or (parents.get("schema_name") or default, name) in tables

    return {
        "target_metadata": list(metadata) or None,
        "include_schemas": bool(schemas - {default}),
        "include_name": include_name,
        "compare_type": True,
        # SQLite can alter nearly nothing in a table: what is generated there makes it anew.
        "render_as_batch": connection.dialect.name == "sqlite",
    }


def _alone(connection: Connection, metadata: Sequence[MetaData]) -> None:
    with migration_lock(connection):
        _run(connection, metadata)


def _run(connection: Connection, metadata: Sequence[MetaData]) -> None:
    context.configure(
        connection=connection,
        transaction_per_migration=True,
        on_version_apply=context.config.attributes.get("on_version_apply"),
        **comparison(metadata, connection),
    )
    with context.begin_transaction():
        context.run_migrations()


def _write(url: URL) -> None:
    context.configure(dialect_name=url.get_backend_name(), literal_binds=True, dialect_opts={"paramstyle": "named"})
    with context.begin_transaction():
        context.run_migrations()
