"""Parts describe their migrations, and a plan collects them."""

import sys
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

import pytest
import sqlalchemy as sa
from tests.contrib.persistence.migration.parts import billing, shop, write

from bandmaster.contrib.persistence.migration.branch_check import check_branches
from bandmaster.contrib.persistence.migration.branches import MigrationError, Migrations
from bandmaster.contrib.persistence.migration.contribution import collect, migrations
from bandmaster.contrib.persistence.migration.revision_files import revision_files
from bandmaster.kernel import Kernel, LifespanBand, Named, PermanentError, lifespan


def plan(*contributions, **options):
    return Kernel(contributions=list(contributions), discover=False, **options).plan


@pytest.mark.parametrize(
    "name", ["", "1a", "a-b", "a.b", "a b", "a@b", "a+1", "heads", "head", "base", "current", None]
)
def test_a_name_is_one_that_alembic_takes_for_a_label(name):
    """The name is a label on the command line, before ``@head``."""
    with pytest.raises(ValueError, match="name: expected letters, digits and '_'"):
        Migrations(name, "shop:migrations")
    with pytest.raises(ValueError, match="depends_on: expected "):
        Migrations("shop", "shop:migrations", depends_on=[name])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"location": ""}, "location: expected 'package:folder' or a path"),
        ({"location": 5}, "location: expected 'package:folder' or a path"),
        ({"location": "x", "depends_on": "shop"}, "depends_on: expected names of parts, got the text 'shop'"),
        ({"location": "x", "metadata": "Base"}, "metadata: expected a MetaData"),
    ],
)
def test_other_arguments_are_checked(arguments, message):
    """A wrong argument is refused when the migrations are described, by the argument's name."""
    with pytest.raises(ValueError, match=message):
        Migrations("shop", **arguments)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package that can be imported, in a folder of its own."""
    (tmp_path / "acme" / "inner").mkdir(parents=True)
    (tmp_path / "acme" / "__init__.py").touch()
    (tmp_path / "acme" / "inner" / "__init__.py").touch()
    (tmp_path / "acme" / "module.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path / "acme"
    for name in [name for name in sys.modules if name.partition(".")[0] == "acme"]:
        del sys.modules[name]


def test_a_location_is_in_a_package(package):
    """A location names a package, wherever the package is installed."""
    (package / "inner" / "migrations").mkdir()
    assert package / "inner" / "migrations" == Migrations("acme", "acme.inner:migrations").folder


def test_a_location_is_a_path(tmp_path, monkeypatch):
    """A path is absolute, or relative to the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "versions").mkdir()
    for location in (tmp_path / "versions", str(tmp_path / "versions"), "versions", Path("versions")):
        assert tmp_path / "versions" == Migrations("acme", location).folder


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("acme:nothing", ["'acme' are to be in 'acme:nothing'", "no folder /", "bandmaster db init"]),
        ("/no/such/place", ["'/no/such/place'", "no folder /no/such/place"]),
        ("acme.other:migrations", ["'acme.other:migrations'", "'acme.other' can't be imported"]),
        ("acme.module:migrations", ["acme.module is a module, not a package"]),
    ],
)
def test_a_missing_folder_is_an_error(package, location, words):
    """The error for a missing folder names the part, the folder and the remedy."""
    with pytest.raises(MigrationError) as caught:
        _ = Migrations("acme", location).folder
    assert [] == [word for word in words if word not in str(caught.value)]
    assert isinstance(caught.value, PermanentError)


def test_a_package_in_an_archive_has_no_folder(tmp_path, monkeypatch):
    """A package in an archive is refused, because Alembic reads files."""
    with zipfile.ZipFile(tmp_path / "zipped.zip", "w") as archive:
        archive.writestr("zipped/__init__.py", "")
        archive.writestr("zipped/migrations/a1.py", "")
    monkeypatch.syspath_prepend(tmp_path / "zipped.zip")
    with pytest.raises(MigrationError, match="isn't in a directory"):
        _ = Migrations("zipped", "zipped:migrations").folder


@pytest.mark.requirement("CF-21", "F-05", "PE-5")
def test_parts_migrations_are_found_in_the_plan(tmp_path):
    """Migrations are collected in the plan's order, completely, and without a start."""
    metadata = sa.MetaData()
    shop(tmp_path), billing(tmp_path)
    found = collect(
        plan(
            migrations("shop", tmp_path / "shop", metadata=metadata),
            migrations("billing", tmp_path / "billing", depends_on=["shop"]),
        )
    )
    assert (
        Migrations("billing", tmp_path / "billing", None, ("shop",)),
        Migrations("shop", tmp_path / "shop", metadata),
    ) == found
    assert () == collect(plan())


@pytest.mark.anyio
async def test_they_are_found_inside_a_running_loop_as_well(tmp_path):
    """A component may collect migrations while it starts."""
    shop(tmp_path)
    assert ["shop"] == [part.name for part in collect(plan(migrations("shop", tmp_path / "shop")))]


@pytest.mark.anyio
async def test_they_are_a_resource_like_any_other(tmp_path):
    """Components and handlers ask for migrations by type and name."""
    part = shop(tmp_path)
    kernel = Kernel(contributions=[migrations("shop", part.location)], discover=False)
    async with kernel.running() as resources:
        assert part == resources[Annotated[Migrations, Named("shop")]]


def test_what_is_disabled_is_not_migrated(tmp_path):
    """A disabled component contributes no migrations."""
    shop(tmp_path), billing(tmp_path)
    contributions = [migrations("shop", tmp_path / "shop"), migrations("billing", tmp_path / "billing")]
    assert ["shop"] == [part.name for part in collect(plan(*contributions, disable={"billing_migrations"}))]


def test_an_override_stands_for_what_it_replaces(tmp_path):
    """Tests and hosts override the migrations of a part."""
    other = shop(tmp_path)
    contribution = migrations("shop", tmp_path / "nowhere")
    assert (other,) == collect(plan(contribution, overrides={Annotated[Migrations, Named("shop")]: other}))


@lifespan(band=LifespanBand.PERSISTENCE)
async def started() -> AsyncIterator[Migrations]:
    """Provides migrations as a component does, with a start."""
    yield Migrations("started", "x")


def test_a_component_cannot_provide_migrations():
    """Migrations are collected without a start, so that only values provide them."""
    with pytest.raises(
        MigrationError, match="the component 'started' provides Migrations, which is collected without a start"
    ):
        collect(plan(started))


def complaint(*parts):
    with pytest.raises(MigrationError) as caught:
        check_branches(parts)
    return str(caught.value)


def test_two_parts_with_one_revision_id_are_refused(tmp_path):
    """Two revisions with one id are refused: Alembic would confuse them."""
    one, other = shop(tmp_path), Migrations("crm", tmp_path / "crm")
    write(tmp_path / "crm", "s2")
    message = complaint(one, other)
    assert "revision 's2' is there twice" in message
    for word in ("'shop'", "'crm'", str(tmp_path / "shop" / "s2.py"), str(tmp_path / "crm" / "s2.py"), "another id"):
        assert word in message


def test_two_parts_with_one_name_or_one_folder_are_refused(tmp_path):
    """A branch belongs to one part."""
    part = shop(tmp_path)
    assert "2 parts call their migrations 'shop'" in complaint(part, billing(tmp_path), Migrations("shop", "elsewhere"))
    assert "'shop' and 'store' have one folder" in complaint(part, Migrations("store", tmp_path / "." / "shop"))


def test_dependencies_are_among_the_parts(tmp_path):
    """The error for an unknown dependency suggests the nearest name."""
    part = shop(tmp_path)
    assert "'billing' depends on 'shp', which brings no migrations. Did you mean 'shop'?" in complaint(
        part, billing(tmp_path, depends_on=["shp"])
    )
    assert "'shop' depends on itself" == complaint(Migrations("shop", part.location, depends_on=("shop",)))


def test_a_branch_has_the_label_of_its_part(tmp_path):
    """A first revision needs its part's label, and no revision follows one of another part."""
    part = shop(tmp_path)
    write(tmp_path / "crm", "c1", label=("other",))
    write(tmp_path / "crm", "c2", "s1")
    message = complaint(part, Migrations("crm", tmp_path / "crm"))
    assert message.startswith("2 problems with migrations:")
    assert "revision 'c1' begins the branch of 'crm'" in message
    assert "write branch_labels = ('crm',) in it" in message
    assert "revision 'c2' of 'crm'" in message
    assert "follows 's1' of 'shop': name it in depends_on, not in down_revision" in message


def test_all_problems_are_listed_at_once(tmp_path):
    """One error lists every problem."""
    message = complaint(Migrations("a", tmp_path / "a"), Migrations("b", tmp_path / "b", depends_on=("c",)))
    assert message.startswith("3 problems with migrations:\n  - ")


def test_revision_files_are_read_and_not_run(tmp_path):
    """Revision files are parsed in every common form, and other files are left out."""
    (tmp_path / "a.py").write_text("revision: str = 'a'\ndown_revision = None\nraise SystemExit")
    (tmp_path / "b.py").write_text(
        "revision = \"b\"\ndown_revision: tuple = ('a', 'x')\nbranch_labels = ['l']\ndepends_on = {'y'}"
    )
    (tmp_path / "c.py").write_text("revision = make()")
    (tmp_path / "d.py").write_text("def broken(:")
    (tmp_path / "e.py").write_bytes(b"\xff\x00")
    (tmp_path / "__init__.py").write_text('"""Migrations."""')
    (tmp_path / "a.sql").write_text("revision = 'z'")
    found = [
        (file.revision, file.down_revision, file.branch_labels, file.depends_on) for file in revision_files(tmp_path)
    ]
    assert [("a", (), (), ()), ("b", ("a", "x"), ("l",), ("y",))] == found
