"""Databases with the tables of the audit trail, made by their migrations, and stores on them."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator

import psycopg
import pytest
import sqlalchemy as sa
from pydantic import SecretStr
from tests.contrib.persistence.sqlite_threads import sqlite_threads

from bandmaster.contrib.audit import AuditLog, MemoryAuditStore
from bandmaster.contrib.audit.chain.keys import ChainKeys
from bandmaster.contrib.audit.stores.sql_store import SqlAuditStore
from bandmaster.contrib.audit.stores.tables import audit_migrations
from bandmaster.contrib.persistence import DatabaseManager, DatabaseSettings
from bandmaster.contrib.persistence.migration import migrate

KEY = "a-key-of-the-chain-for-these-tests-alone"
OLD_KEY = "an-older-key-of-the-chain-that-was-replaced"


@pytest.fixture
def anyio_backend() -> str:
    """SQLAlchemy's asynchronous engines run on asyncio only."""
    return "asyncio"


@pytest.fixture
def keys() -> ChainKeys:
    return ChainKeys({"2026": SecretStr(KEY)})


@pytest.fixture(params=["sqlite", "psycopg"])
def database_url(request: pytest.FixtureRequest, tmp_path) -> str:
    """The URL of an empty database; of the role that owns its tables."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'audit.sqlite3'}"
    return request.getfixturevalue("postgres_database").owner_url(driver=request.param)


@pytest.fixture
async def manager(database_url: str) -> AsyncIterator[DatabaseManager]:
    """A manager of a database that has the tables."""
    await migrate.upgrade(sa.make_url(DatabaseSettings(url=database_url).url), (audit_migrations.value,))
    manager = DatabaseManager(DatabaseSettings(url=database_url, connect_timeout=20, slow_query=0, lock_timeout=20))
    yield manager
    await manager.dispose()


@pytest.fixture
async def own_manager(manager: DatabaseManager) -> AsyncIterator[DatabaseManager]:
    """The connections of the audit trail itself."""
    own = DatabaseManager(manager.settings.model_copy(update={"pool_size": 2, "max_overflow": 0}), "audit")
    yield own
    await own.dispose()


@pytest.fixture
def store(manager: DatabaseManager, own_manager: DatabaseManager, keys: ChainKeys) -> SqlAuditStore:
    return SqlAuditStore(own_manager, keys, application=manager)


@pytest.fixture
def audit(store: SqlAuditStore) -> AuditLog:
    return AuditLog(store)


@pytest.fixture
def memory(keys: ChainKeys) -> MemoryAuditStore:
    return MemoryAuditStore(keys)


@pytest.fixture
def execute(manager: DatabaseManager, database_url: str):
    """Runs statements as the owner, past the application; returns the rows of the last one."""

    def run(*statements: str, parameters=()):
        url = sa.make_url(database_url)
        if url.get_backend_name() == "sqlite":
            connection = sqlite3.connect(url.database, timeout=20)
        else:
            connection = psycopg.connect(database_url.replace("+psycopg", ""))
        try:
            cursor = connection.cursor()
            for statement in statements:
                cursor.execute(statement, parameters)
            rows = cursor.fetchall() if cursor.description else []
            connection.commit()
            return rows
        finally:
            connection.close()

    return run


@pytest.fixture
def tamper(execute, database_url):
    """Runs statements behind the back of the triggers, as somebody who owns the tables can."""

    def run(*statements: str, parameters=()):
        if database_url.startswith("sqlite"):
            triggers = execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
            drops = [f"DROP TRIGGER {name}" for name, _ in triggers]
            again = [sql for _, sql in triggers]
        else:
            drops = [f"ALTER TABLE {table} DISABLE TRIGGER USER" for table in ("audit_entries", "audit_personal")]
            again = [
                f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_{kind}"
                for table in ("audit_entries", "audit_personal")
                for kind in ("guard", "truncate")
            ]
        execute(*drops)
        for statement in statements:
            execute(statement, parameters=parameters)
        execute(*again)

    return run


@pytest.fixture(autouse=True)
def no_sqlite_thread_is_left():
    """Each test ends the threads of its SQLite connections: a later one would report to a closed event loop."""
    before = set(sqlite_threads())
    yield
    left = [thread for thread in sqlite_threads() if thread not in before]
    for thread in left:
        thread.join(5)
    assert [] == [thread for thread in left if thread.is_alive()]
