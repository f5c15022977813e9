"""Locks: one process migrates a database at a time, one thread uses Alembic."""

import subprocess
import sys

import anyio
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine
from tests.contrib.persistence.migration.databases import find_pending, tables
from tests.contrib.persistence.migration.parts import billing, shop, write

from bandmaster.contrib.persistence.migration.branches import MigrationError, Migrations
from bandmaster.contrib.persistence.migration.connection import connected
from bandmaster.contrib.persistence.migration.locking import (
    LOCK_KEY,
    MigrationLockedError,
    alembic_free,
    alembic_free_now,
    migration_lock,
)
from bandmaster.contrib.persistence.migration.migrate import downgrade, script, upgrade
from bandmaster.kernel import TransientError

pytestmark = pytest.mark.anyio


@pytest.mark.requirement("CF-21", "F-05")
async def test_the_holder_of_the_lock_is_named(database, tmp_path):
    """The error after the timeout names the holder's process id and application name."""
    parts = [shop(tmp_path)]
    holder = create_async_engine(database, connect_args={"application_name": "deploy of 9 am"})
    async with holder.connect() as connection:
        pid = (await connection.exec_driver_sql("SELECT pg_backend_pid()")).scalar_one()
        await connection.rollback()

        def hold(sync_connection):
            with migration_lock(sync_connection, 1):
                return sync_connection.scalar(sa.text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"))

        assert 1 == await connection.run_sync(hold)
        await connection.execute(sa.select(sa.func.pg_advisory_lock(sa.literal(LOCK_KEY, sa.BigInteger))))
        await connection.commit()
        user = sa.make_url(database).username
        for work in (upgrade(database, parts, lock_timeout=0.3), downgrade(database, parts, "base", lock_timeout=0.3)):
            with pytest.raises(MigrationLockedError) as caught:
                await work
            assert f"for more than 0.3 s: pid {pid} (deploy of 9 am, as {user})" in str(caught.value)
            assert isinstance(caught.value, TransientError)
        assert 2 == len(await find_pending(database, parts))
    await holder.dispose()
    assert 2 == len(await upgrade(database, parts, lock_timeout=5))


@pytest.mark.parametrize("database", ["sqlite", "sqlite+aiosqlite"], indirect=True)
async def test_on_sqlite_another_writer_is_waited_for(database, tmp_path):
    """A migration on SQLite waits for another writer, and fails after the timeout."""
    parts = [shop(tmp_path)]
    file = sa.make_url(database).database
    with sa.create_engine(f"sqlite:///{file}", poolclass=sa.NullPool).connect() as other:
        other.exec_driver_sql("BEGIN IMMEDIATE")
        with pytest.raises(MigrationLockedError, match=r"writing to the database for more than 0.2 s"):
            await upgrade(database, parts, lock_timeout=0.2)
        other.rollback()
    assert 2 == len(await upgrade(database, parts, lock_timeout=0.2))


@pytest.mark.parametrize("database", ["sqlite+aiosqlite"], indirect=True)
async def test_on_sqlite_rebuilding_a_table_deletes_no_rows(database, tmp_path):
    """Rebuilding a table deletes no rows that refer to it, and foreign keys are enforced again afterwards."""
    folder = tmp_path / "shop"
    write(
        folder,
        "s1",
        up="""
        op.create_table("goods", sa.Column("id", sa.Integer, primary_key=True))
        op.create_table(
            "orders", sa.Column("good", sa.Integer, sa.ForeignKey("goods.id", ondelete="CASCADE"), primary_key=True)
        )
        """,
    )
    write(
        folder,
        "s2",
        "s1",
        up="""
        with op.batch_alter_table("goods", recreate="always") as batch:
            batch.add_column(sa.Column("name", sa.String(9)))
        """,
    )
    parts = [Migrations("shop", folder)]
    engine = create_async_engine(database)

    @sa.event.listens_for(engine.sync_engine, "connect")
    def enforce(connection, record):
        connection.cursor().execute("PRAGMA foreign_keys = ON")

    async with engine.connect() as connection:
        await upgrade(connection, parts, "s1")
        await connection.exec_driver_sql("INSERT INTO goods VALUES (1)")
        await connection.exec_driver_sql("INSERT INTO orders VALUES (1)")
        await connection.commit()
        await upgrade(connection, parts)
        assert 1 == (await connection.exec_driver_sql("SELECT count(*) FROM orders")).scalar_one()
        assert 1 == (await connection.exec_driver_sql("PRAGMA foreign_keys")).scalar_one()
    await engine.dispose()


COUNTED = """
op.execute("INSERT INTO runs (revision) VALUES ('{0}')")
{1}
"""


UPGRADE = """
import anyio, sys
from bandmaster.contrib.persistence.migration.branches import Migrations
from bandmaster.contrib.persistence.migration.migrate import upgrade

url, *folders = sys.argv[1:]
parts = [Migrations(folder.rpartition("/")[2], folder) for folder in folders]
print(len(anyio.run(upgrade, url, parts)))
"""


def write_counting_part(folder, *, concurrently):
    """A part with revisions that each insert a row whenever they run, and take some time."""
    write(folder, "r0", up="op.create_table('runs', sa.Column('revision', sa.String(9)))")
    slowly = 'op.execute("SELECT pg_sleep(0.05)")' if concurrently else "import time; time.sleep(0.02)"
    for number in range(1, 4):
        write(folder, f"r{number}", f"r{number - 1}", up=COUNTED.format(f"r{number}", slowly))
    if concurrently:
        index = 'op.create_index("ix_runs", "runs", ["revision"], postgresql_concurrently=True)'
        write(folder, "r4", "r3", up=f"with op.get_context().autocommit_block():\n    {index}")


@pytest.mark.requirement("CF-21", "F-05", "PE-5")
@pytest.mark.parametrize("database", ["postgresql+psycopg", "postgresql+asyncpg", "sqlite+aiosqlite"], indirect=True)
async def test_several_processes_at_once_apply_each_revision_once(database, tmp_path):
    """Six processes take turns, also with an index that is created concurrently."""
    write_counting_part(tmp_path / "runs", concurrently=database.startswith("postgresql"))
    billing(tmp_path)
    command_line = [sys.executable, "-W", "error", "-c", UPGRADE, database, tmp_path / "runs", tmp_path / "billing"]
    # Starting them is what takes the time.
    number = 6 if database.startswith("postgresql+psycopg") else 3
    processes = [
        subprocess.Popen(command_line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(number)
    ]
    ends = [process.communicate(timeout=60) for process in processes]
    assert [""] * number == [errors for _, errors in ends]
    revisions = 6 if database.startswith("postgresql") else 5
    assert [0] * (number - 1) + [revisions] == sorted(int(output) for output, _ in ends)
    counts = await connected(
        database,
        lambda c: c.exec_driver_sql("SELECT revision, count(*) FROM runs GROUP BY revision ORDER BY revision").all(),
    )
    assert [("r1", 1), ("r2", 1), ("r3", 1)] == [tuple(row) for row in counts]


async def test_several_tasks_of_one_process_take_turns(postgres_server, tmp_path):
    """Four tasks migrate two databases without mixing them up, though Alembic's state is global."""
    from bandmaster.contrib.persistence.testing import fresh_database

    parts = [shop(tmp_path)]
    with fresh_database(postgres_server) as one, fresh_database(postgres_server) as other:
        urls = [one.owner_url(), other.owner_url("asyncpg"), other.owner_url(), f"sqlite:///{tmp_path}/x.sqlite3"]
        done = []

        async def migrate(url):
            done.append(len(await upgrade(url, parts)))

        async with anyio.create_task_group() as group:
            for url in urls:
                group.start_soon(migrate, url)
        assert [0, 2, 2, 2] == sorted(done)
        for url in urls:
            assert ["goods", "orders"] == await tables(url)


async def test_synchronous_code_is_refused_while_alembic_is_used(tmp_path):
    """Synchronous code is refused while a migration runs: waiting could block the event loop."""
    async with alembic_free():
        with pytest.raises(MigrationLockedError, match="this process is using Alembic already"):
            script("postgresql://", [shop(tmp_path)])
    with alembic_free_now():
        pass
    assert "CREATE TABLE goods" in script("postgresql://", [shop(tmp_path)])


async def test_the_lock_needs_a_timeout(database, tmp_path):
    """A timeout of zero or below is refused."""
    for timeout in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="timeout: expected seconds above 0"):
            with (
                sa.create_engine("sqlite://", poolclass=sa.NullPool).connect() as connection,
                migration_lock(connection, timeout),
            ):
                pass


async def test_a_lost_lock_is_an_error(database):
    """A lock that PgBouncer loses is an error at the end."""
    engine = sa.create_engine(database)
    with engine.connect() as connection:
        with pytest.raises(MigrationError, match=r"was lost: another session.* not through PgBouncer"):
            with migration_lock(connection, 1):
                connection.exec_driver_sql("SELECT pg_advisory_unlock_all()")
        with pytest.raises(KeyError):
            with migration_lock(connection, 1):
                raise KeyError
        with engine.connect() as other, migration_lock(other, 1):
            pass
    engine.dispose()
