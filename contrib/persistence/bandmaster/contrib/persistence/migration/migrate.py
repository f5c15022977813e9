"""Migrate a database, or see how far it is: from inside a running event loop, with errors of one kind."""

from __future__ import annotations

import io
import re
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from alembic import command
from alembic.autogenerate import produce_migrations, render_op_text
from alembic.autogenerate.api import AutogenContext
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.operations.ops import MigrateOperation, ModifyTableOps
from alembic.script import Script, ScriptDirectory
from alembic.script.revision import RevisionError
from sqlalchemy import URL, Connection, MetaData
from sqlalchemy.exc import DBAPIError

from bandmaster.contrib.persistence.migration.branches import MigrationError, Migrations
from bandmaster.contrib.persistence.migration.connection import Database, connected, database_url
from bandmaster.contrib.persistence.migration.environment import comparison, configuration
from bandmaster.contrib.persistence.migration.locking import (
    LOCK_TIMEOUT,
    MigrationLockedError,
    alembic_free,
    alembic_free_now,
    migration_lock,
)


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
    """How far a database is."""

    current: tuple[Revision, ...]
    """For each part that has been migrated, its newest revisions that have been applied."""
    pending: tuple[Revision, ...]
    """What an upgrade would apply, in that order."""
    unknown: tuple[str, ...]
    """Revisions that the database has and no part knows: of a part that was removed, or of newer code."""


async def upgrade(
    database: Database,
    parts: Iterable[Migrations],
    revision: str = "heads",
    *,
    lock_timeout: float = LOCK_TIMEOUT,
) -> tuple[Revision, ...]:
    """Apply what is pending, each revision in a transaction of its own; returns what was applied, in that order.

    ``revision`` is one of Alembic's words: ``heads``, ``shop@head``, an id, ``shop@+1``. Safe with several processes
    at once: one works, the others wait, for ``lock_timeout`` seconds at most. On SQLite all of it is one transaction.

    Raises:
        MigrationError: a revision failed, and nothing of it remains; or there is none of that name.
        MigrationLockedError: another process is migrating the database.
        DatabaseUnavailableError, DatabaseRefusedError: it can't be had.
    """
    return await _migrate(database, parts, command.upgrade, revision, lock_timeout)


async def downgrade(
    database: Database, parts: Iterable[Migrations], revision: str, *, lock_timeout: float = LOCK_TIMEOUT
) -> tuple[Revision, ...]:
    """Undo revisions; returns those that were undone, in that order.

    ``revision`` is what remains: ``base``, ``shop@base``, an id, ``shop@-1``. Raises what `upgrade` raises.
    """
    return await _migrate(database, parts, command.downgrade, revision, lock_timeout)


async def state(database: Database, parts: Iterable[Migrations]) -> State:
    """How far a database is. Nothing is changed, and no lock is needed.

    Raises:
        MigrationError: the parts don't fit together, or their revisions can't be read.
        DatabaseUnavailableError, DatabaseRefusedError: the database can't be had.
    """
    parts = tuple(parts)

    def look(connection: Connection) -> State:
        with failing("the state of the database can't be told", parts):
            return _state(connection, _scripts(parts), parts)

    return await connected(database, look)


async def current(database: Database, parts: Iterable[Migrations]) -> tuple[Revision, ...]:
    """The newest applied revisions of each part; raises what `state` raises."""
    return (await state(database, parts)).current


async def pending(database: Database, parts: Iterable[Migrations]) -> tuple[Revision, ...]:
    """What an upgrade would apply, in that order; raises what `state` raises."""
    return (await state(database, parts)).pending


async def differences(database: Database, parts: Iterable[Migrations]) -> tuple[str, ...]:
    """What models have and the database hasn't, or the other way round: each the operation that would mend it.

    Only meaningful where nothing is pending. Tables of nobody's metadata are left alone. Raises what `state` raises.
    """
    parts = tuple(parts)

    def compare(connection: Connection) -> tuple[str, ...]:
        with failing("models can't be compared with the database", parts):
            return _differences(connection, configuration(parts))

    return await connected(database, compare)


def script(url: URL | str, parts: Iterable[Migrations], revision: str = "heads", *, down: bool = False) -> str:
    """The SQL of an upgrade, or with ``down`` of a downgrade (``from:to``), for somebody else to run.

    Nothing is connected to: the URL names the dialect. It begins at an empty database unless ``revision`` is
    ``from:to``. The lock against other processes isn't part of it.

    Raises:
        MigrationError: the parts don't fit together, there is no such revision, or one needs a live database.
        ValueError: the text isn't a URL.
    """
    parts = tuple(parts)
    output = io.StringIO()
    url = database_url(url)
    with failing("the SQL can't be written", parts):
        run = command.downgrade if down else command.upgrade
        config = configuration(parts, url=url, output=output)
        with alembic_free_now():
            run(config, revision, sql=True)
    return output.getvalue()


def history(parts: Iterable[Migrations]) -> tuple[Revision, ...]:
    """All revisions in an order in which they can be applied. No database is asked.

    Raises:
        MigrationError: the parts don't fit together, or their revisions can't be read.
    """
    parts = tuple(parts)
    with failing("the revisions can't be read", parts):
        return _upwards(_scripts(parts), "heads", (), parts)


async def _migrate(
    database: Database,
    parts: Iterable[Migrations],
    run: Callable[[Config, str], None],
    revision: str,
    lock_timeout: float,
) -> tuple[Revision, ...]:
    parts = tuple(parts)
    verb = run.__name__

    def migrate(connection: Connection) -> tuple[Revision, ...]:
        done: list[Revision] = []
        config = configuration(parts, connection=connection)
        scripts = ScriptDirectory.from_config(config)

        def note(*, step: Any, **_: Any) -> None:
            done.extend(_described(scripts.get_revision(name), parts) for name in step.up_revision_ids)

        config.attributes["on_version_apply"] = note
        # Elsewhere all of it is one transaction, of which nothing remains.
        kept = done if connection.dialect.name != "sqlite" and not connection.in_transaction() else ()
        with failing(f"the {verb} to {revision!r} failed", parts, kept), migration_lock(connection, lock_timeout):
            run(config, revision)
        return tuple(done)

    async with alembic_free():
        return await connected(database, migrate)


@contextmanager
def failing(what: str, parts: Sequence[Migrations], done: Sequence[Revision] = ()) -> Iterator[None]:
    """Whatever Alembic, a driver or a revision raises reaches callers as a `MigrationError` that says where."""
    try:
        yield
    except (MigrationError, MigrationLockedError):
        raise
    except Exception as error:
        told = f"{what}{_place(error, parts)}: {_said(error)}"
        if done:
            told += f". Before it, these succeeded: {', '.join(map(str, done))}"
        raise MigrationError(told) from error


def _place(error: BaseException, parts: Sequence[Migrations]) -> str:
    folders = {str(part.folder): part for part in parts}
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if part := folders.get(str(Path(frame.filename).parent)):
            return f" in {part.name!r}, {frame.filename}:{frame.lineno}, {frame.name}"
    return ""


def _said(error: BaseException) -> str:
    # The driver's own words, without SQLAlchemy's, which repeat statement and values.
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    said = " ".join(str(cause).split())
    if match := re.match(r"Can't locate revision identified by '(\w+)'", said):
        return (
            f"the database is at revision {match[1]!r}, or you named it, and no part has it. Was a part removed before "
            "its migrations were undone? Install it again; or is this older code than the database's?"
        )
    return f"{type(cause).__name__}: {said}" if said else type(cause).__name__


def _scripts(parts: Sequence[Migrations]) -> ScriptDirectory:
    return ScriptDirectory.from_config(configuration(parts))


def _state(connection: Connection, scripts: ScriptDirectory, parts: Sequence[Migrations]) -> State:
    heads = MigrationContext.configure(connection).get_current_heads()
    unknown = tuple(sorted(name for name in heads if not _knows(scripts, name)))
    known = tuple(name for name in heads if name not in unknown)
    every = _upwards(scripts, "heads", (), parts)
    waiting = _upwards(scripts, "heads", known, parts)
    applied = {revision.id for revision in every} - {revision.id for revision in waiting}
    followed = {before for name in applied for before in _ids(scripts.get_revision(name).down_revision)}
    newest = tuple(revision for revision in every if revision.id in applied - followed)
    return State(newest, waiting, unknown)


def _upwards(
    scripts: ScriptDirectory, upper: str, lower: tuple[str, ...], parts: Sequence[Migrations]
) -> tuple[Revision, ...]:
    found = list(scripts.iterate_revisions(upper, lower, implicit_base=True))
    return tuple(_described(revision, parts) for revision in reversed(found))


def _described(found: Script, parts: Sequence[Migrations]) -> Revision:
    names = [part.name for part in parts if part.name in found.branch_labels]
    return Revision(found.revision, ", ".join(names), found.doc, Path(found.path))


def _knows(scripts: ScriptDirectory, name: str) -> bool:
    try:
        return scripts.revision_map.get_revision(name) is not None
    except RevisionError:
        return False


def _ids(said: str | Sequence[str] | None) -> tuple[str, ...]:
    if said is None:
        return ()
    return (said,) if isinstance(said, str) else tuple(said)


def _differences(connection: Connection, config: Config) -> tuple[str, ...]:
    metadata = config.attributes["metadata"]
    if not metadata:
        return ()
    options = comparison(metadata, connection)
    context = MigrationContext.configure(connection, opts=options)
    several = cast("MetaData", list(metadata))  # which Alembic takes as well
    found = produce_migrations(context, several).upgrade_ops
    rendering = AutogenContext(
        context,
        several,
        {"sqlalchemy_module_prefix": "sa.", "alembic_module_prefix": "op.", "user_module_prefix": None},
    )
    steps = found.ops if found is not None else []
    return tuple(" ".join(render_op_text(rendering, step).split()) for step in _single(steps))


def _single(steps: Iterable[MigrateOperation]) -> Iterator[MigrateOperation]:
    for step in steps:
        if isinstance(step, ModifyTableOps):
            yield from _single(step.ops)
        else:
            yield step
