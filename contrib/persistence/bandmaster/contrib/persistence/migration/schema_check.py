"""Check at the start that a database has all revisions, or apply them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bandmaster.contrib.persistence.errors import DatabaseUnavailableError
from bandmaster.contrib.persistence.log import log
from bandmaster.contrib.persistence.manager import DatabaseManager
from bandmaster.contrib.persistence.migration.branches import MigrationError
from bandmaster.contrib.persistence.migration.contribution import collect
from bandmaster.contrib.persistence.reachability import naming_variable
from bandmaster.kernel import Context

if TYPE_CHECKING:
    from bandmaster.contrib.persistence.migration.state import Revision, State


@dataclass(frozen=True, slots=True)
class DatabaseSchema:
    """The tables of all parts with migrations. A component that asks for this type starts when the tables exist."""

    current: tuple[Revision, ...]
    """The newest applied revisions of each part."""
    applied: tuple[Revision, ...] = ()
    """The revisions that were applied at this start."""


async def check_schema(manager: DatabaseManager, context: Context) -> DatabaseSchema:
    """Apply pending revisions if the settings say so, and report those that are still pending.

    Raises:
        MigrationError: migrations don't fit together, one fails, or some are pending and ``schema_check`` is
            ``refuse``.
        MigrationLockedError: another process takes too long to apply them.
        DatabaseUnavailableError: the database is away, which isn't critical, but its schema has to be checked.
    """
    settings = manager.settings
    parts = collect(context.plan)
    if not parts or (settings.schema_check == "off" and not settings.migrates):
        return DatabaseSchema(())
    if not manager.is_checked:
        return _skip_check(manager)
    # Alembic, which a plan doesn't need, takes as long to import as half of SQLAlchemy.
    from bandmaster.contrib.persistence.migration.migrate import upgrade
    from bandmaster.contrib.persistence.migration.state import state

    # A database in memory exists in the manager's own connection only.
    database = manager.engine if settings.is_in_memory else settings.migration_dsn
    variable = settings.variable("url" if settings.migration_url is None else "migration_url")
    applied: tuple[Revision, ...] = ()
    if settings.migrates:
        # Migrations may take long. A revision that needs a bound sets its own statement_timeout.
        context.extend_timeout(_TIMEOUT)
        with naming_variable(variable):
            applied = await upgrade(database, parts)
        if applied:
            log().info("migrations applied", database=manager.name, revisions=[str(revision) for revision in applied])
    with naming_variable(variable):
        found = await state(database, parts)
    if problem := _describe_problem(found):
        hint = f"run 'bandmaster db upgrade', or set {settings.variable('migrate_on_start')}=true"
        if settings.schema_check == "refuse":
            raise MigrationError(f"the schema of {manager.name!r} doesn't match the code: {problem}; {hint}")
        log().warning("schema", database=manager.name, remark=problem, hint=hint)
    return DatabaseSchema(found.current, applied)


def _skip_check(manager: DatabaseManager) -> DatabaseSchema:
    settings = manager.settings
    if settings.migrates or settings.schema_check == "refuse":
        raise DatabaseUnavailableError(
            f"the schema of {manager.name!r} can't be checked, because the database is away. A start without it needs "
            f"{settings.variable('schema_check')}=warn, without {settings.variable('migrate_on_start')}"
        )
    log().warning("schema", database=manager.name, remark="not checked, because the database is away")
    return DatabaseSchema(())


_TIMEOUT = 600.0
"""Seconds for a start with migrations."""


def _describe_problem(found: State) -> str:
    pending = [f"{len(found.pending)} pending ({', '.join(map(str, found.pending))})"] if found.pending else []
    unknown = [f"at {name}, which no part knows" for name in found.unknown]
    return " and ".join([*pending, *unknown])
