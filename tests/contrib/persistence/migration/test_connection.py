"""Connections for migrations, from a URL, an engine or a connection."""

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine
from tests.contrib.persistence.migration.databases import tables
from tests.contrib.persistence.migration.parts import shop

from bandmaster.contrib.persistence.errors import DatabaseRefusedError, DatabaseUnavailableError
from bandmaster.contrib.persistence.migration.connection import APPLICATION_NAME, connected
from bandmaster.contrib.persistence.migration.locking import (
    MigrationLockedError,
)
from bandmaster.contrib.persistence.migration.migrate import downgrade, upgrade
from bandmaster.kernel.testing import free_port

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("kind", ["connection", "engine"])
@pytest.mark.parametrize("database", ["postgresql+psycopg", "postgresql+asyncpg", "sqlite+aiosqlite"], indirect=True)
async def test_given_connections_and_engines_are_used(database, tmp_path, kind):
    """A given connection or engine stays open, and the lock is released."""
    parts = [shop(tmp_path)]
    engine = create_async_engine(database)
    try:
        if kind == "engine":
            assert 2 == len(await upgrade(engine, parts))
            assert 2 == len(await downgrade(engine, parts, "base"))
        else:
            async with engine.connect() as connection:
                assert 2 == len(await upgrade(connection, parts))
                assert not connection.in_transaction()
                assert 2 == len(await downgrade(connection, parts, "base"))
        assert 2 == len(await upgrade(database, parts, lock_timeout=0.01))
    finally:
        await engine.dispose()


@pytest.mark.parametrize("database", ["postgresql+psycopg", "postgresql+asyncpg", "sqlite+aiosqlite"], indirect=True)
async def test_a_transaction_that_has_begun_is_the_callers(database, tmp_path):
    """The caller commits or rolls back its own transaction, and the lock ends with the transaction."""
    parts = [shop(tmp_path)]
    engine = create_async_engine(database)
    async with engine.connect() as connection:
        await connection.begin()
        assert 2 == len(await upgrade(connection, parts))
        assert connection.in_transaction()
        with pytest.raises(MigrationLockedError):
            await upgrade(database, parts, lock_timeout=0.01)
        await connection.rollback()
    assert [] == await tables(database)
    assert 2 == len(await upgrade(database, parts, lock_timeout=1))
    await engine.dispose()


async def test_connections_for_migrations_have_a_name(database):
    """Connections for migrations have an application name."""
    name = "SELECT application_name FROM pg_stat_activity WHERE pid = pg_backend_pid()"
    for driver in ("postgresql+psycopg", "postgresql+asyncpg"):
        url = sa.make_url(database).set(drivername=driver)
        assert APPLICATION_NAME == await connected(url, lambda c: c.exec_driver_sql(name).scalar_one())
    url = sa.make_url(database).update_query_dict({"application_name": "mine"})
    assert "mine" == await connected(url, lambda c: c.exec_driver_sql(name).scalar_one())


async def test_an_unreachable_or_refusing_database(postgres_database, tmp_path):
    """Each error names the database, and shows no password."""
    parts = [shop(tmp_path)]
    good = sa.make_url(postgres_database.owner_url())
    for driver in ("postgresql+psycopg", "postgresql+asyncpg"):
        nowhere = good.set(drivername=driver, port=free_port())
        with pytest.raises(DatabaseUnavailableError, match=f"postgresql '{good.database}' at .* can't be reached"):
            await upgrade(nowhere, parts)
        with pytest.raises(DatabaseRefusedError, match="password authentication failed") as caught:
            await upgrade(good.set(drivername=driver, password="hunter2"), parts)
        assert "hunter2" not in str(caught.value)
    for url in ("sqlite:////no/such/folder/x.sqlite3", "sqlite+aiosqlite:////no/such/folder/x.sqlite3"):
        with pytest.raises(DatabaseRefusedError, match="can't be used: unable to open database file"):
            await upgrade(url, parts)
    with pytest.raises(ValueError, match="url: expected one such as") as wrong:
        await upgrade("postgres//user:hunter2@host", parts)
    assert "hunter2" not in str(wrong.value) and wrong.value.__suppress_context__
