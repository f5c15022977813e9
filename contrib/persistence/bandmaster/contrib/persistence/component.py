"""A database as a component: seen to be there at the start, probed while it serves, closed at the stop."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.orm import Session

from bandmaster.contrib.persistence.connection_limit import usable_connections
from bandmaster.contrib.persistence.errors import DatabaseRefusedError, TenantIsolationError
from bandmaster.contrib.persistence.manager import DatabaseManager
from bandmaster.contrib.persistence.migration.schema_check import DatabaseSchema, seen_to
from bandmaster.contrib.persistence.settings import DatabaseSettings
from bandmaster.contrib.persistence.tenancy.audit import audit_isolation
from bandmaster.kernel import Context, LifespanBand, LifespanContribution, Named, Scoped, lifespan, named_settings

BUDGET = "postgres"
"""What connections to PostgreSQL are counted under."""


def connections(settings: DatabaseSettings) -> Mapping[str, int]:
    """The budget of a manager with these settings."""
    return {BUDGET: settings.connections} if settings.is_postgresql else {}


@lifespan(band=LifespanBand.PERSISTENCE, name="database", budget=connections)
async def database(settings: DatabaseSettings, context: Context) -> AsyncIterator[DatabaseManager]:
    """The database, with its pools, its health check and the isolation of its tenants."""
    manager = DatabaseManager(settings, context.name)
    try:
        await _see_to_it(manager, context)
        context.add_probe(context.name, manager.ping, critical=settings.critical, timeout=settings.probe_timeout)
        yield manager
    finally:
        await manager.dispose()


@lifespan(band=LifespanBand.PERSISTENCE, name="database_session")
async def database_session(manager: DatabaseManager) -> AsyncIterator[Scoped[AsyncSession]]:
    """Sessions for a request or task each: committed when it succeeds, rolled back when it raises."""
    yield Scoped(manager.session)


@lifespan(band=LifespanBand.PERSISTENCE, name="database_sync_session")
async def database_sync_session(manager: DatabaseManager) -> AsyncIterator[Scoped[Session]]:
    """The same for synchronous handlers, which run in worker threads."""
    yield Scoped(manager.threaded_session)


@lifespan(band=LifespanBand.PERSISTENCE, name="database_schema")
async def database_schema(manager: DatabaseManager, context: Context) -> AsyncIterator[DatabaseSchema]:
    """Sees to it that the database has the tables that the code expects: who needs them asks for `DatabaseSchema`."""
    schema = await seen_to(manager, context)
    settings = manager.settings
    if schema.applied and settings.tenant_isolation == "rls" and settings.tenant_audit != "off":
        # What the migrations made has not been looked at when the database started.
        async with manager.reached() as connection:
            await _check_isolation(connection, manager)
    yield schema


def database_component(name: str, *, prefix: str | None = None) -> LifespanContribution:
    """Another database beside the first: ``Annotated[DatabaseManager, Named(name)]``.

    Its settings are those of `DatabaseSettings`, read from variables that begin with ``prefix``; ``REPORTING_DATABASE_``
    for the name ``reporting``. For replicas, databases of single tenants, and work across tenants with a role of its
    own.

    Raises:
        ValueError: the name is no name of a component.
    """
    Named(name)  # which says what names are like
    kind = named_settings(DatabaseSettings, name, about=f"the database {name!r}", prefix=prefix)

    async def another(settings: Any, context: Context) -> AsyncIterator[Any]:
        async with database.factory(settings, context) as manager:
            yield manager

    another.__annotations__ |= {"settings": kind, "return": AsyncIterator[Annotated[DatabaseManager, Named(name)]]}

    def budget(settings: DatabaseSettings) -> Mapping[str, int]:
        return connections(settings)

    budget.__annotations__ |= {"settings": kind}
    return lifespan(
        band=LifespanBand.PERSISTENCE,
        name=name,
        budget=budget,
        description=f"The database {name!r}, with pools of its own.",
    )(another)


async def _see_to_it(manager: DatabaseManager, context: Context) -> None:
    settings = manager.settings
    if context.settings.is_production:
        _refuse_in_production(settings)
    if settings.is_embedded:
        _log().warning("embedded database", file=str(settings.file), hint=f"set {settings.variable('url')} to another")
    async with manager.reached() as connection:
        if settings.is_postgresql:
            await _check_budget(connection, settings, context)
            if settings.tenant_isolation == "rls" and settings.tenant_audit != "off":
                await _check_isolation(connection, manager)


def _refuse_in_production(settings: DatabaseSettings) -> None:
    if settings.echo:
        raise DatabaseRefusedError(
            f"{settings.variable('echo')} logs every value: it is refused while environment is production"
        )
    if settings.is_embedded:
        raise DatabaseRefusedError(
            f"{settings.variable('url')} isn't set, and the embedded SQLite is refused while environment is production: name the "
            "database, if it is to be SQLite as well"
        )


async def _check_budget(connection: AsyncConnection, settings: DatabaseSettings, context: Context) -> None:
    # PgBouncer's own limits count where it stands in between, which PostgreSQL can't tell.
    if not settings.pgbouncer:
        context.check_budget(BUDGET, await usable_connections(connection))
    elif BUDGET in context.settings.limits:
        context.check_budget(BUDGET, context.settings.limits[BUDGET])


async def _check_isolation(connection: AsyncConnection, manager: DatabaseManager) -> None:
    settings = manager.settings
    found = await audit_isolation(
        connection,
        column=settings.tenant_column,
        setting=settings.tenant_setting,
        unprotected=settings.tenant_unprotected,
    )
    for remark in found.remarks:
        _log().warning("tenant isolation", database=manager.name, remark=str(remark))
    if not found.protected and not found.findings:
        _log().warning(
            "tenant isolation",
            database=manager.name,
            remark=f"no table has the column {settings.tenant_column}: has it been migrated?",
        )
    if not found.findings:
        return
    lines = "".join(f"\n  - {finding}" for finding in found.findings)
    message = f"tenants of {manager.name!r} could see each other's rows:{lines}"
    if settings.tenant_audit == "refuse":
        raise TenantIsolationError(
            f"{message}\nMend it, name what may stay open in {settings.variable('tenant_unprotected')}, or set "
            f"{settings.variable('tenant_audit')}=warn"
        )
    _log().warning("tenant isolation", database=manager.name, remark=message)


def _log() -> Any:
    return structlog.get_logger("bandmaster.persistence")
