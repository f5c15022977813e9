"""A clock that the test owns, peppers, and the stores of API keys."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import sqlalchemy as sa
from pydantic import SecretStr
from tests.contrib.oidc.clock import Clock
from tests.contrib.persistence.sqlite_threads import sqlite_threads

from bandmaster.contrib.oidc import ApiKeys, ApiKeySettings, HmacSha256Hasher, MemoryApiKeyStore, SqlApiKeyStore
from bandmaster.contrib.oidc.api_keys.tables import metadata
from bandmaster.contrib.persistence import DatabaseManager, DatabaseSettings

PEPPER = "a-pepper-of-this-test-and-of-no-other-one"
OLD_PEPPER = "an-older-pepper-that-made-some-of-the-keys"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def settings() -> ApiKeySettings:
    return ApiKeySettings(peppers={"2026": SecretStr(PEPPER)}, rotation_grace=100)


@pytest.fixture
def hasher(settings: ApiKeySettings) -> HmacSha256Hasher:
    return HmacSha256Hasher(settings.peppers)


@pytest.fixture
def store() -> MemoryApiKeyStore:
    return MemoryApiKeyStore()


@pytest.fixture
def keys(store: MemoryApiKeyStore, hasher: HmacSha256Hasher, settings: ApiKeySettings, clock: Clock) -> ApiKeys:
    return ApiKeys(store, hasher, settings, clock=clock)


@pytest.fixture
def database_url(request: pytest.FixtureRequest, tmp_path) -> str:
    """The URL of an empty database of the driver that the test names; an SQLite file by default."""
    driver = getattr(request, "param", "sqlite")
    if driver == "sqlite":
        return f"sqlite:///{tmp_path / 'keys.sqlite3'}"
    return request.getfixturevalue("postgres_database").owner_url(driver=driver)


@pytest.fixture
async def manager(database_url: str) -> AsyncIterator[DatabaseManager]:
    """A manager of a database that has the table."""
    manager = DatabaseManager(DatabaseSettings(url=database_url, connect_timeout=20, slow_query=0))
    async with manager.engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
    yield manager
    await manager.dispose()


@pytest.fixture
def sql_store(manager: DatabaseManager) -> SqlApiKeyStore:
    return SqlApiKeyStore(manager)


@pytest.fixture
def statements(manager: DatabaseManager):
    """The SQL statements that reach the database."""
    seen: list[str] = []
    sa.event.listen(
        manager.engine.sync_engine, "before_cursor_execute", lambda _c, _k, statement, *_: seen.append(statement)
    )
    return seen


@pytest.fixture(autouse=True)
def no_sqlite_thread_is_left():
    """Each test ends the threads of its SQLite connections: a later one would report to a closed event loop."""
    before = set(sqlite_threads())
    yield
    left = [thread for thread in sqlite_threads() if thread not in before]
    for thread in left:
        thread.join(5)
    assert [] == [thread for thread in left if thread.is_alive()]
