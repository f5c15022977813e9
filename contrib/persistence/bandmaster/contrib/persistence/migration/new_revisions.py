"""Write new revisions, and make the folder for a part's first one."""

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
from bandmaster.contrib.persistence.migration.failures import translated_failures
from bandmaster.contrib.persistence.migration.locking import alembic_free, alembic_free_now
from bandmaster.contrib.persistence.migration.revision_files import revision_files
from bandmaster.contrib.persistence.migration.state import state

FOLDER = "migrations"
"""The name of a part's folder of revisions, in its package."""


def write_revision(parts: Iterable[Migrations], name: str, message: str) -> Path:
    """Write an empty revision of a part, and return its file. No database is opened.

    The part's first revision begins its branch. A revision depends on the newest revisions of the parts that its part
    depends on.

    Raises:
        MigrationError: no part has this name, the parts don't fit together, or the file can't be written.
    """
    parts = tuple(parts)
    part = part_named(parts, name)
    with translated_failures("the revision can't be written", parts), alembic_free_now():
        script = command.revision(configuration(parts), **_revision_arguments(parts, part, message))
        return _path_of(script)


async def generate_revision(database: Database, parts: Iterable[Migrations], name: str, message: str) -> Path | None:
    """Write a revision that makes the database match the part's models; returns None where they match already.

    Raises:
        MigrationError: the part has no metadata, revisions are pending, or a reason of `write_revision`.
        DatabaseUnavailableError, DatabaseRefusedError: the database can't be reached.
    """
    parts = tuple(parts)
    part = part_named(parts, name)
    if part.metadata is None:
        raise MigrationError(
            f"{name!r} has no metadata, so that there is nothing to generate from: give it one, as in "
            f"migrations({name!r}, ..., metadata=Base.metadata), or write the revision by hand"
        )
    if pending := (await state(database, parts)).pending:
        raise MigrationError(
            f"the database isn't up to date, so that models can't be compared with it: {len(pending)} revisions are "
            "pending. Upgrade it first"
        )

    def generate(connection: Connection) -> Path | None:
        with translated_failures("the revision can't be generated", parts):
            config = configuration(parts, connection=connection, metadata=(cast("Any", part.metadata),))
            config.set_main_option("revision_environment", "true")
            hook = partial(_replace_operations, config)
            script = command.revision(
                config, process_revision_directives=hook, **_revision_arguments(parts, part, message)
            )
            return _path_of(script) if script else None

    async with alembic_free():
        return await connected(database, generate)


def make_folder(package: str) -> Path:
    """Make a package's folder for revisions, with an ``__init__.py`` so that every build backend ships the folder.

    Raises:
        MigrationError: the package can't be imported, or has such a folder already.
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
        MigrationError: no part has this name.
    """
    for part in parts:
        if part.name == name:
            return part
    known = ", ".join(repr(part.name) for part in parts)
    raise MigrationError(f"no part {name!r} brings migrations. " + (f"There are {known}" if known else "None does"))


def _revision_arguments(parts: Sequence[Migrations], part: Migrations, message: str) -> dict[str, Any]:
    files = tuple(revision_files(part.folder))
    position = {"head": f"{part.name}@head"} if files else {"head": "base", "branch_label": part.name}
    known = {name for file in files for name in file.depends_on}
    heads = [head for name in part.depends_on for head in _find_heads(part_named(parts, name)) if head not in known]
    return {"message": message, "version_path": str(part.folder), "depends_on": heads or None, **position}


def _find_heads(part: Migrations) -> list[str]:
    files = tuple(revision_files(part.folder))
    followed = {name for file in files for name in file.down_revision}
    return [file.revision for file in files if file.revision not in followed]


def _replace_operations(config: Config, context: MigrationContext, _revision: Any, directives: list[Any]) -> None:
    # Alembic's own --autogenerate refuses a database as outdated where the newest revision of a part is one that
    # another part depends on. So the operations are produced here, and replace those of an empty revision.
    produced = produce_migrations(context, cast("Any", list(config.attributes["metadata"])))
    if produced.upgrade_ops is None or produced.upgrade_ops.is_empty():
        directives.clear()
        return
    directives[0].upgrade_ops = produced.upgrade_ops
    directives[0].downgrade_ops = produced.downgrade_ops


def _path_of(script: Script | list[Script | None] | None) -> Path:
    if not isinstance(script, Script):
        raise MigrationError("Alembic wrote no revision, or several")
    return Path(script.path)
