"""Databases and queries for tests of migrations."""

import sqlalchemy as sa

from bandmaster.contrib.persistence.migration.connection import connected
from bandmaster.contrib.persistence.migration.state import state

DRIVERS = ["postgresql+psycopg", "postgresql+asyncpg", "sqlite", "sqlite+aiosqlite", "sqlite+pysqlite", "postgresql"]


async def find_current(database, parts):
    return (await state(database, parts)).current


async def find_pending(database, parts):
    return (await state(database, parts)).pending


def ids(revisions):
    return [revision.id for revision in revisions]


async def tables(database):
    return sorted(
        name for name in await connected(database, lambda c: sa.inspect(c).get_table_names()) if name[:7] != "alembic"
    )
