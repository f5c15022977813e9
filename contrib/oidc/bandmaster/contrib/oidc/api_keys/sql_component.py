"""The component of the store of API keys in the database."""

from __future__ import annotations

from collections.abc import AsyncIterator

from bandmaster.contrib.oidc.api_keys.settings import ApiKeySettings
from bandmaster.contrib.oidc.api_keys.sql_store import SqlApiKeyStore
from bandmaster.contrib.oidc.api_keys.store import ApiKeyStore
from bandmaster.contrib.persistence import DatabaseManager, DatabaseSchema
from bandmaster.kernel import LifespanBand, lifespan


def uses_database(settings: ApiKeySettings) -> bool:
    """Whether API keys are switched on, and kept in the database."""
    return settings.is_enabled and settings.store == "sql"


@lifespan(band=LifespanBand.PERSISTENCE, name="api_key_sql_store", when=uses_database)
async def api_key_sql_store(manager: DatabaseManager, schema: DatabaseSchema) -> AsyncIterator[ApiKeyStore]:
    """API keys in the database, in a table that migrations of this package make."""
    yield SqlApiKeyStore(manager)
