"""How far a database has been migrated: applied, pending and unknown revisions, differences from the models."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from alembic.autogenerate import produce_migrations, render_op_text
from alembic.autogenerate.api import AutogenContext
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.operations.ops import MigrateOperation, ModifyTableOps
from alembic.script import Script, ScriptDirectory
from alembic.script.revision import RevisionError
from sqlalchemy import Connection, MetaData

from bandmaster.contrib.persistence.migration.branches import Migrations
from bandmaster.contrib.persistence.migration.connection import Database, connected
from bandmaster.contrib.persistence.migration.environment import comparison, configuration
from bandmaster.contrib.persistence.migration.failures import translated_failures


@dataclass(frozen=True, slots=True)
class Revision:
    """One revision of a part's migrations."""

    id: str
    part: str
    message: str
    path: Path

    def __str__(self) -> str:
        return f"{self.part} {self.id}: {self.message}"


@dataclass(frozen=True, slots=True)
class State:
    """The applied, pending and unknown revisions of a database."""

    current: tuple[Revision, ...]
    """The newest applied revisions of each part."""
    pending: tuple[Revision, ...]
    """The revisions that an upgrade would apply, in that order."""
    unknown: tuple[str, ...]
    """Ids of applied revisions that no part has: the part was removed, or the code is older than the database."""


async def state(database: Database, parts: Iterable[Migrations]) -> State:
    """Read how far a database has been migrated. Nothing is changed, and no lock is needed.

    Raises:
        MigrationError: the parts don't fit together, or their revisions can't be read.
        DatabaseUnavailableError, DatabaseRefusedError: the database can't be reached.
    """
    parts = tuple(parts)

    def read(connection: Connection) -> State:
        with translated_failures("the state of the database can't be read", parts):
            return _read_state(connection, _load_scripts(parts), parts)

    return await connected(database, read)


async def differences(database: Database, parts: Iterable[Migrations]) -> tuple[str, ...]:
    """Compare the models with a database: for each difference the Alembic operation that would remove it.

    The result is only meaningful where no revision is pending. Tables that are in no part's metadata are ignored.
    Raises the errors of `state`.
    """
    parts = tuple(parts)

    def compare(connection: Connection) -> tuple[str, ...]:
        with translated_failures("models can't be compared with the database", parts):
            return _find_differences(connection, configuration(parts))

    return await connected(database, compare)


def history(parts: Iterable[Migrations]) -> tuple[Revision, ...]:
    """All revisions, in an order in which they can be applied. No database is opened.

    Raises:
        MigrationError: the parts don't fit together, or their revisions can't be read.
    """
    parts = tuple(parts)
    with translated_failures("the revisions can't be read", parts):
        return _list_upwards(_load_scripts(parts), (), parts)


def describe_revision(found: Script, parts: Sequence[Migrations]) -> Revision:
    """The `Revision` of one of Alembic's scripts."""
    names = [part.name for part in parts if part.name in found.branch_labels]
    return Revision(found.revision, ", ".join(names), found.doc, Path(found.path))


def _load_scripts(parts: Sequence[Migrations]) -> ScriptDirectory:
    return ScriptDirectory.from_config(configuration(parts))


def _read_state(connection: Connection, scripts: ScriptDirectory, parts: Sequence[Migrations]) -> State:
    heads = MigrationContext.configure(connection).get_current_heads()
    unknown = tuple(sorted(name for name in heads if not _has_revision(scripts, name)))
    known = tuple(name for name in heads if name not in unknown)
    every = _list_upwards(scripts, (), parts)
    pending = _list_upwards(scripts, known, parts)
    applied = {revision.id for revision in every} - {revision.id for revision in pending}
    followed = {before for name in applied for before in _to_ids(scripts.get_revision(name).down_revision)}
    newest = tuple(revision for revision in every if revision.id in applied - followed)
    return State(newest, pending, unknown)


def _list_upwards(
    scripts: ScriptDirectory, lower: tuple[str, ...], parts: Sequence[Migrations]
) -> tuple[Revision, ...]:
    found = list(scripts.iterate_revisions("heads", lower, implicit_base=True))
    return tuple(describe_revision(revision, parts) for revision in reversed(found))


def _has_revision(scripts: ScriptDirectory, name: str) -> bool:
    try:
        return scripts.revision_map.get_revision(name) is not None
    except RevisionError:
        return False


def _to_ids(down_revision: str | Sequence[str] | None) -> tuple[str, ...]:
    if down_revision is None:
        return ()
    return (down_revision,) if isinstance(down_revision, str) else tuple(down_revision)


def _find_differences(connection: Connection, config: Config) -> tuple[str, ...]:
    metadata = config.attributes["metadata"]
    if not metadata:
        return ()
    context = MigrationContext.configure(connection, opts=comparison(metadata, connection))
    several = cast("MetaData", list(metadata))  # Alembic takes a list, too, but its annotation doesn't say so
    found = produce_migrations(context, several).upgrade_ops
    rendering = AutogenContext(
        context,
        several,
        {"sqlalchemy_module_prefix": "sa.", "alembic_module_prefix": "op.", "user_module_prefix": None},
    )
    steps = found.ops if found is not None else []
    return tuple(" ".join(render_op_text(rendering, step).split()) for step in _flatten(steps))


def _flatten(steps: Iterable[MigrateOperation]) -> Iterator[MigrateOperation]:
    for step in steps:
        if isinstance(step, ModifyTableOps):
            yield from _flatten(step.ops)
        else:
            yield step
