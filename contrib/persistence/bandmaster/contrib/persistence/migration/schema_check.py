"""Whether a database has the tables that the code expects: looked at, or seen to, at the start."""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from bandmaster.contrib.persistence.manager import DatabaseManager
from bandmaster.contrib.persistence.migration.branches import MigrationError, collect
from bandmaster.contrib.persistence.migration.migrate import Revision, State, state, upgrade
from bandmaster.kernel import Context


@dataclass(frozen=True, slots=True)
class DatabaseSchema:
    """The tables of all parts that bring migrations. A component that asks for it starts when they are there."""

    current: tuple[Revision, ...]
    """Of each part the newest revisions that the database has."""
    applied: tuple[Revision, ...] = ()
    """What was applied at this start."""


async def seen_to(manager: DatabaseManager, context: Context) -> DatabaseSchema:
    """Apply what is pending, if the settings say so; else see whether something is.

    Raises:
        MigrationError: migrations don't fit together, one fails, or some are pending where that is refused.
        MigrationLockedError: another process takes too long to apply them.
    """
    settings = manager.settings
    parts = collect(context.plan)
    if not parts or (settings.schema_check == "off" and not settings.migrates):
        return DatabaseSchema(())
    # An embedded database in memory is one connection's alone.
    database = manager.engine if settings.is_in_memory else settings.migration_dsn
    applied: tuple[Revision, ...] = ()
    if settings.migrates:
        # Migrations may take their time: each bounds its own statements, if it must.
        context.extend_timeout(_PATIENCE)
        applied = await upgrade(database, parts)
        for revision in applied:
            _log().info("migration applied", database=manager.name, revision=str(revision))
    found = await state(database, parts)
    if told := _amiss(found):
        hint = f"run 'bandmaster db upgrade', or set {settings.variable('migrate_on_start')}=true"
        if settings.schema_check == "refuse":
            raise MigrationError(f"the schema of {manager.name!r} isn't the code's: {told}; {hint}")
        _log().warning("schema", database=manager.name, remark=told, hint=hint)
    return DatabaseSchema(found.current, applied)


_PATIENCE = 600.0
"""Seconds that a start with migrations may take."""


def _amiss(found: State) -> str:
    pending = [f"{len(found.pending)} pending ({', '.join(map(str, found.pending))})"] if found.pending else []
    unknown = [f"at {name}, which no part knows" for name in found.unknown]
    return " and ".join([*pending, *unknown])


def _log() -> structlog.typing.FilteringBoundLogger:
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger("bandmaster.persistence")
    return logger
