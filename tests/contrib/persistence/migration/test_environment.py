"""The environment, run by Alembic's own commands."""

import textwrap

import anyio
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from tests.contrib.persistence.migration.databases import DRIVERS, ids, tables
from tests.contrib.persistence.migration.parts import shop, table, write

from bandmaster.contrib.persistence.migration.branches import MigrationError, Migrations
from bandmaster.contrib.persistence.migration.environment import ENVIRONMENT, configuration
from bandmaster.contrib.persistence.migration.locking import (
    migration_lock,
)
from bandmaster.contrib.persistence.migration.state import history

pytestmark = pytest.mark.anyio


@pytest.mark.requirement("CF-21", "F-05")
@pytest.mark.parametrize("database", DRIVERS, indirect=True)
def test_alembics_own_commands_take_the_configuration(database, tmp_path):
    """With a URL and without an event loop the environment connects and takes the lock."""
    config = configuration([shop(tmp_path)], url=database)
    command.upgrade(config, "heads")
    command.check(configuration([shop(tmp_path)], url=database, metadata=[sa.MetaData()]))
    command.downgrade(config, "base")
    assert [] == anyio.run(tables, database)


@pytest.mark.parametrize("database", ["postgresql+psycopg", "sqlite"], indirect=True)
def test_a_synchronous_connection_will_do_for_alembics_commands(database, tmp_path):
    """With a given connection the caller takes the lock."""
    parts = [shop(tmp_path)]
    engine = sa.create_engine(database, poolclass=sa.NullPool)
    with engine.connect() as connection, migration_lock(connection, 1):
        command.upgrade(configuration(parts, connection=connection), "heads")
    assert ["goods", "orders"] == anyio.run(tables, database)
    with engine.connect() as connection, migration_lock(connection, 1):
        command.downgrade(configuration(parts, connection=connection), "base")
    assert [] == anyio.run(tables, database)


@pytest.mark.parametrize("folder", ["versions", '50% of it : "all"'])
def test_an_ini_file_may_name_the_environment(postgres_database, tmp_path, folder):
    """Alembic's own command with an ini file has the lock, the drivers and the operations."""
    write(tmp_path / folder, "x1", label=("x",), **table("things", tenant=True))
    (tmp_path / "alembic.ini").write_text(
        textwrap.dedent(
            f"""
            [alembic]
            script_location = {ENVIRONMENT}
            version_locations = {str(tmp_path / folder).replace("%", "%%")}
            path_separator = newline
            sqlalchemy.url = {postgres_database.owner_url("asyncpg").replace("%", "%%")}
            """
        )
    )
    config = Config(tmp_path / "alembic.ini")
    command.upgrade(config, "head")
    assert ["things"] == anyio.run(tables, postgres_database.owner_url())
    url = postgres_database.owner_url()
    with sa.create_engine(url, poolclass=sa.NullPool).connect() as connection:
        assert 1 == connection.exec_driver_sql("SELECT count(*) FROM pg_policies").scalar()


def test_an_environment_needs_a_database(tmp_path):
    """A configuration without a database is an error."""
    with pytest.raises(MigrationError, match=r"no database to migrate: set sqlalchemy.url"):
        command.upgrade(configuration([shop(tmp_path)]), "heads")


def test_a_folder_of_any_name_will_do(tmp_path):
    """Percent signs, colons, spaces and commas in a folder's name are escaped for Alembic."""
    folder = tmp_path / "50% of it: a, b;c" / "shop"
    write(folder, "s1", **table("goods"))
    assert ["s1"] == ids(history([Migrations("shop", folder)]))
