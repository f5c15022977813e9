"""A schema with two tenants, and what SQLAlchemy needs: its asynchronous engines run on asyncio only."""

import psycopg
import pytest
from tests.contrib.persistence.tenancy.policies import PROTECT

from bandmaster.contrib.persistence import DatabaseManager, DatabaseSettings


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
def owner_runs(postgres_database):
    """Has the owner of the database run statements."""

    def run(*statements):
        url = postgres_database.owner_url().replace("+psycopg", "")
        with psycopg.connect(url, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)

    return run


@pytest.fixture
def superuser_runs(postgres_database):
    """Has the superuser run statements, in the database of the test."""

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
    """A table of two tenants' notes, as migrations leave it."""
    owner_runs(
        "CREATE TABLE notes (id serial PRIMARY KEY, tenant_id text NOT NULL, said text NOT NULL)",
        "INSERT INTO notes (tenant_id, said) VALUES ('red', 'r1'), ('red', 'r2'), ('blue', 'b1')",
        *(statement.format("notes") for statement in PROTECT),
    )


@pytest.fixture
async def managed():
    """Makes managers, and closes them when the test has ended."""
    made = []

    def make(url, **options):
        options = {"connect_timeout": 10, "slow_query": 0, **options}
        manager = DatabaseManager(DatabaseSettings(url=url, **options))
        made.append(manager)
        return manager

    yield make
    for manager in made:
        if not manager._closed:
            await manager.dispose()
