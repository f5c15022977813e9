"""The state of a database, differences from the models, and the history of revisions."""

import pytest
import sqlalchemy as sa
from tests.contrib.persistence.migration.databases import DRIVERS, find_current, find_pending, ids
from tests.contrib.persistence.migration.parts import billing, shop

from bandmaster.contrib.persistence.migration.branches import MigrationError, Migrations
from bandmaster.contrib.persistence.migration.connection import connected
from bandmaster.contrib.persistence.migration.migrate import downgrade, upgrade
from bandmaster.contrib.persistence.migration.new_revisions import generate_revision
from bandmaster.contrib.persistence.migration.state import differences, history, state
from bandmaster.contrib.persistence.tenancy.row_security import protect

pytestmark = pytest.mark.anyio


@pytest.mark.requirement("CF-21", "F-05", "PE-5")
@pytest.mark.parametrize("database", DRIVERS[:4], indirect=True)
async def test_after_an_upgrade_autogenerate_finds_nothing(database, tmp_path):
    """Models with types of all kinds, and a marked table, match the upgraded database of each dialect."""
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
async def test_differences_are_operations(database, tmp_path):
    """Differences are the operations that would remove them; tables without a model are ignored."""
    metadata = sa.MetaData()
    sa.Table("goods", metadata, sa.Column("id", sa.Integer, primary_key=True), sa.Column("name", sa.String(9)))
    parts = [shop(tmp_path, metadata), billing(tmp_path)]
    await upgrade(database, parts)
    message = await differences(database, parts)
    assert ("sa.Column('name', sa.String(length=9), nullable=True)" in message[0], 1) == (True, len(message))
    assert () == await differences(database, [billing(tmp_path)])


async def test_a_type_that_changes_is_a_difference(database, tmp_path):
    """A changed type of a column is a difference."""
    metadata = sa.MetaData()
    sa.Table("goods", metadata, sa.Column("id", sa.BigInteger, primary_key=True))
    parts = [shop(tmp_path, metadata)]
    await upgrade(database, parts)
    (message,) = await differences(database, parts)
    assert message.startswith("op.alter_column('goods', 'id'")


async def test_models_of_several_schemas_are_compared(database, tmp_path):
    """Only schemas that a model names are compared."""
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


async def test_a_part_that_others_depend_on_counts_as_migrated(database, tmp_path):
    """Alembic's table leaves out a revision that others depend on; ``current`` includes it."""
    metadata = sa.MetaData()
    sa.Table("bills", metadata, sa.Column("id", sa.Integer, primary_key=True), sa.Column("sum", sa.Integer))
    parts = [shop(tmp_path), billing(tmp_path, metadata, depends_on=["shop"])]
    await upgrade(database, parts)
    assert {"s2", "b1"} == set(ids(await find_current(database, parts)))
    assert () == await find_pending(database, parts)
    written = await generate_revision(database, parts, "billing", "sums")
    assert "add_column('bills'" in written.read_text()
    assert [written.stem.partition("_")[0]] == ids(await upgrade(database, parts))


def test_history_is_in_an_order_that_can_be_applied(tmp_path):
    """``history`` lists a revision after those that it depends on, without a database."""
    parts = [billing(tmp_path, depends_on=["shop"]), shop(tmp_path)]
    found = history(parts)
    assert ["s1", "s2", "b1"] == ids(found)
    assert ("shop", "makes s2", tmp_path / "shop" / "s2.py") == (found[1].part, found[1].message, found[1].path)
    assert "shop s2: makes s2" == str(found[1])


async def test_an_unknown_revision_in_the_database_is_listed(database, tmp_path):
    """The state lists a revision that no part has."""
    parts = [shop(tmp_path), billing(tmp_path)]
    await upgrade(database, parts)
    found = await state(database, parts[:1])
    assert (("b1",), ["s2"], ()) == (found.unknown, ids(found.current), found.pending)
    with pytest.raises(MigrationError, match="at revision 'b1', or you named it, and no part has it"):
        await upgrade(database, parts[:1])
