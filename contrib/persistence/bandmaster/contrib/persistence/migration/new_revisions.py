"""New revisions, and the folder for a part's first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

from alembic import command
from alembic.autogenerate import produce_migrations
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import Script
from sqlalchemy import Connection

from bandmaster.contrib.persistence.migration.branches import MigrationError, Migrations, package_path
from bandmaster.contrib.persistence.migration.connection import Database, connected
from bandmaster.contrib.persistence.migration.environment import configuration
from bandmaster.contrib.persistence.migration.locking import alembic_free, alembic_free_now
from bandmaster.contrib.persistence.migration.migrate import failing, state
from bandmaster.contrib.persistence.migration.revision_files import revision_files

FOLDER = "migrations"
"""What a part's folder of revisions is called, in its package."""


def write_revision(parts: Iterable[Migrations], name: str, message: str) -> Path:
    """A new revision of a part, for somebody to fill in; returns its file. No database is asked.

    The part's first revision begins its branch. One depends on the newest of every part that the part depends on.

    Raises:
        MigrationError: there is no such part, the parts don't fit together, or the file can't be written.
    """
    parts = tuple(parts)
    part = part_named(parts, name)
    with failing("the revision can't be written", parts), alembic_free_now():
        return _written(command.revision(configuration(parts), **_arguments(parts, part, message)))


async def generate_revision(database: Database, parts: Iterable[Migrations], name: str, message: str) -> Path | None:
    """A new revision of a part that makes the database what the part's models are; none where it is already.

    Raises:
        MigrationError: the part has no metadata, the database isn't up to date; or what `write_revision` raises.
        DatabaseUnavailableError, DatabaseRefusedError: the database can't be had.
    """
    parts = tuple(parts)
    part = part_named(parts, name)
    if part.metadata is None:
        raise MigrationError(
            f"{name!r} has no metadata, so that there is nothing to generate from: give it one, as in "
            f"migrations({name!r}, ..., metadata=Base.metadata), or write the revision by hand"
        )
    if waiting := (await state(database, parts)).pending:
        raise MigrationError(
            f"the database isn't up to date, so that models can't be compared with it: {len(waiting)} revisions are "
            "pending. Upgrade it first"
        )

    def generate(connection: Connection) -> Path | None:
        with failing("the revision can't be generated", parts):
            config = configuration(parts, connection=connection, metadata=(cast("Any", part.metadata),))
            config.set_main_option("revision_environment", "true")
            hook = partial(_fill, config)
            made = command.revision(config, process_revision_directives=hook, **_arguments(parts, part, message))
            return _written(made) if made else None

    async with alembic_free():
        return await connected(database, generate)


def make_folder(package: str) -> Path:
    """A package's folder for its revisions, and the package's file that makes every build backend ship it.

    Raises:
        MigrationError: the package can't be imported, or has one already.
    """
    try:
        place = package_path(package, FOLDER)
    except ImportError as error:
        raise MigrationError(f"there is no package {package!r} to make migrations for: {error}") from error
    try:
        place.mkdir()
    except OSError as error:
        raise MigrationError(f"{place} can't be made: {error.strerror or error}") from error
    (place / "__init__.py").write_text(f'"""The migrations of {package}, which Alembic runs."""\n', encoding="utf-8")
    return place


def part_named(parts: Sequence[Migrations], name: str) -> Migrations:
    """The part of this name.

    Raises:
        MigrationError: there is none.
    """
    for part in parts:
        if part.name == name:
            return part
    known = ", ".join(repr(part.name) for part in parts)
    raise MigrationError(f"no part {name!r} brings migrations. " + (f"There are {known}" if known else "None does"))


def _arguments(parts: Sequence[Migrations], part: Migrations, message: str) -> dict[str, Any]:
    files = tuple(revision_files(part.folder))
    begun = {"head": f"{part.name}@head"} if files else {"head": "base", "branch_label": part.name}
    named = {name for file in files for name in file.depends_on}
    heads = [head for name in part.depends_on for head in _heads(part_named(parts, name)) if head not in named]
    return {"message": message, "version_path": str(part.folder), "depends_on": heads or None, **begun}


def _heads(part: Migrations) -> list[str]:
    files = tuple(revision_files(part.folder))
    followed = {name for file in files for name in file.down_revision}
    return [file.revision for file in files if file.revision not in followed]


def _fill(config: Config, context: MigrationContext, _revision: Any, directives: list[Any]) -> None:
    # Alembic's own --autogenerate takes a database for outdated where the newest revision of a part is one that
    # another part depends on.
    produced = produce_migrations(context, cast("Any", list(config.attributes["metadata"])))
    if produced.upgrade_ops is None or produced.upgrade_ops.is_empty():
        directives.clear()
        return
    directives[0].upgrade_ops = produced.upgrade_ops
    directives[0].downgrade_ops = produced.downgrade_ops


def _written(made: Script | list[Script | None] | None) -> Path:
    if not isinstance(made, Script):
        raise MigrationError("Alembic wrote no revision, or several")
    return Path(made.path)
