"""The command ``bandmaster db``, from an empty package to a migrated application."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import sqlalchemy as sa
from tests.contrib.persistence.migration.parts import billing, shop, table, write
from typer.testing import CliRunner

from bandmaster.contrib.persistence.migration.commands import db
from bandmaster.kernel.testing import free_port

MAIN = """
import sqlalchemy as sa
from bandmaster.contrib.persistence.migration.contribution import migrations
from bandmaster.contrib.persistence.tenancy.row_security import protect
from bandmaster.kernel import create_app

metadata = sa.MetaData()
sa.Table("goods", metadata, sa.Column("id", sa.Integer, primary_key=True){column})
orders = sa.Table(
    "orders", metadata, sa.Column("id", sa.Integer, primary_key=True), sa.Column("tenant_id", sa.Uuid, nullable=False)
)
protect(orders)

app = create_app(
    contributions=[
        migrations("shop", {folder!r} + "/shop", metadata=metadata),
        migrations("billing", {folder!r} + "/billing"),
    ],
    discover=False,
)
nothing = create_app(contributions=[], discover=False)
"""


class Shop:
    """An application of two parts in a folder, and the command for that application."""

    def __init__(self, folder, url):
        self.folder = folder
        self.url = url
        shop(folder), billing(folder)
        self.models()

    def models(self, column=""):
        """Write the application; with another column than its migrations know."""
        (self.folder / "shop_main.py").write_text(MAIN.format(folder=str(self.folder), column=column))
        sys.modules.pop("shop_main", None)

    def run(self, command, *arguments, target="shop_main:app", url=True):
        targets = [target] if target else []
        urls = ["--url", self.url] if url else []
        return run(command, *targets, "--app-dir", str(self.folder), *urls, *arguments)

    def ask(self, command, *arguments, **options):
        """The answer for programs, with the exit code."""
        result = self.run(command, "--format", "json", *arguments, **options)
        return result.exit_code, json.loads(result.stdout)


def run(*arguments):
    result = CliRunner().invoke(db, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    """An environment without settings, and without modules that a test imported."""
    before = set(sys.modules)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.delenv("DATABASE_MIGRATION_URL", raising=False)
    yield
    for name in set(sys.modules) - before:
        if name.startswith(("shop_main", "acme")):
            del sys.modules[name]


@pytest.fixture
def lite(tmp_path):
    """The application on SQLite."""
    return Shop(tmp_path, f"sqlite:///{tmp_path / 'shop.sqlite3'}")


@pytest.fixture
def real(tmp_path, postgres_database):
    """The application on PostgreSQL."""
    return Shop(tmp_path, postgres_database.owner_url())


def statement(url, text):
    with sa.create_engine(url, poolclass=sa.NullPool).begin() as connection:
        result = connection.exec_driver_sql(text)
        return result.scalar() if result.returns_rows else None


@pytest.mark.requirement("CF-21", "F-05", "PE-5")
def test_a_database_goes_through_all_its_states(real):
    """``check`` and the exit code report a database that is empty, upgraded, or different from models and revisions."""
    code, answer = real.ask("check")
    assert (1, False, {"s1", "s2", "b1"}) == (code, answer["ok"], {one["id"] for one in answer["pending"]})
    assert "3 revisions pending:" in real.run("check").stdout

    code, answer = real.ask("upgrade")
    assert (0, True, {"s1", "s2", "b1"}) == (code, answer["ok"], {one["id"] for one in answer["applied"]})
    assert {"format": 1, "ok": True, "pending": [], "unknown": [], "differences": []} == real.ask("check")[1]
    assert "The database has all migrations, and is what the models say.\n" == real.run("check").stdout
    assert "Nothing is pending.\n" == real.run("upgrade").stdout

    real.models(column=", sa.Column('name', sa.String(9))")
    result = real.run("check")
    assert 1 == result.exit_code
    assert (
        "Models and database differ in 1 place:\n"
        "  - op.add_column('goods', sa.Column('name', sa.String(length=9), nullable=True))\n"
    ) == result.stdout
    real.models()

    statement(real.url, "ALTER TABLE orders NO FORCE ROW LEVEL SECURITY")
    code, answer = real.ask("check")
    assert (1, ["op.disable_tenant_rls('orders')", "op.enable_tenant_rls('orders')"]) == (code, answer["differences"])
    statement(real.url, "ALTER TABLE orders FORCE ROW LEVEL SECURITY")

    write(real.folder / "shop", "s3", "s2", **table("late"))
    result = real.run("check")
    assert (1, "1 revision pending:\n  - shop s3: makes s3\n") == (result.exit_code, result.stdout)
    (real.folder / "shop" / "s3.py").unlink()

    statement(real.url, "INSERT INTO alembic_version VALUES ('z9')")
    result = real.run("check")
    assert 1 == result.exit_code
    assert "The database is at z9, which no part knows: of a part removed, or newer.\n" == result.stdout
    assert ["z9"] == real.ask("check")[1]["unknown"]
    result = real.run("upgrade")
    assert 1 == result.exit_code and "at revision 'z9'" in result.stderr


@pytest.mark.requirement("CF-21", "F-05", "PE-5")
def test_parts_go_up_and_down_by_themselves(lite):
    """Each part is upgraded and downgraded alone, and ``current`` lists the state of each."""
    assert "Applied shop s1: makes s1\nApplied shop s2: makes s2\n" == lite.run("upgrade", "--part", "shop").stdout
    assert "shop s2: makes s2\nbilling: nothing applied (1 pending)\n".splitlines() == sorted(
        lite.run("current").stdout.splitlines(), reverse=True
    )
    assert "Undid shop s2: makes s2\n" == lite.run("downgrade", "--part", "shop", "--to", "-1").stdout
    assert "shop s1: makes s1 (1 pending)" in lite.run("current").stdout
    assert "Applied billing b1: makes b1\n" == lite.run("upgrade", "--to", "billing@head").stdout
    code, answer = lite.ask("current")
    assert (0, {"s1", "b1"}, ["s2"], []) == (
        code,
        {one["id"] for one in answer["current"]},
        [one["id"] for one in answer["pending"]],
        answer["unknown"],
    )
    code, answer = lite.ask("downgrade", "--to", "base")
    assert (0, {"s1", "b1"}) == (code, {one["id"] for one in answer["undone"]})
    assert "There was nothing to undo.\n" == lite.run("downgrade", "--to", "base").stdout


def test_history_asks_no_database(lite):
    """``history`` lists the revisions of all parts, or of one, without a database."""
    assert ["billing b1: makes b1", "shop s1: makes s1", "shop s2: makes s2"] == sorted(
        lite.run("history", url=False).stdout.splitlines()
    )
    code, answer = lite.ask("history", "--part", "shop", url=False)
    assert 0 == code
    assert [
        {"id": name, "part": "shop", "message": f"makes {name}", "file": str(lite.folder / "shop" / f"{name}.py")}
        for name in ("s1", "s2")
    ] == answer["revisions"]
    assert not Path(sa.make_url(lite.url).database).exists()


def test_the_sql_goes_to_standard_output(lite):
    """``--sql`` prints the statements and nothing else, and runs nothing."""
    result = lite.run("upgrade", "--sql", "--url", "postgresql://nowhere/x", "--part", "shop", url=False)
    assert 0 == result.exit_code and result.stdout.startswith("BEGIN;") and result.stdout.endswith("COMMIT;\n")
    assert 'ALTER TABLE "orders" ENABLE ROW LEVEL SECURITY;' in result.stdout
    code, answer = lite.ask("downgrade", "--sql", "--to", "shop@s2:shop@base")
    assert 0 == code and "DROP TABLE orders;" in answer["sql"]


def test_a_revision_is_written_for_one_part(lite):
    """``--part`` is required where several parts have migrations."""
    result = lite.run("revision", "-m", "more goods", "--part", "shop", url=False)
    written = Path(result.stdout.removeprefix("Wrote ").strip())
    assert (lite.folder / "shop", True) == (written.parent, written.stem.endswith("_more_goods"))
    assert 3 == len([one for one in lite.run("history", url=False).stdout.splitlines() if one.startswith("shop ")])
    result = lite.run("revision", "-m", "x", url=False)
    assert 2 == result.exit_code
    assert "several parts bring migrations, name one of" in " ".join(result.stderr.replace("│", " ").split())
    assert 2 == lite.run("revision", "-m", "x", "--part", "crm", url=False).exit_code
    assert 2 == lite.run("revision", "--part", "shop", url=False).exit_code


def test_a_revision_is_generated(real):
    """Once a generated revision has been applied, there is nothing more to generate."""
    real.run("upgrade")
    real.models(column=", sa.Column('name', sa.String(9))")
    code, answer = real.ask("revision", "-m", "names", "--part", "shop", "--autogenerate")
    assert 0 == code and "op.add_column('goods'" in Path(answer["file"]).read_text()
    assert 0 == real.run("upgrade").exit_code == real.run("check").exit_code
    result = real.run("revision", "-m", "names", "--part", "shop", "--autogenerate")
    assert (0, "The database is what the models of 'shop' say: nothing to write.\n") == (
        result.exit_code,
        result.stdout,
    )
    assert {"format": 1, "ok": True, "file": None} == real.ask(
        "revision", "-m", "names", "--part", "shop", "--autogenerate"
    )[1]


@pytest.mark.requirement("CF-21", "F-05", "PE-5")
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_from_an_empty_package_to_a_checked_database(tmp_path, kind, request):
    """The output of ``init`` is all that a developer has to write by hand."""
    package = tmp_path / "acme"
    package.mkdir()
    (package / "__init__.py").touch()
    url = (
        f"sqlite:///{tmp_path / 'x.db'}"
        if kind == "sqlite"
        else request.getfixturevalue("postgres_database").owner_url()
    )
    result = run("init", "acme", "--app-dir", str(tmp_path))
    assert 0 == result.exit_code and f"Made {package / 'migrations'}." in result.stdout
    blocks = result.stdout.split("\n\n    ")
    code, entry_points = blocks[1] + "\n" + blocks[2].partition("\n\n")[0], blocks[3].partition("\n\n")[0]
    assert {"acme_migrations": "acme.models:acme_migrations"} == (
        tomllib.loads(entry_points)["project"]["entry-points"]["bandmaster.values"]
    )
    (package / "models.py").write_text(
        "import sqlalchemy as sa\n"
        "from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column\n"
        "import uuid\n"
        "from bandmaster.kernel import create_app\n"
        "from bandmaster.contrib.persistence.tenancy.row_security import protect\n"
        "class Base(DeclarativeBase): pass\n"
        "@protect\n"
        "class Thing(Base):\n"
        "    __tablename__ = 'things'\n"
        "    id: Mapped[int] = mapped_column(primary_key=True)\n"
        "    tenant_id: Mapped[uuid.UUID]\n"
        + code
        + "\napp = create_app(contributions=[acme_migrations], discover=False)\n"
    )
    common = ["acme.models:app", "--app-dir", str(tmp_path), "--url", url]
    result = run("revision", *common, "-m", "first tables", "--autogenerate")
    assert 0 == result.exit_code, result.stderr
    assert "op.enable_tenant_rls('things')" in Path(result.stdout.removeprefix("Wrote ").strip()).read_text()
    assert 0 == run("upgrade", *common).exit_code
    assert 0 == run("check", *common).exit_code
    assert 0 == run("downgrade", *common, "--to", "base").exit_code
    assert 0 == run("upgrade", *common).exit_code
    result = run("init", "acme", "--app-dir", str(tmp_path))
    assert 1 == result.exit_code and "can't be made: File exists" in result.stderr
    result = run("init", "acme_nothing", "--app-dir", str(tmp_path), "--format", "json")
    assert 1 == result.exit_code
    assert "there is no package 'acme_nothing'" in json.loads(result.stdout)["problems"][0]["message"]


def test_the_settings_say_where_the_database_is(lite, postgres_database, monkeypatch):
    """The owner's URL wins over the application's, and the plan's settings win over the environment."""
    monkeypatch.setenv("DATABASE_URL", postgres_database.app_url())
    result = lite.run("upgrade", url=False)
    assert 1 == result.exit_code and "permission denied for schema public" in result.stderr
    monkeypatch.setenv("DATABASE_MIGRATION_URL", postgres_database.owner_url("asyncpg"))
    assert 0 == lite.run("upgrade", url=False).exit_code
    assert (
        3 == statement(postgres_database.owner_url(), "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") - 1
    )

    other = lite.folder / "shop_main_other.py"
    other.write_text(
        (lite.folder / "shop_main.py").read_text()
        + "\nfrom bandmaster.contrib.persistence import DatabaseSettings, database\n"
        "settings = DatabaseSettings(url='sqlite:///shop.sqlite3', migration_url=None)\n"
        "app = create_app(contributions=[database, migrations('billing', "
        f"{str(lite.folder / 'billing')!r})], discover=False, overrides={{DatabaseSettings: settings}})\n"
    )
    monkeypatch.chdir(lite.folder)
    code, answer = lite.ask("upgrade", target="shop_main_other:app", url=False)
    assert (0, ["b1"]) == (code, [one["id"] for one in answer["applied"]])
    assert (lite.folder / "shop.sqlite3").exists()


def test_pgbouncer_is_refused_unless_there_is_a_way_around_it(lite, postgres_database, monkeypatch):
    """PgBouncer is refused without a migration URL: the lock between processes wouldn't hold."""
    monkeypatch.setenv("DATABASE_URL", postgres_database.owner_url())
    monkeypatch.setenv("DATABASE_PGBOUNCER", "true")
    result = lite.run("upgrade", url=False)
    assert 1 == result.exit_code
    assert "DATABASE_URL goes through PgBouncer" in result.stderr
    assert "set DATABASE_MIGRATION_URL to PostgreSQL itself" in result.stderr
    monkeypatch.setenv("DATABASE_MIGRATION_URL", postgres_database.owner_url())
    assert 0 == lite.run("upgrade", url=False).exit_code


WRONG = [
    (["check", "shop_main:nobody"], 2, "has no attribute 'nobody'"),
    (["check", "no_such_module:app"], 2, "There is no module 'no_such_module'"),
    (["check", "shop_main"], 2, "isn't of the form module:attribute"),
    (["check", "shop_main:nothing"], 1, "shop_main:nothing brings no migrations"),
    (["check", "shop_main:app", "--url", "hunter2"], 2, "expected one such as postgresql://user:password@host/name"),
    (["upgrade", "shop_main:app", "--lock-timeout", "0"], 2, "expected seconds above 0"),
    (["upgrade", "shop_main:app", "--to", "zzz"], 1, "the upgrade to 'zzz' failed"),
    (["upgrade", "shop_main:app", "--part", "crm"], 2, "no part 'crm' brings migrations. There are"),
    (["downgrade", "shop_main:app"], 2, "Missing option '--to'"),
    (["check", "shop_main:app", "--url", "sqlite:////no/such/folder/x"], 1, "can't be used: unable to open database"),
]


@pytest.mark.parametrize(("arguments", "code", "words"), WRONG)
def test_errors_have_exit_codes(lite, monkeypatch, arguments, code, words):
    """The exit code is 1 for a problem and 2 for wrong use; the message goes to standard error."""
    monkeypatch.setenv("DATABASE_URL", lite.url)
    result = run(*arguments, "--app-dir", str(lite.folder))
    assert (code, "") == (result.exit_code, result.stdout)
    assert words in " ".join(result.stderr.replace("│", " ").split())
    assert "hunter2" not in result.output


def test_errors_are_json_for_programs(lite):
    """``--format json`` reports errors in the form of the kernel's own commands."""
    code, answer = lite.ask("check", target="shop_main:nobody")
    assert (2, 1, False, "TargetError") == (code, answer["format"], answer["ok"], answer["error"])
    assert "nobody" in answer["problems"][0]["message"]
    code, answer = lite.ask("check", target="shop_main:nothing")
    assert (1, "MigrationError") == (code, answer["error"])
    assert {"message", "hint", "subject"} == set(answer["problems"][0])


@pytest.mark.parametrize("command", ["upgrade", "check", "current"])
def test_no_password_is_ever_printed(lite, postgres_database, monkeypatch, command):
    """No error shows the password: of a refusing or absent database, or of malformed settings."""
    good = sa.make_url(postgres_database.owner_url())
    for url in (good.set(password="hunter2"), good.set(password="hunter2", port=free_port())):
        monkeypatch.setenv("DATABASE_URL", url.render_as_string(hide_password=False))
        result = lite.run(command, url=False)
        assert 1 == result.exit_code and good.database in result.stderr and "hunter2" not in result.output
        code, answer = lite.ask(command, url=False)
        assert code == 1 and "hunter2" not in json.dumps(answer)
    monkeypatch.setenv("DATABASE_URL", "postgresql:/user:hunter2@host")
    result = lite.run(command, url=False)
    assert 1 == result.exit_code and "hunter2" not in result.output
    assert "DATABASE_URL is wrong (DatabaseSettings): " in result.stderr


@pytest.mark.process
def test_it_is_a_command_of_bandmaster(lite):
    """``bandmaster db`` is found by the entry point, in another process."""
    command = [Path(sys.executable).parent / "bandmaster", "db", "upgrade", "shop_main:app", "--url", lite.url]
    done = subprocess.run(command, cwd=lite.folder, capture_output=True, text=True, check=False, timeout=60)
    assert (0, "") == (done.returncode, done.stderr)
    assert 3 == len(done.stdout.splitlines())


def test_help_names_every_command():
    """The help has one line for each command."""
    result = run("--help")
    for name in ("init", "revision", "upgrade", "downgrade", "current", "check", "history"):
        assert name in result.stdout
    assert 2 == run().exit_code
