"""Fixtures for databases: statements of the owner, a protected table, managers that are closed after the test."""

import psycopg
import pytest
from tests.contrib.persistence.sqlite_threads import sqlite_threads
from tests.contrib.persistence.tenancy.policies import PROTECT

from bandmaster.contrib.persistence import DatabaseManager, DatabaseSettings


@pytest.fixture
def anyio_backend():
    """SQLAlchemy's asynchronous engines run on asyncio only."""
    return "asyncio"


@pytest.fixture(autouse=True)
def no_sqlite_thread_is_left():
    """Each test ends the threads of its SQLite connections: a later one would report to a closed event loop."""
    before = set(sqlite_threads())
    yield
    left = [thread for thread in sqlite_threads() if thread not in before]
    for thread in left:
        thread.join(5)  # an exception in the thread is then reported for this test, not for a later one
    assert [] == [thread for thread in left if thread.is_alive()]


@pytest.fixture
def owner_runs(postgres_database):
    """Runs statements as the owner of the database."""

    def run(*statements):
        url = postgres_database.owner_url().replace("+psycopg", "")
        with psycopg.connect(url, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)

    return run


@pytest.fixture
def superuser_runs(postgres_database):
    """Runs statements as the superuser, in the database of the test, and returns the rows of the last one."""

    def run(*statements):
        rows = []
        with postgres_database.server.connect(postgres_database.name) as connection:
            for statement in statements:
                cursor = connection.execute(statement)
                rows = cursor.fetchall() if cursor.description else []
        return rows

    return run


@pytest.fixture
def notes(owner_runs):
    """A protected table with notes of two tenants."""
    owner_runs(
        "CREATE TABLE notes (id serial PRIMARY KEY, tenant_id text NOT NULL, said text NOT NULL)",
        "INSERT INTO notes (tenant_id, said) VALUES ('red', 'r1'), ('red', 'r2'), ('blue', 'b1')",
        *(statement.format("notes") for statement in PROTECT),
    )


@pytest.fixture
async def make_manager():
    """Makes managers, and disposes of them after the test."""
    made = []

    def make(url, *, observers=(), **options):
        options = {"connect_timeout": 10, "slow_query": 0, **options}
        manager = DatabaseManager(DatabaseSettings(url=url, **options), observers=observers)
        made.append(manager)
        return manager

    yield make
    for manager in made:
        if not manager._closed:
            await manager.dispose()
