"""The environment in which Alembic runs the migrations of all parts, with synchronous and asynchronous drivers."""

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

# The import registers op.enable_tenant_rls with Alembic, so that every migration can use it.
import bandmaster.contrib.persistence.migration.operations  # noqa: F401
from bandmaster.contrib.persistence.migration.branch_check import check_branches
from bandmaster.contrib.persistence.migration.branches import MigrationError, Migrations
from bandmaster.contrib.persistence.migration.connection import connected, database_url
from bandmaster.contrib.persistence.migration.locking import migration_lock

ENVIRONMENT = Path(__file__).parent / "alembic_env"
"""The folder for ``script_location``: an ``env.py`` that calls `run_environment`, and a template for revisions."""


def configuration(
    parts: Iterable[Migrations],
    *,
    url: URL | str | None = None,
    connection: Connection | None = None,
    output: TextIO | None = None,
    metadata: Sequence[MetaData] | None = None,
) -> Config:
    """The configuration for Alembic's own commands (``alembic.command``), for the migrations of these parts.

    Commands run on ``connection``, or on the database of ``url``; offline commands use the URL's dialect only. On a URL
    they run an event loop of their own: code inside a running event loop calls ``migration.migrate.upgrade``. On a
    connection the caller takes the `migration_lock`. Autogenerate compares with ``metadata``, by default with that of
    all parts.

    Raises:
        MigrationError: the parts don't fit together.
    """
    parts = tuple(parts)
    check_branches(parts)
    config = Config(output_buffer=output, stdout=io.StringIO(), cmd_opts=Namespace(quiet=True))
    config.attributes |= {
        "connection": connection,
        "url": url,
        "metadata": _drop_duplicates(part.metadata for part in parts) if metadata is None else tuple(metadata),
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
    """Run the migrations for Alembic: the one call that an ``env.py`` needs.

    The database is the configuration's attribute ``connection``, which stays open, the attribute ``url``, or the
    option ``sqlalchemy.url``. On a connection of its own this function takes the `migration_lock`; on a given one the
    caller does. Autogenerate compares with the attribute ``metadata``, or with the argument.

    Raises:
        MigrationError: the configuration names no database.
        MigrationLockedError: another process is migrating the database.
        DatabaseUnavailableError, DatabaseRefusedError: the database can't be reached.
    """
    config = context.config
    given = (metadata,) if isinstance(metadata, MetaData) else tuple(metadata or ())
    compared: Sequence[MetaData] = config.attributes.get("metadata") or given
    if (connection := config.attributes.get("connection")) is not None:
        _run_online(connection, compared)
        return
    url = config.attributes.get("url") or config.get_main_option("sqlalchemy.url")
    if not url:
        raise MigrationError("no database to migrate: set sqlalchemy.url in Alembic's configuration")
    if context.is_offline_mode():
        _run_offline(database_url(url))
    else:
        anyio.run(connected, url, lambda own: _run_locked(own, compared))


def comparison(metadata: Collection[MetaData], connection: Connection) -> dict[str, Any]:
    """Alembic's options for comparing models with a database. Tables that are in no model are ignored."""
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
        # SQLite can alter almost nothing in a table, so that a generated revision must rebuild the table.
        "render_as_batch": connection.dialect.name == "sqlite",
    }


def _run_locked(connection: Connection, metadata: Sequence[MetaData]) -> None:
    with migration_lock(connection):
        _run_online(connection, metadata)


def _run_online(connection: Connection, metadata: Sequence[MetaData]) -> None:
    context.configure(
        connection=connection,
        transaction_per_migration=True,
        on_version_apply=context.config.attributes.get("on_version_apply"),
        **comparison(metadata, connection),
    )
    with context.begin_transaction():
        context.run_migrations()


def _run_offline(url: URL) -> None:
    context.configure(dialect_name=url.get_backend_name(), literal_binds=True, dialect_opts={"paramstyle": "named"})
    with context.begin_transaction():
        context.run_migrations()


def _drop_duplicates(metadata: Iterable[MetaData | None]) -> tuple[MetaData, ...]:
    # Several parts may share one MetaData, and Alembic would compare its tables twice.
    return tuple({id(one): one for one in metadata if one is not None}.values())
