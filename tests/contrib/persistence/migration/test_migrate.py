"""Migrations that run: on every driver, by several processes at once, from a running event loop, offline."""

import subprocess
import sys
import textwrap

import anyio
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy.ext.asyncio import create_async_engine
from tests.contrib.persistence.migration.parts import billing, shop, table, write

from bandmaster.contrib.persistence.errors import DatabaseRefusedError, DatabaseUnavailableError
from bandmaster.contrib.persistence.migration.branches import MigrationError, Migrations
from bandmaster.contrib.persistence.migration.connection import APPLICATION_NAME, connected
from bandmaster.contrib.persistence.migration.environment import ENVIRONMENT, configuration
from bandmaster.contrib.persistence.migration.locking import (
    LOCK_KEY,
    MigrationLockedError,
    alembic_free,
    alembic_free_now,
    migration_lock,
)
from bandmaster.contrib.persistence.migration.migrate import downgrade, script, upgrade
from bandmaster.contrib.persistence.migration.new_revisions import generate_revision, make_folder, write_revision
from bandmaster.contrib.persistence.migration.state import State, differences, history, state
from bandmaster.contrib.persistence.tenancy.row_security import protect
from bandmaster.kernel import PermanentError, TransientError
from bandmaster.kernel.testing import free_port

pytestmark = pytest.mark.anyio

DRIVERS = ["postgresql+psycopg", "postgresql+asyncpg", "sqlite", "sqlite+aiosqlite", "sqlite+pysqlite", "postgresql"]


async def current(database, parts):
    return (await state(database, parts)).current


async def pending(database, parts):
    return (await state(database, parts)).pending


@pytest.fixture
def database(request, tmp_path):
    """The URL of an empty database for the driver that the test is for; psycopg's where it says nothing."""
    drivername = getattr(request, "param", "postgresql+psycopg")
    if drivername.startswith("sqlite"):
        return f"{drivername}:///{tmp_path / 'test.sqlite3'}"
    owner = request.getfixturevalue("postgres_database").owner_url()
    return sa.make_url(owner).set(drivername=drivername).render_as_string(hide_password=False)


def ids(revisions):
    return [revision.id for revision in revisions]


async def tables(database):
    return sorted(
        name for name in await connected(database, lambda c: sa.inspect(c).get_table_names()) if name[:7] != "alembic"
    )


@pytest.mark.requirement("CF-21", "F-05", "PE-5")
@pytest.mark.parametrize("database", DRIVERS, indirect=True)
async def test_up_and_down_again_on_every_driver(database, tmp_path):
    """Synchronous and asynchronous ones, from inside a running loop; nothing is done twice."""
    parts = [shop(tmp_path), billing(tmp_path)]
    assert {"s1", "s2", "b1"} == set(ids(await pending(database, parts)))

    done = await upgrade(database, parts)
    assert ["s1", "s2"] == [name for name in ids(done) if name != "b1"] and len(done) == 3
    assert ["bills", "goods", "orders"] == await tables(database)
    assert {"s2", "b1"} == set(ids(await current(database, parts)))
    assert () == await pending(database, parts) == await upgrade(database, parts)

    assert ["s2"] == ids(await downgrade(database, parts, "shop@-1"))
    assert ["s2"] == ids(await pending(database, parts))
    assert {"s1", "b1"} == set(ids(await downgrade(database, parts, "base")))
    assert [] == await tables(database)
    assert State((), await pending(database, parts), ()) == await state(database, parts)


@pytest.mark.requirement("CF-21", "F-05", "PE-5")
@pytest.mark.parametrize("database", DRIVERS[:4], indirect=True)
async def test_after_an_upgrade_autogenerate_finds_nothing(database, tmp_path):
    """On no dialect, with types that are stored in different ways, and a marked table."""
    metadata = sa.MetaData()
    protect(
        sa.Table(
            "orders",
            metadata,
            sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
            sa.Column("tenant_id", sa.Uuid, nullable=False, index=True),
            sa.Column("name", sa.String(40), unique=True),
            sa.Column("paid", sa.Boolean, nullable=False),
            sa.Column("price", sa.Numeric(10, 2)),
            sa.Column("at", sa.DateTime(timezone=True)),
            sa.Column("kind", sa.Enum("a", "b", name="kind")),
        )
    )
    (tmp_path / "shop").mkdir()
    part = Migrations("shop", tmp_path / "shop", metadata)
    written = await generate_revision(database, [part], "shop", "first tables")
    assert "op.enable_tenant_rls('orders')" in written.read_text()
    assert 1 == len(await upgrade(database, [part]))
    assert () == await differences(database, [part])
    assert await generate_revision(database, [part], "shop", "nothing") is None
    assert [written] == list((tmp_path / "shop").glob("*.py"))
    assert 1 == len(await downgrade(database, [part], "base"))
    if database.startswith("postgresql"):
        await connected(database, lambda c: (c.exec_driver_sql("DROP TYPE kind"), c.commit()))
    assert 1 == len(await upgrade(database, [part]))


@pytest.mark.parametrize("database", ["postgresql+psycopg", "sqlite"], indirect=True)
async def test_differences_are_told_as_what_would_mend_them(database, tmp_path):
    """And tables of nobody's models aren't among them."""
    metadata = sa.MetaData()
    sa.Table("goods", metadata, sa.Column("id", sa.Integer, primary_key=True), sa.Column("name", sa.String(9)))
    parts = [shop(tmp_path, metadata), billing(tmp_path)]
    await upgrade(database, parts)
    told = await differences(database, parts)
    assert ("sa.Column('name', sa.String(length=9), nullable=True)" in told[0], 1) == (True, len(told))
    assert () == await differences(database, [billing(tmp_path)])


async def test_a_type_that_changes_is_a_difference(database, tmp_path):
    """compare_type is on."""
    metadata = sa.MetaData()
    sa.Table("goods", metadata, sa.Column("id", sa.BigInteger, primary_key=True))
    parts = [shop(tmp_path, metadata)]
    await upgrade(database, parts)
    (told,) = await differences(database, parts)
    assert told.startswith("op.alter_column('goods', 'id'")


async def test_models_of_several_schemas_are_compared(database, tmp_path):
    """Only in the schemas that they name."""
    metadata = sa.MetaData()
    sa.Table("goods", metadata, sa.Column("id", sa.Integer, primary_key=True), schema="sales")
    sa.Table("goods", metadata, sa.Column("id", sa.Integer, primary_key=True))
    make = "CREATE SCHEMA {0}; CREATE TABLE {0}.goods (id int PRIMARY KEY); CREATE TABLE {0}.others (id int)"
    await connected(
        database, lambda c: ([c.exec_driver_sql(make.format(name)) for name in ("sales", "hidden")], c.commit())
    )
    (tmp_path / "shop").mkdir()
    part = Migrations("shop", tmp_path / "shop", metadata)
    assert [
        "op.create_table('goods', sa.Column('id', sa.Integer(), nullable=False), sa.PrimaryKeyConstraint('id') )"
    ] == (list(await differences(database, [part])))


@pytest.mark.requirement("CF-21", "F-05", "PE-5")
async def test_parts_are_branches_of_their_own(database, tmp_path):
    """Each goes up and down by itself; one that depends on another brings that along."""
    parts = [shop(tmp_path), billing(tmp_path, depends_on=["shop"])]
    assert ["s1"] == ids(await upgrade(database, parts, "shop@s1"))
    assert ["s2", "b1"] == ids(await upgrade(database, parts, "billing@head"))
    assert ["b1"] == ids(await downgrade(database, parts, "billing@base"))
    assert ["goods", "orders"] == await tables(database)


async def test_a_part_that_others_depend_on_counts_as_migrated(database, tmp_path):
    """Alembic's own table leaves its revision out; our answers don't."""
    metadata = sa.MetaData()
    sa.Table("bills", metadata, sa.Column("id", sa.Integer, primary_key=True), sa.Column("sum", sa.Integer))
    parts = [shop(tmp_path), billing(tmp_path, metadata, depends_on=["shop"])]
    await upgrade(database, parts)
    assert {"s2", "b1"} == set(ids(await current(database, parts)))
    assert () == await pending(database, parts)
    written = await generate_revision(database, parts, "billing", "sums")
    assert "add_column('bills'" in written.read_text()
    assert [written.stem.partition("_")[0]] == ids(await upgrade(database, parts))


def test_history_is_in_an_order_that_can_be_applied(tmp_path):
    """Without a database."""
    parts = [billing(tmp_path, depends_on=["shop"]), shop(tmp_path)]
    found = history(parts)
    assert ["s1", "s2", "b1"] == ids(found)
    assert ("shop", "makes s2", tmp_path / "shop" / "s2.py") == (found[1].part, found[1].message, found[1].path)
    assert "shop s2: makes s2" == str(found[1])


async def test_an_unknown_revision_in_the_database_is_told(database, tmp_path):
    """Of a part that was removed, or of newer code."""
    parts = [shop(tmp_path), billing(tmp_path)]
    await upgrade(database, parts)
    found = await state(database, parts[:1])
    assert (("b1",), ["s2"], ()) == (found.unknown, ids(found.current), found.pending)
    with pytest.raises(MigrationError, match="at revision 'b1', or you named it, and no part has it"):
        await upgrade(database, parts[:1])


@pytest.mark.parametrize("revision", ["nothing", "nobody@head", "head"])
async def test_a_revision_that_isnt_there_is_an_error_of_ours(database, tmp_path, revision):
    """As all others; Alembic's own is its cause."""
    with pytest.raises(MigrationError, match=f"the upgrade to '{revision}' failed: ") as caught:
        await upgrade(database, [shop(tmp_path), billing(tmp_path)], revision)
    assert caught.value.__cause__ is not None
    assert isinstance(caught.value, PermanentError)


FAILURES = [
    ("op.execute('SELECT * FROM nowhere')", "nowhere"),
    ("raise KeyError('oh')", "KeyError: 'oh'"),
    ("op.execute(sa.text('INSERT INTO s2 VALUES (:secret)').bindparams(secret=4711))", "s2"),
]


@pytest.mark.parametrize("database", ["postgresql+psycopg", "postgresql+asyncpg", "sqlite+aiosqlite"], indirect=True)
@pytest.mark.parametrize(("broken", "said"), FAILURES)
async def test_a_failing_revision_is_named_and_leaves_nothing(database, tmp_path, broken, said):
    """File, line and function; what was before it stays on PostgreSQL, and nothing at all on SQLite."""
    part = shop(tmp_path)
    path = write(tmp_path / "shop", "s3", "s2", up=f"op.create_table('half', sa.Column('id', sa.Integer))\n{broken}")
    with pytest.raises(MigrationError) as caught:
        await upgrade(database, [part])
    told = str(caught.value)
    line = next(number for number, line in enumerate(path.read_text().splitlines(), 1) if broken in line)
    assert f"the upgrade to 'heads' failed in 'shop', {path}:{line}, upgrade: " in told
    assert said in told and "4711" not in told and "[SQL" not in told
    assert caught.value.__cause__ is not None
    if database.startswith("sqlite"):
        assert [] == await tables(database)
        assert "succeeded" not in told
    else:
        assert ["goods", "orders"] == await tables(database)
        assert ["s2"] == ids(await current(database, [part]))
        assert "Before it, these succeeded: shop s1: makes s1, shop s2: makes s2" in told
    path.unlink()
    await upgrade(database, [part])


async def test_a_revision_that_cant_be_imported_is_named(database, tmp_path):
    """Before anything is done."""
    part = shop(tmp_path)
    path = write(tmp_path / "shop", "s3", "s2")
    path.write_text(path.read_text().replace("import sqlalchemy", "import no_such_thing\nimport sqlalchemy"))
    for work in (upgrade, state):
        with pytest.raises(MigrationError, match="No module named 'no_such_thing'"):
            await work(database, [part])
    with pytest.raises(MigrationError, match=rf"the revisions can't be read in 'shop', {path}:\d+, <module>: Module"):
        history([part])
    assert [] == await tables(database)


@pytest.mark.parametrize("kind", ["connection", "engine"])
@pytest.mark.parametrize("database", ["postgresql+psycopg", "postgresql+asyncpg", "sqlite+aiosqlite"], indirect=True)
async def test_connections_and_engines_that_are_there_are_used(database, tmp_path, kind):
    """And stay open; the lock is given back."""
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
    """It is committed, or rolled back, by whoever began it; the lock ends with it."""
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


@pytest.mark.requirement("CF-21", "F-05")
async def test_who_holds_the_lock_is_told(database, tmp_path):
    """By process id and application name, after the time that was given; afterwards it goes on."""
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
        assert 2 == len(await pending(database, parts))
    await holder.dispose()
    assert 2 == len(await upgrade(database, parts, lock_timeout=5))


async def test_connections_of_ours_have_a_name(database):
    """So that the error above tells something."""
    name = "SELECT application_name FROM pg_stat_activity WHERE pid = pg_backend_pid()"
    for driver in ("postgresql+psycopg", "postgresql+asyncpg"):
        url = sa.make_url(database).set(drivername=driver)
        assert APPLICATION_NAME == await connected(url, lambda c: c.exec_driver_sql(name).scalar_one())
    url = sa.make_url(database).update_query_dict({"application_name": "mine"})
    assert "mine" == await connected(url, lambda c: c.exec_driver_sql(name).scalar_one())


@pytest.mark.parametrize("database", ["sqlite", "sqlite+aiosqlite"], indirect=True)
async def test_on_sqlite_another_writer_is_waited_for(database, tmp_path):
    """The transaction is begun to write: whoever comes second waits, and is told when it takes too long."""
    parts = [shop(tmp_path)]
    file = sa.make_url(database).database
    with sa.create_engine(f"sqlite:///{file}", poolclass=sa.NullPool).connect() as other:
        other.exec_driver_sql("BEGIN IMMEDIATE")
        with pytest.raises(MigrationLockedError, match=r"writing to the database for more than 0.2 s"):
            await upgrade(database, parts, lock_timeout=0.2)
        other.rollback()
    assert 2 == len(await upgrade(database, parts, lock_timeout=0.2))


@pytest.mark.parametrize("database", ["sqlite+aiosqlite"], indirect=True)
async def test_on_sqlite_no_rows_go_when_a_table_is_made_anew(database, tmp_path):
    """Enforced foreign keys would delete what refers to it; they are as before afterwards."""
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


def counted(folder, *, concurrently):
    """A part whose every revision leaves a row for each time that it was run, and takes its time."""
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
    """With an index that is made concurrently, which waits for the others' statements; six of them at a time."""
    counted(tmp_path / "runs", concurrently=database.startswith("postgresql"))
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
    """Alembic keeps what runs in modules, of which a process has one: two databases, four tasks, no mix-up."""
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


async def test_synchronous_code_doesnt_wait_for_it(tmp_path):
    """It could be what the event loop runs while a migration waits."""
    async with alembic_free():
        with pytest.raises(MigrationLockedError, match="this process is migrating a database just now"):
            script("postgresql://", [shop(tmp_path)])
    with alembic_free_now():
        pass
    assert "CREATE TABLE goods" in script("postgresql://", [shop(tmp_path)])


async def test_a_cancelled_upgrade_leaves_nothing_behind(database, tmp_path):
    """Neither half a revision nor the lock, nor Alembic's state."""
    part = shop(tmp_path)
    path = write(tmp_path / "shop", "s3", "s2", up=f'{table("half")["up"]}\nop.execute("SELECT pg_sleep(30)")')
    with anyio.move_on_after(0.5) as scope:
        await upgrade(database, [part])
    assert scope.cancelled_caught
    path.unlink()
    assert ["goods", "orders"] == await tables(database)
    write(tmp_path / "shop", "s3", "s2", **table("half"))
    assert ["s3"] == ids(await upgrade(database, [part], lock_timeout=5))


async def test_a_database_that_cant_be_had(postgres_database, tmp_path):
    """Each failure says which database, in words that hold no password."""
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


async def test_the_lock_needs_a_timeout(database, tmp_path):
    """For ever is no answer to the person on call."""
    for timeout in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="timeout: expected seconds above 0"):
            with (
                sa.create_engine("sqlite://", poolclass=sa.NullPool).connect() as connection,
                migration_lock(connection, timeout),
            ):
                pass


async def test_a_lost_lock_is_told(database):
    """Behind PgBouncer the statements of a session are run by several."""
    engine = sa.create_engine(database)
    with engine.connect() as connection:
        with pytest.raises(MigrationError, match=r"was lost meanwhile.* not through PgBouncer"):
            with migration_lock(connection, 1):
                connection.exec_driver_sql("SELECT pg_advisory_unlock_all()")
        with pytest.raises(KeyError):
            with migration_lock(connection, 1):
                raise KeyError
        with engine.connect() as other, migration_lock(other, 1):
            pass
    engine.dispose()


@pytest.mark.requirement("CF-21", "F-05")
def test_the_sql_for_somebody_else_to_run(tmp_path):
    """All parts', with row-level security on PostgreSQL and without it on SQLite; nothing is connected to."""
    parts = [shop(tmp_path), billing(tmp_path, depends_on=["shop"])]
    for url in ("postgresql://nowhere/x", "postgresql+asyncpg://nowhere/x"):
        text = script(url, parts)
        for wanted in (
            "CREATE TABLE goods",
            'ALTER TABLE "orders" FORCE ROW LEVEL SECURITY;',
            "NULLIF(current_setting('app.tenant', true), '')::UUID",
            "CREATE TABLE bills",
            "INSERT INTO alembic_version (version_num) VALUES ('s1')",
            "BEGIN;",
        ):
            assert wanted in text
        assert text.index("CREATE TABLE goods") < text.index("CREATE TABLE bills")
    down = script("postgresql://", parts[:1], "shop@s2:shop@base", down=True)
    assert 'DROP POLICY "tenant_isolation" ON "orders";' in down and "DROP TABLE goods" in down
    assert "POLICY" not in script("sqlite://", parts)
    with pytest.raises(MigrationError, match="the SQL can't be written"):
        script("postgresql://", parts, "nothing")


async def test_offline_sql_does_what_an_upgrade_does(postgres_database, tmp_path):
    """Run by hand, it leaves the same database."""
    metadata = sa.MetaData()
    for name in ("goods", "orders"):
        made = sa.Table(name, metadata, sa.Column("id", sa.Integer, primary_key=True))
    made.append_column(sa.Column("tenant_id", sa.Uuid, nullable=False))
    protect(made)
    parts = [shop(tmp_path, metadata)]
    text = script(postgres_database.owner_url(), parts)
    await connected(postgres_database.owner_url(), lambda c: c.connection.cursor().execute(text))
    assert () == await pending(postgres_database.owner_url(), parts)
    assert () == await differences(postgres_database.owner_url(), parts)


@pytest.mark.requirement("CF-21", "F-05")
@pytest.mark.parametrize("database", DRIVERS, indirect=True)
def test_alembics_own_commands_take_the_configuration(database, tmp_path):
    """With a URL and no event loop: the environment makes the connection, and sees to the lock."""
    config = configuration([shop(tmp_path)], url=database)
    command.upgrade(config, "heads")
    command.check(configuration([shop(tmp_path)], url=database, metadata=[sa.MetaData()]))
    command.downgrade(config, "base")
    assert [] == anyio.run(tables, database)


@pytest.mark.parametrize("database", ["postgresql+psycopg", "sqlite"], indirect=True)
def test_a_synchronous_connection_will_do_for_alembics_commands(database, tmp_path):
    """The lock is then for whoever has the connection."""
    parts = [shop(tmp_path)]
    engine = sa.create_engine(database, poolclass=sa.NullPool)
    with engine.connect() as connection, migration_lock(connection, 1):
        command.upgrade(configuration(parts, connection=connection), "heads")
    assert ["goods", "orders"] == anyio.run(tables, database)
    with engine.connect() as connection, migration_lock(connection, 1):
        command.downgrade(configuration(parts, connection=connection), "base")
    assert [] == anyio.run(tables, database)


@pytest.mark.parametrize("folder", ["versions", '50% of it : "all"'])
def test_an_ini_file_of_somebodys_own_may_name_the_environment(postgres_database, tmp_path, folder):
    """Whoever keeps using Alembic's command has the lock, the drivers and the operations, too."""
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


def test_an_environment_without_a_database_says_so(tmp_path):
    """Instead of guessing one."""
    with pytest.raises(MigrationError, match=r"which database to migrate: set sqlalchemy.url"):
        command.upgrade(configuration([shop(tmp_path)]), "heads")


def test_a_folder_of_any_name_will_do(tmp_path):
    """Percent signs, colons, spaces and commas mean something in Alembic's files."""
    folder = tmp_path / "50% of it: a, b;c" / "shop"
    write(folder, "s1", **table("goods"))
    assert ["s1"] == ids(history([Migrations("shop", folder)]))


def test_the_first_revision_of_a_part_begins_its_branch(tmp_path):
    """The next one follows; one that depends on another part follows that part's newest."""
    for name in ("shop", "billing"):
        (tmp_path / name).mkdir()
    parts = [Migrations("shop", tmp_path / "shop"), Migrations("billing", tmp_path / "billing", depends_on=("shop",))]
    first = write_revision(parts, "shop", "first tables")
    second = write_revision(parts, "shop", 'say "hello"')
    bill = write_revision(parts, "billing", "bills")
    bills = write_revision(parts, "billing", "more bills")
    assert {first.parent, second.parent} == {tmp_path / "shop"} and first.stem.endswith("_first_tables")
    assert "branch_labels: str | tuple[str, ...] | None = ('shop',)" in first.read_text()
    found = {revision.path: revision for revision in history(parts)}
    assert ["shop", "shop", "billing", "billing"] == [found[path].part for path in (first, second, bill, bills)]
    assert f"down_revision: str | tuple[str, ...] | None = {found[first].id!r}" in second.read_text()
    assert f"depends_on: str | tuple[str, ...] | None = {found[second].id!r}" in bill.read_text()
    assert "depends_on: str | tuple[str, ...] | None = None" in bills.read_text()
    with pytest.raises(MigrationError, match=r"no part 'crm' brings migrations. There are 'shop', 'billing'"):
        write_revision(parts, "crm", "x")


@pytest.mark.parametrize("database", ["postgresql+psycopg", "sqlite"], indirect=True)
async def test_a_parts_revision_is_generated_of_its_own_models(database, tmp_path):
    """What other parts' models lack isn't its business."""
    metadatas = []
    for name in ("goods", "bills"):
        metadatas.append(sa.MetaData())
        sa.Table(name, metadatas[-1], sa.Column("id", sa.Integer, primary_key=True))
    for name in ("shop", "billing"):
        (tmp_path / name).mkdir()
    parts = [
        Migrations("shop", tmp_path / "shop", metadatas[0]),
        Migrations("billing", tmp_path / "billing", metadatas[1]),
    ]
    shops = await generate_revision(database, parts, "shop", "goods")
    assert "create_table('goods'" in shops.read_text() and "bills" not in shops.read_text()
    with pytest.raises(MigrationError, match=r"the database isn't up to date.*: 1 revisions are pending"):
        await generate_revision(database, parts, "billing", "bills")
    await upgrade(database, parts)
    bills = await generate_revision(database, parts, "billing", "bills")
    assert "create_table('bills'" in bills.read_text() and "goods" not in bills.read_text()
    await upgrade(database, parts)
    assert () == await differences(database, parts)


async def test_without_models_nothing_is_generated(database, tmp_path):
    """And what to do instead is told."""
    with pytest.raises(MigrationError, match="'shop' has no metadata, so that there is nothing to generate from"):
        await generate_revision(database, [shop(tmp_path)], "shop", "x")


def test_a_folder_is_made_once(tmp_path, monkeypatch):
    """In a package that can be imported, with what makes it a part of the distribution."""
    (tmp_path / "acme_shop").mkdir()
    (tmp_path / "acme_shop" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    assert tmp_path / "acme_shop" / "migrations" == make_folder("acme_shop")
    assert [tmp_path / "acme_shop" / "migrations" / "__init__.py"] == list(
        (tmp_path / "acme_shop" / "migrations").iterdir()
    )
    with pytest.raises(MigrationError, match="migrations can't be made: File exists"):
        make_folder("acme_shop")
    with pytest.raises(MigrationError, match="there is no package 'acme_nothing' to make migrations for"):
        make_folder("acme_nothing")
    monkeypatch.delitem(sys.modules, "acme_shop")
