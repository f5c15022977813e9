"""New revisions, and the folder for a part's first one."""

import sys

import pytest
import sqlalchemy as sa
from tests.contrib.persistence.migration.parts import shop

from bandmaster.contrib.persistence.migration.branches import MigrationError, Migrations
from bandmaster.contrib.persistence.migration.migrate import upgrade
from bandmaster.contrib.persistence.migration.new_revisions import generate_revision, make_folder, write_revision
from bandmaster.contrib.persistence.migration.state import differences, history

pytestmark = pytest.mark.anyio


def test_the_first_revision_of_a_part_begins_its_branch(tmp_path):
    """The first revision begins the branch, the next one follows, and dependencies name the newest revisions."""
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
    """A generated revision leaves out differences of other parts' models."""
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
    """A part without metadata gets an error with the remedy."""
    with pytest.raises(MigrationError, match="'shop' has no metadata, so that there is nothing to generate from"):
        await generate_revision(database, [shop(tmp_path)], "shop", "x")


def test_a_folder_is_made_once(tmp_path, monkeypatch):
    """The folder has an ``__init__.py``, and a second call is refused."""
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
