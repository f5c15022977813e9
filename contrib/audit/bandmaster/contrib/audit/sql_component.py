"""The component of the store in the database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

from bandmaster.contrib.audit.chain.keys import ChainKeys
from bandmaster.contrib.audit.settings import AuditSettings
from bandmaster.contrib.audit.stores.enforcement import find_missing_triggers
from bandmaster.contrib.audit.stores.sql_store import SqlAuditStore
from bandmaster.contrib.audit.stores.store import AuditStore
from bandmaster.contrib.audit.stores.tables import is_in_database
from bandmaster.contrib.persistence import DatabaseManager, DatabaseSchema, DatabaseSettings
from bandmaster.kernel import BandmasterError, LifespanBand, get_logger, lifespan

_POSTGRESQL = "postgres"


def make_own_settings(settings: AuditSettings, database: DatabaseSettings) -> DatabaseSettings:
    """The settings of the connections for entries in transactions of their own: a small pool of the same database."""
    return database.model_copy(update={"pool_size": settings.pool_size, "max_overflow": 0})


def count_connections(settings: AuditSettings, database: DatabaseSettings) -> Mapping[str, int]:
    """The budget: the connections for entries in transactions of their own."""
    return {_POSTGRESQL: settings.pool_size} if database.is_postgresql else {}


@lifespan(band=LifespanBand.PERSISTENCE, name="audit_sql_store", when=is_in_database, budget=count_connections)
async def audit_sql_store(
    settings: AuditSettings, database: DatabaseSettings, manager: DatabaseManager, schema: DatabaseSchema
) -> AsyncIterator[AuditStore]:
    """The audit trail in the database, in tables that migrations of this package make."""
    # Connections of its own: a request that holds one of the application's must not wait for a second one. SQLite in
    # memory has one connection only.
    own = manager if database.is_in_memory else DatabaseManager(make_own_settings(settings, database), "audit")
    try:
        store = SqlAuditStore(own, ChainKeys(settings.keys), lock_timeout=settings.lock_timeout, application=manager)
        await _warn_of_gaps(store)
        yield store
    finally:
        if own is not manager:
            await own.dispose()


async def _warn_of_gaps(store: SqlAuditStore) -> None:
    """Warn of missing triggers. A database that is away is no reason not to start."""
    log = get_logger("bandmaster.audit")
    try:
        missing = await store.run(find_missing_triggers)
    except BandmasterError as error:
        log.warning("it wasn't checked whether the audit trail's tables refuse changes", error=str(error))
        return
    if missing:
        log.warning(
            "the audit trail's tables don't refuse changes: triggers are missing",
            triggers=missing,
            hint="run 'bandmaster db upgrade'; if that was done, somebody has removed them",
        )
