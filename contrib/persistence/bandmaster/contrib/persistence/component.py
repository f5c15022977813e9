"""The components of a database: manager, request-scoped sessions, schema."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from bandmaster.contrib.persistence.engine_observers import EngineObserver
from bandmaster.contrib.persistence.log import log
from bandmaster.contrib.persistence.manager import DatabaseManager
from bandmaster.contrib.persistence.migration.branches import MigrationError
from bandmaster.contrib.persistence.migration.contribution import collect
from bandmaster.contrib.persistence.migration.schema_check import DatabaseSchema, check_schema
from bandmaster.contrib.persistence.server_check import BUDGET, check_server
from bandmaster.contrib.persistence.settings import DatabaseSettings
from bandmaster.contrib.persistence.tenancy.isolation_check import check_isolation
from bandmaster.kernel import (
    Context,
    EventLoop,
    KernelSettings,
    LifespanBand,
    LifespanContribution,
    Plan,
    Problem,
    Scoped,
    lifespan,
    named_settings,
)


def connections(settings: DatabaseSettings) -> Mapping[str, int]:
    """The budget of a manager with these settings."""
    return {BUDGET: settings.connections} if settings.is_postgresql else {}


def find_start_problems(
    settings: DatabaseSettings, kernel: KernelSettings, event_loop: EventLoop
) -> Iterator[Problem | str]:
    """The problems of settings with which a start would fail before it connects."""
    if event_loop is EventLoop.TRIO:
        yield Problem("SQLAlchemy runs on asyncio only.", "Set BANDMASTER_SERVER_LOOP to asyncio or uvloop.")
    if settings.echo:
        yield from kernel.refuse_in_production(f"{settings.variable('echo')} logs every value")
    if settings.is_embedded:
        url = settings.variable("url")
        yield from kernel.refuse_in_production(
            f"{url} isn't set, so the database is an embedded SQLite file", f"Set {url}, also for an SQLite file."
        )


@lifespan(band=LifespanBand.PERSISTENCE, name="database", budget=connections, check=find_start_problems)
async def database(
    settings: DatabaseSettings, context: Context, observers: Sequence[EngineObserver]
) -> AsyncIterator[DatabaseManager]:
    """The database, with pools, health check and isolation of tenants."""
    manager = DatabaseManager(settings, context.name, observers=observers)
    try:
        await _check_start(manager, context)
        context.add_probe(context.name, manager.probe, critical=settings.critical, timeout=settings.probe_timeout)
        yield manager
    finally:
        await manager.dispose()


@lifespan(band=LifespanBand.PERSISTENCE, name="database_session")
async def database_session(manager: DatabaseManager) -> AsyncIterator[Scoped[AsyncSession]]:
    """Sessions for a request or task each: committed after a success, rolled back after an exception."""
    yield Scoped(manager.session)


@lifespan(band=LifespanBand.PERSISTENCE, name="database_sync_session")
async def database_sync_session(manager: DatabaseManager) -> AsyncIterator[Scoped[Session]]:
    """Like `database_session`, for synchronous handlers, which run in worker threads."""
    yield Scoped(manager.threaded_session)


def find_migration_problems(plan: Plan) -> Iterator[Problem | str]:
    """The migrations that can't be found, or don't fit together."""
    try:
        collect(plan)
    except MigrationError as error:
        yield Problem(f"{error}.")


@lifespan(band=LifespanBand.PERSISTENCE, name="database_schema", check=find_migration_problems)
async def database_schema(manager: DatabaseManager, context: Context) -> AsyncIterator[DatabaseSchema]:
    """Checks or migrates the tables at the start. A component that needs the tables asks for `DatabaseSchema`."""
    schema = await check_schema(manager, context)
    if schema.applied and manager.settings.tenant_isolation == "rls":
        # The audit at the database's own start ran before these migrations.
        async with manager.reached() as connection:
            await check_isolation(connection, manager.settings, manager.name)
    yield schema


def database_component(name: str, *, prefix: str | None = None) -> LifespanContribution:
    """Another database beside the first: ``Annotated[DatabaseManager, Named(name)]``.

    The settings are those of `DatabaseSettings`, read from variables that begin with ``prefix``; the default for the
    name ``reporting`` is ``REPORTING_DATABASE_``. Use one for replicas, for databases of single tenants, and for work
    across tenants with a role of its own.

    Raises:
        ValueError: ``name`` can't name a component.
    """
    kind = named_settings(DatabaseSettings, name, about=f"the database {name!r}", prefix=prefix)
    return database.named(name, settings=kind, description=f"The database {name!r}, with pools of its own.")


async def _check_start(manager: DatabaseManager, context: Context) -> None:
    settings = manager.settings
    if settings.is_embedded:
        log().warning("embedded database", file=str(settings.file), hint=f"set {settings.variable('url')} to another")
    await check_server(manager, context)
