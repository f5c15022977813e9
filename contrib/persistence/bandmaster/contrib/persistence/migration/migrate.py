"""Upgrade and downgrade a database, from inside a running event loop."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection

from bandmaster.contrib.persistence.migration.branches import Migrations
from bandmaster.contrib.persistence.migration.connection import Database, connected, database_url
from bandmaster.contrib.persistence.migration.environment import configuration
from bandmaster.contrib.persistence.migration.failures import translated_failures
from bandmaster.contrib.persistence.migration.locking import (
    LOCK_TIMEOUT,
    alembic_free,
    alembic_free_now,
    migration_lock,
)
from bandmaster.contrib.persistence.migration.state import Revision, describe_revision


async def upgrade(
    database: Database,
    parts: Iterable[Migrations],
    revision: str = "heads",
    *,
    lock_timeout: float = LOCK_TIMEOUT,
) -> tuple[Revision, ...]:
    """Apply pending revisions, each in a transaction of its own; returns the applied revisions in order.

    ``revision`` is one of Alembic's names: ``heads``, ``shop@head``, an id, ``shop@+1``. Several processes may upgrade
    at once: one works, the others wait, for ``lock_timeout`` seconds at most. On SQLite one transaction holds all
    revisions.

    Raises:
        MigrationError: a revision failed and was rolled back, or ``revision`` doesn't exist.
        MigrationLockedError: another process is migrating the database.
        DatabaseUnavailableError, DatabaseRefusedError: the database can't be reached.
    """
    return await _migrate(database, parts, command.upgrade, revision, lock_timeout)


async def downgrade(
    database: Database, parts: Iterable[Migrations], revision: str, *, lock_timeout: float = LOCK_TIMEOUT
) -> tuple[Revision, ...]:
    """Undo revisions; returns the undone revisions in order.

    ``revision`` is the newest one that remains: ``base``, ``shop@base``, an id, ``shop@-1``. Raises the errors of
    `upgrade`.
    """
    return await _migrate(database, parts, command.downgrade, revision, lock_timeout)


def script(url: URL | str, parts: Iterable[Migrations], revision: str = "heads", *, down: bool = False) -> str:
    """The SQL of an upgrade, or with ``down`` of a downgrade (``from:to``), to be run by other means.

    Nothing is connected to: the URL names the dialect. The SQL begins at an empty database unless ``revision`` is
    ``from:to``. The lock against other processes isn't part of the SQL.

    Raises:
        MigrationError: the parts don't fit together, ``revision`` doesn't exist, or one needs a live database.
        ValueError: ``url`` isn't a URL.
    """
    parts = tuple(parts)
    output = io.StringIO()
    url = database_url(url)
    with translated_failures("the SQL can't be written", parts):
        run = command.downgrade if down else command.upgrade
        config = configuration(parts, url=url, output=output)
        with alembic_free_now():
            run(config, revision, sql=True)
    return output.getvalue()


async def _migrate(
    database: Database,
    parts: Iterable[Migrations],
    run: Callable[[Config, str], None],
    revision: str,
    lock_timeout: float,
) -> tuple[Revision, ...]:
    parts = tuple(parts)
    summary = f"the {run.__name__} to {revision!r} failed"

    def migrate(connection: Connection) -> tuple[Revision, ...]:
        done: list[Revision] = []
        config = configuration(parts, connection=connection)
        scripts = ScriptDirectory.from_config(config)

        def record(*, step: Any, **_: Any) -> None:
            done.extend(describe_revision(scripts.get_revision(name), parts) for name in step.up_revision_ids)

        config.attributes["on_version_apply"] = record
        # On SQLite, and in the caller's transaction, all revisions are one transaction: a failure keeps none of them.
        kept = done if connection.dialect.name != "sqlite" and not connection.in_transaction() else ()
        with translated_failures(summary, parts, kept), migration_lock(connection, lock_timeout):
            run(config, revision)
        return tuple(done)

    async with alembic_free():
        return await connected(database, migrate)
