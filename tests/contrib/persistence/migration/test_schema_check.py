"""The start checks that a database has all revisions, or applies them."""

from typing import Annotated

import pytest
import sqlalchemy as sa
from tests.contrib.persistence.migration.parts import shop
from tests.logged import capture_logs

from bandmaster.contrib.persistence import (
    DatabaseManager,
    DatabaseSchema,
    DatabaseSettings,
    MigrationError,
    Migrations,
    TenantIsolationError,
    database,
    database_schema,
    migrations,
)
from bandmaster.kernel import LifespanBand, Named, StartError, lifespan
from bandmaster.kernel.testing import run

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["psycopg", "asyncpg", "sqlite", "memory"])
def url(request, tmp_path):
    if request.param == "memory":
        return "sqlite://"
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'file'}"
    return request.getfixturevalue("postgres_database").owner_url(request.param)


@pytest.fixture
def part(tmp_path):
    """A part with two revisions."""
    found = shop(tmp_path)
    return migrations(found.name, found.location, metadata=found.metadata)


def kernel(url, *parts, **settings):
    settings = DatabaseSettings.model_validate({"url": url, "connect_timeout": 2, **settings})
    return {
        "contributions": [database, database_schema, *parts],
        "discover": False,
        "overrides": {DatabaseSettings: settings},
    }


@pytest.mark.requirement("CF-21", "F-05", "PE-5")
async def test_pending_migrations_are_applied_where_the_settings_say_so(url, part):
    """Pending revisions are applied once, before components that need the schema start."""
    seen = []

    @lifespan(band=LifespanBand.SERVICES)
    async def user(manager: DatabaseManager, schema: DatabaseSchema):
        async with manager.engine.connect() as connection:
            tables = await connection.run_sync(lambda sync: sa.inspect(sync).get_table_names())
        seen.append((len(schema.applied), "alembic_version" in tables, len(tables) > 1))
        yield

    for _ in range(2):
        async with run(**kernel(url, part, user, migrate_on_start=True)):
            pass
    assert (True, True, True) == (seen[0][0] > 0, *seen[0][1:])
    assert (0 if url != "sqlite://" else seen[0][0]) == seen[1][0]


@pytest.mark.parametrize("url", ["psycopg", "sqlite"], indirect=True)
async def test_pending_migrations_are_logged_or_refused(url, part):
    """Pending revisions are logged or refused by a setting, and the database stays unchanged."""
    with capture_logs() as logs:
        async with run(**kernel(url, part)):
            pass
    (log,) = [log for log in logs if log["event"] == "schema"]
    assert "pending" in log["remark"]
    assert "bandmaster db upgrade" in log["hint"]
    with pytest.raises(StartError, match="DATABASE_MIGRATE_ON_START=true") as caught:
        async with run(**kernel(url, part, schema_check="refuse")):
            pass
    assert isinstance(caught.value.__cause__, MigrationError)
    with capture_logs() as logs:
        async with run(**kernel(url, part, schema_check="off")):
            pass
    assert [] == [log for log in logs if log["event"] == "schema"]


async def test_without_migrations_nothing_is_checked(tmp_path):
    """Without migrations no table is created, not even Alembic's."""
    file = tmp_path / "file"
    async with run(**kernel(f"sqlite:///{file}", migrate_on_start=True)) as running:
        assert DatabaseSchema(()) == running.resources[DatabaseSchema]


async def test_the_embedded_database_is_migrated_unless_told_otherwise(tmp_path, monkeypatch, part):
    """The embedded database is migrated by default."""
    monkeypatch.chdir(tmp_path)
    for given, migrates in [({}, True), ({"migrate_on_start": False}, False)]:
        settings = DatabaseSettings(**given)
        assert migrates == settings.migrates
    assert not DatabaseSettings(url="sqlite:///file").migrates


async def test_what_was_just_migrated_is_audited(postgres_database, tmp_path):
    """A table that a migration leaves open fails the same start."""
    folder = tmp_path / "open"
    folder.mkdir()
    (folder / "a1_open.py").write_text(
        '"""open"""\n'
        "import sqlalchemy as sa\n"
        "from alembic import op\n"
        "revision = 'a1'\ndown_revision = None\nbranch_labels = ('open',)\ndepends_on = None\n"
        "def upgrade():\n    op.create_table('open_table', sa.Column('tenant_id', sa.Text))\n"
        "def downgrade():\n    op.drop_table('open_table')\n"
    )
    options = {"migration_url": postgres_database.owner_url(), "tenant_isolation": "rls", "migrate_on_start": True}
    with pytest.raises(StartError, match=r"public\.open_table has no row-level security") as caught:
        async with run(**kernel(postgres_database.app_url(), migrations("open", folder), **options)):
            pass
    assert isinstance(caught.value.__cause__, TenantIsolationError)


async def test_migrations_are_found_by_type_as_well(tmp_path, part):
    """Migrations are a resource by type and name."""

    @lifespan(band=LifespanBand.SERVICES)
    async def user(found: Annotated[Migrations, Named("shop")]):
        assert "shop" == found.name
        yield

    async with run(**kernel(f"sqlite:///{tmp_path / 'file'}", part, user)):
        pass
