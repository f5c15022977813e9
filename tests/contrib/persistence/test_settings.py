"""What can be set about a database."""

import pytest
from pydantic import ValidationError

from bandmaster.contrib.persistence import DatabaseManager, DatabaseSettings, database
from bandmaster.kernel import PlanError
from bandmaster.kernel.testing import run

SECRET = "hunter2hunter2"


@pytest.mark.requirement("CF-07", "F-02", "PE-8", "PE-9", "PE-14", "F-08", "CF-37", "F-09", "PE-15")
def test_defaults_are_conservative():
    """Pools that four processes can have beside each other; nothing is logged that could be a secret."""
    settings = DatabaseSettings()
    assert (10, 5, 3, 2) == (
        settings.pool_size,
        settings.max_overflow,
        settings.sync_pool_size,
        settings.sync_max_overflow,
    )
    assert (30, 3600, False) == (settings.pool_timeout, settings.pool_recycle, settings.echo)
    assert all(field.description for field in DatabaseSettings.model_fields.values())


@pytest.mark.parametrize(
    ("given", "driver"),
    [
        ("postgresql://u@h/d", "postgresql+psycopg"),
        ("postgres://u@h/d", "postgresql+psycopg"),
        ("postgresql+psycopg://u@h/d", "postgresql+psycopg"),
        ("postgresql+asyncpg://u@h/d", "postgresql+asyncpg"),
        ("sqlite:///file", "sqlite+aiosqlite"),
        ("sqlite://", "sqlite+aiosqlite"),
        ("  postgresql://u@h/d  ", "postgresql+psycopg"),
    ],
)
def test_urls_are_taken_as_people_write_them(given, driver):
    """The driver is chosen where none is named."""
    assert driver == DatabaseSettings(url=given).dsn.drivername


@pytest.mark.requirement("CF-23", "F-07", "PE-13", "P-01", "P-02", "P-18")
@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"url": ""}, "is blank"),
        ({"url": "   "}, "is blank"),
        ({"url": f"postgresql:{SECRET}"}, "isn't a URL"),
        ({"url": f"postgresql://u:{SECRET}@h:port/d"}, "isn't a URL"),
        ({"url": f"oracle9://u:{SECRET}@h/d"}, "names no database that SQLAlchemy knows"),
        ({"url": f"postgresql+psycopg2://u:{SECRET}@h/d"}, "has no asynchronous driver"),
        ({"url": f"mysql+aiomysql://u:{SECRET}@h/d"}, "needs the driver 'aiomysql': pip install aiomysql"),
        ({"url": f"postgresql://u:{SECRET}@h"}, "names no database"),
        ({"pool_size": 0}, "greater than or equal to 1"),
        ({"max_overflow": -1}, "greater than or equal to 0"),
        ({"sync_pool_size": 0}, "greater than or equal to 1"),
        ({"sync_max_overflow": -1}, "greater than or equal to 0"),
        ({"pool_timeout": 0}, "greater than 0"),
        ({"tenant_isolation": "rls"}, "sqlite has no row-level security"),
        ({"tenant_setting": "tenant"}, "of the form app.tenant"),
        ({"tenant_setting": "app.te'nant"}, "of the form app.tenant"),
        ({"tenant_column": "tenant id"}, "expected the name of a column"),
        ({"migration_url": "postgresql://u@h/d"}, "another kind of database"),
    ],
)
def test_wrong_values_fail_when_they_are_read(values, said):
    """With the reason, before any connection, and without the password."""
    with pytest.raises(ValidationError) as caught:
        DatabaseSettings(**values)
    assert said in str(caught.value)
    assert SECRET not in str(caught.value)


def test_a_wrong_url_is_a_problem_of_the_plan(bandmaster_environment):
    """It names the variable, nothing is opened, nothing secret is shown."""
    from bandmaster.kernel import Kernel

    bandmaster_environment.setenv("DATABASE_URL", f"postgresql+psycopg2://u:{SECRET}@h/d")
    with pytest.raises(PlanError, match="DATABASE_URL is wrong") as caught:
        Kernel(contributions=[database], discover=False)
    assert SECRET not in str(caught.value)


def test_no_text_of_it_shows_a_password():
    """Not what people print, not what programs dump."""
    settings = DatabaseSettings(url=f"postgresql://u:{SECRET}@h/d", migration_url=f"postgresql://o:{SECRET}@h/d")
    texts = [repr(settings), str(settings), settings.model_dump_json(), repr(DatabaseManager(settings))]
    texts += [repr(settings.dsn), str(settings.migration_dsn), repr(settings.sync_dsn)]
    assert not [text for text in texts if SECRET in text]
    assert SECRET == settings.dsn.password


async def _started(settings, **kernel):
    from bandmaster.kernel import KernelSettings

    options = {"overrides": {DatabaseSettings: settings}, "settings": KernelSettings(**kernel)}
    async with run(contributions=[database], discover=False, **options):
        pass


@pytest.mark.anyio
@pytest.mark.requirement("FA-11")
async def test_production_refuses_echo_and_the_embedded_database(tmp_path, monkeypatch):
    """What is handy while developing must not be found in production by surprise."""
    monkeypatch.chdir(tmp_path)
    from bandmaster.kernel import StartError

    with pytest.raises(StartError, match="DATABASE_ECHO logs every value"):
        await _started(DatabaseSettings(url="sqlite://", echo=True), environment="production")
    with pytest.raises(StartError, match="DATABASE_URL isn't set"):
        await _started(DatabaseSettings(), environment="production")
    assert [] == list(tmp_path.iterdir())
    await _started(DatabaseSettings(url="sqlite://"), environment="production")
