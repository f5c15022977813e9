"""Migrations on every driver, by several processes at once, from a running event loop, and offline."""

import anyio
import pytest
import sqlalchemy as sa
from tests.contrib.persistence.migration.databases import DRIVERS, find_current, find_pending, ids, tables
from tests.contrib.persistence.migration.parts import billing, shop, table, write

from bandmaster.contrib.persistence.migration.branches import MigrationError
from bandmaster.contrib.persistence.migration.connection import connected
from bandmaster.contrib.persistence.migration.migrate import downgrade, script, upgrade
from bandmaster.contrib.persistence.migration.state import State, differences, history, state
from bandmaster.contrib.persistence.tenancy.row_security import protect
from bandmaster.kernel import PermanentError

pytestmark = pytest.mark.anyio


@pytest.mark.requirement("CF-21", "F-05", "PE-5")
@pytest.mark.parametrize("database", DRIVERS, indirect=True)
async def test_up_and_down_again_on_every_driver(database, tmp_path):
    """Synchronous and asynchronous drivers work inside a running event loop, and apply nothing twice."""
    parts = [shop(tmp_path), billing(tmp_path)]
    assert {"s1", "s2", "b1"} == set(ids(await find_pending(database, parts)))

    done = await upgrade(database, parts)
    assert ["s1", "s2"] == [name for name in ids(done) if name != "b1"] and len(done) == 3
    assert ["bills", "goods", "orders"] == await tables(database)
    assert {"s2", "b1"} == set(ids(await find_current(database, parts)))
    assert () == await find_pending(database, parts) == await upgrade(database, parts)

    assert ["s2"] == ids(await downgrade(database, parts, "shop@-1"))
    assert ["s2"] == ids(await find_pending(database, parts))
    assert {"s1", "b1"} == set(ids(await downgrade(database, parts, "base")))
    assert [] == await tables(database)
    assert State((), await find_pending(database, parts), ()) == await state(database, parts)


@pytest.mark.requirement("CF-21", "F-05", "PE-5")
async def test_parts_are_branches_of_their_own(database, tmp_path):
    """Each part is upgraded and downgraded alone, together with the parts that it depends on."""
    parts = [shop(tmp_path), billing(tmp_path, depends_on=["shop"])]
    assert ["s1"] == ids(await upgrade(database, parts, "shop@s1"))
    assert ["s2", "b1"] == ids(await upgrade(database, parts, "billing@head"))
    assert ["b1"] == ids(await downgrade(database, parts, "billing@base"))
    assert ["goods", "orders"] == await tables(database)


@pytest.mark.parametrize("revision", ["nothing", "nobody@head", "head"])
async def test_an_unknown_revision_is_a_migration_error(database, tmp_path, revision):
    """An unknown revision raises a MigrationError, with Alembic's error as its cause."""
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
@pytest.mark.parametrize(("broken", "reason"), FAILURES)
async def test_a_failing_revision_is_named_and_leaves_nothing(database, tmp_path, broken, reason):
    """The error names file, line and function. PostgreSQL keeps earlier revisions, SQLite keeps none."""
    part = shop(tmp_path)
    path = write(tmp_path / "shop", "s3", "s2", up=f"op.create_table('half', sa.Column('id', sa.Integer))\n{broken}")
    with pytest.raises(MigrationError) as caught:
        await upgrade(database, [part])
    message = str(caught.value)
    line = next(number for number, line in enumerate(path.read_text().splitlines(), 1) if broken in line)
    assert f"the upgrade to 'heads' failed in 'shop', {path}:{line}, upgrade: " in message
    assert reason in message and "4711" not in message and "[SQL" not in message
    assert caught.value.__cause__ is not None
    if database.startswith("sqlite"):
        assert [] == await tables(database)
        assert "succeeded" not in message
    else:
        assert ["goods", "orders"] == await tables(database)
        assert ["s2"] == ids(await find_current(database, [part]))
        assert "Before it, these succeeded: shop s1: makes s1, shop s2: makes s2" in message
    path.unlink()
    await upgrade(database, [part])


async def test_a_revision_that_cant_be_imported_is_named(database, tmp_path):
    """A revision with a syntax error is named before anything is applied."""
    part = shop(tmp_path)
    path = write(tmp_path / "shop", "s3", "s2")
    path.write_text(path.read_text().replace("import sqlalchemy", "import no_such_thing\nimport sqlalchemy"))
    for work in (upgrade, state):
        with pytest.raises(MigrationError, match="No module named 'no_such_thing'"):
            await work(database, [part])
    with pytest.raises(MigrationError, match=rf"the revisions can't be read in 'shop', {path}:\d+, <module>: Module"):
        history([part])
    assert [] == await tables(database)


async def test_a_cancelled_upgrade_leaves_nothing_behind(database, superuser_runs, tmp_path):
    """A cancelled upgrade leaves no half revision, no lock and no state of Alembic's."""
    part = shop(tmp_path)
    path = write(tmp_path / "shop", "s3", "s2", up=f'{table("half")["up"]}\nop.execute("SELECT pg_sleep(30)")')
    sleeping = "SELECT 1 FROM pg_stat_activity WHERE query LIKE '%pg_sleep(30)%' AND pid <> pg_backend_pid()"
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(upgrade, database, [part])
        with anyio.fail_after(25):
            while not superuser_runs(sleeping):
                await anyio.sleep(0.02)
        tasks.cancel_scope.cancel()
    assert tasks.cancel_scope.cancelled_caught
    path.unlink()
    assert ["goods", "orders"] == await tables(database)
    write(tmp_path / "shop", "s3", "s2", **table("half"))
    assert ["s3"] == ids(await upgrade(database, [part], lock_timeout=5))


@pytest.mark.requirement("CF-21", "F-05")
def test_offline_sql_holds_all_parts(tmp_path):
    """The SQL holds all parts, with row-level security on PostgreSQL and without it on SQLite."""
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
    """Running the SQL by hand gives the same database as an upgrade."""
    metadata = sa.MetaData()
    for name in ("goods", "orders"):
        made = sa.Table(name, metadata, sa.Column("id", sa.Integer, primary_key=True))
    made.append_column(sa.Column("tenant_id", sa.Uuid, nullable=False))
    protect(made)
    parts = [shop(tmp_path, metadata)]
    text = script(postgres_database.owner_url(), parts)
    await connected(postgres_database.owner_url(), lambda c: c.connection.cursor().execute(text))
    assert () == await find_pending(postgres_database.owner_url(), parts)
    assert () == await differences(postgres_database.owner_url(), parts)
