"""Settings of a database."""

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import ValidationError

from bandmaster.contrib.persistence import DatabaseManager, DatabaseSettings, database
from bandmaster.kernel import PlanError
from bandmaster.kernel.testing import run

SECRET = "hunter2hunter2"


@pytest.mark.requirement("CF-07", "F-02", "PE-8", "PE-9", "PE-14", "F-08", "CF-37", "F-09", "PE-15")
def test_defaults_are_conservative():
    """The defaults fit four processes on one server, and log no statements."""
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
    ("url", "driver"),
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
def test_a_url_without_a_driver_gets_one(url, driver):
    """The installed asynchronous driver is chosen where the URL names none."""
    assert driver == DatabaseSettings(url=url).dsn.drivername


@pytest.mark.requirement("CF-23", "F-07", "PE-13", "P-18")
@pytest.mark.parametrize(
    ("values", "reason"),
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
def test_wrong_values_fail_when_they_are_read(values, reason):
    """The error has the reason and no password, and comes before any connection."""
    with pytest.raises(ValidationError) as caught:
        DatabaseSettings(**values)
    assert reason in str(caught.value)
    assert SECRET not in str(caught.value)


BLANK = st.text(" \t\n\r\f\v\u00a0\u2003\u3000", max_size=20)


@pytest.mark.requirement("P-01", "CF-23")
@hypothesis_settings(max_examples=200, deadline=None)
@given(url=BLANK, field=st.sampled_from(["url", "migration_url"]))
def test_p01_a_blank_url_is_refused(url, field):
    """Property 1: an empty URL, or one of white space, raises a ValueError that names the field and the remedy."""
    with pytest.raises(ValueError, match=rf"{field}\n.*is blank; expected a URL such as postgresql://"):
        DatabaseSettings(**{field: url})


@pytest.mark.requirement("P-01", "CF-23", "F-07")
@hypothesis_settings(max_examples=200, deadline=None)
@given(url=st.text().filter(str.strip))
def test_p01_any_text_is_a_url_or_is_refused(url):
    """Property 1: a text is accepted as the URL of a known database, or raises a ValueError that doesn't repeat it."""
    try:
        settings = DatabaseSettings(url=url)
    except ValueError as error:
        assert "url\n" in str(error)
        assert len(url.strip()) < 12 or url.strip() not in str(error)
    else:
        assert settings.dsn.get_backend_name() in ("postgresql", "sqlite")


@pytest.mark.requirement("P-02", "CF-23", "PE-13")
@hypothesis_settings(max_examples=300, deadline=None)
@given(size=st.integers(-5, 50), overflow=st.integers(-5, 50), prefix=st.sampled_from(["", "sync_"]))
def test_p02_pools_have_at_least_one_connection(size, overflow, prefix):
    """Property 2: a pool_size below 1 or a max_overflow below 0 raises a ValueError, and all other sizes are taken."""
    sizes = {f"{prefix}pool_size": size, f"{prefix}max_overflow": overflow}
    if size >= 1 and overflow >= 0:
        assert sizes == DatabaseSettings(**sizes).model_dump(include=set(sizes))
        return
    with pytest.raises(ValueError) as caught:
        DatabaseSettings(**sizes)
    wrong = [name for name, least in ((f"{prefix}pool_size", 1), (f"{prefix}max_overflow", 0)) if sizes[name] < least]
    assert wrong == [name for name in sizes if f"{name}\n" in str(caught.value)]


def test_a_wrong_url_is_a_problem_of_the_plan(bandmaster_environment):
    """The problem names the variable and shows no password, and nothing is opened."""
    from bandmaster.kernel import Kernel

    bandmaster_environment.setenv("DATABASE_URL", f"postgresql+psycopg2://u:{SECRET}@h/d")
    with pytest.raises(PlanError, match="DATABASE_URL is wrong") as caught:
        Kernel(contributions=[database], discover=False)
    assert SECRET not in str(caught.value)


def test_no_text_of_the_settings_shows_a_password():
    """Neither representations nor dumps of settings and managers hold the password."""
    settings = DatabaseSettings(url=f"postgresql://u:{SECRET}@h/d", migration_url=f"postgresql://o:{SECRET}@h/d")
    texts = [repr(settings), str(settings), settings.model_dump_json(), repr(DatabaseManager(settings))]
    texts += [repr(settings.dsn), str(settings.migration_dsn), repr(settings.sync_dsn)]
    assert not [text for text in texts if SECRET in text]
    assert SECRET == settings.dsn.password


async def start(settings, **kernel):
    from bandmaster.kernel import KernelSettings

    options = {"overrides": {DatabaseSettings: settings}, "settings": KernelSettings(**kernel)}
    async with run(contributions=[database], discover=False, **options):
        pass


@pytest.mark.anyio
@pytest.mark.requirement("FA-11")
async def test_production_refuses_echo_and_the_embedded_database(tmp_path, monkeypatch):
    """A start in production is refused with DATABASE_ECHO, and without DATABASE_URL."""
    monkeypatch.chdir(tmp_path)
    from bandmaster.kernel import PlanError

    with pytest.raises(PlanError, match="DATABASE_ECHO logs every value, which is refused in production"):
        await start(DatabaseSettings(url="sqlite://", echo=True), environment="production")
    with pytest.raises(PlanError, match="DATABASE_URL isn't set"):
        await start(DatabaseSettings(), environment="production")
    assert [] == list(tmp_path.iterdir())
    await start(DatabaseSettings(url="sqlite://"), environment="production")
