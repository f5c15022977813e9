"""The components of a database."""

from typing import Annotated

import anyio
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session
from tests.logged import capture_logs

from bandmaster.contrib.persistence import (
    DatabaseManager,
    DatabaseRefusedError,
    DatabaseSchema,
    DatabaseSettings,
    DatabaseUnavailableError,
    TenantIsolationError,
    database,
    database_component,
    database_schema,
    database_session,
    database_sync_session,
    migrations,
)
from bandmaster.kernel import (
    BudgetExceededError,
    CrashError,
    Kernel,
    KernelSettings,
    LifespanBand,
    Named,
    Resources,
    Scoped,
    StartError,
    lifespan,
)
from bandmaster.kernel.testing import attempt, check_contribution, fail, free_port, run

pytestmark = pytest.mark.anyio


def kernel(*settings, contributions=(database,), **options):
    overrides = {type(one): one for one in settings}
    return {"contributions": list(contributions), "discover": False, "overrides": overrides, **options}


def of(url, **options):
    return DatabaseSettings(url=url, **{"connect_timeout": 1, **options})


@pytest.mark.requirement("CF-02", "PE-10", "FA-13")
@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
async def test_it_starts_serves_and_leaves_nothing(postgres_database, superuser_runs, driver):
    """Sessions are resources by type, and no connection is left after the stop."""
    parts = [database, database_session, database_sync_session]
    async with run(**kernel(of(postgres_database.app_url(driver)), contributions=parts)) as running:
        resources: Resources = running.resources
        async with resources[Scoped[AsyncSession]].open() as session:
            assert 1 == await session.scalar(text("SELECT 1"))
        async with resources[Scoped[Session]].open() as session:
            assert 1 == await anyio.to_thread.run_sync(session.scalar, text("SELECT 1"))
        assert isinstance(resources[DatabaseManager], DatabaseManager)
        assert 200 == (await running.client.get("/readyz")).status_code
    with anyio.fail_after(3):
        while superuser_runs(f"SELECT 1 FROM pg_stat_activity WHERE usename = '{postgres_database.app}'"):
            await anyio.sleep(0.02)


@pytest.mark.requirement("CF-02", "CF-09", "PE-11", "S-L2")
async def test_it_is_closed_when_another_start_or_stop_fails(postgres_database, superuser_runs):
    """Connections are closed when another component fails to start or to stop."""

    @lifespan(band=LifespanBand.APPLICATION)
    async def neighbour(manager: DatabaseManager):
        async with manager.session() as session:
            await session.execute(text("SELECT 1"))
        yield

    for fault in (fail("neighbour"), fail("neighbour", at="stop")):
        options = kernel(of(postgres_database.app_url()), contributions=[database, neighbour], faults=[fault])
        with pytest.raises(Exception):
            async with run(**options):
                pass
        with anyio.fail_after(3):
            while superuser_runs(f"SELECT 1 FROM pg_stat_activity WHERE usename = '{postgres_database.app}'"):
                await anyio.sleep(0.02)


@pytest.mark.requirement("CF-10")
async def test_a_database_that_is_not_there_fails_the_start():
    """The start fails in bounded time, with host and port and without the password."""
    port = free_port()
    with anyio.fail_after(5), pytest.raises(StartError) as caught:
        async with run(**kernel(of(f"postgresql://u:hunter2@127.0.0.1:{port}/shop"))):
            pass
    assert "database" == caught.value.component
    assert isinstance(caught.value.__cause__, DatabaseUnavailableError)
    assert f"'shop' at 127.0.0.1:{port}" in str(caught.value)
    assert "hunter2" not in str(caught.value)


async def test_a_wrong_password_fails_the_start(postgres_database):
    """The error of the start names the refusal."""
    url = postgres_database.app_url().replace(postgres_database.password, "hunter2")
    with pytest.raises(StartError, match="password authentication failed") as caught:
        async with run(**kernel(of(url))):
            pass
    assert isinstance(caught.value.__cause__, DatabaseRefusedError)


async def test_readiness_follows_the_database():
    """The application isn't ready while a critical database is away."""
    from bandmaster.contrib.persistence.testing import postgres_server

    with postgres_server({}) as server:
        settings = of(server.url(), probe_timeout=1)
        async with run(**kernel(settings)) as running:
            assert 200 == (await running.client.get("/readyz")).status_code
            server.stop()
            await wait_until(running, 503)
            server.start()
            await wait_until(running, 200)
        async with run(**kernel(settings.model_copy(update={"critical": False}))) as running:
            server.stop()
            await anyio.sleep(1.2)
            assert 200 == (await running.client.get("/readyz")).status_code
            server.start()


@pytest.fixture
def server():
    """A PostgreSQL that the test may stop."""
    from bandmaster.contrib.persistence.testing import postgres_server

    with postgres_server({}) as server:
        yield server


async def test_a_database_that_is_away_at_the_start(server, bandmaster_environment):
    """A database that isn't critical may come up after the application: readiness warns until then."""
    settings = of(server.url(), critical=False, probe_timeout=1)
    parts = [database, database_session, database_sync_session, database_schema]
    server.stop()
    with capture_logs() as logs:
        async with run(**kernel(settings, contributions=parts)) as running:
            answer = await running.client.get("/readyz")
            assert (200, "warn") == (answer.status_code, answer.json()["checks"]["database"]["status"])
            with pytest.raises(DatabaseUnavailableError):
                async with running.resources[DatabaseManager].session() as session:
                    await session.execute(text("SELECT 1"))
            server.start()
            await wait_until_it_passes(running)
            async with running.resources[DatabaseManager].session() as session:
                assert 1 == await session.scalar(text("SELECT 1"))
    told = [log for log in logs if log["event"] == "the database is away, and the start goes on without it"]
    assert [("warning", "database")] == [(log["log_level"], log["database"]) for log in told]
    assert "DATABASE_CRITICAL=true" in told[0]["hint"]


async def wait_until_it_passes(running):
    with anyio.fail_after(20):
        while (await running.client.get("/readyz")).json()["status"] != "pass":
            await anyio.sleep(0.05)


async def test_nothing_uses_a_database_before_its_check(server):
    """A database that comes back refuses connections until tenants are known to be apart; if they aren't, all stops."""
    settings = of(server.url(), critical=False, tenant_isolation="rls")
    with server.connect() as connection:
        connection.execute("CREATE TABLE open (tenant_id text)")
    server.stop()
    with anyio.fail_after(20), pytest.raises(CrashError) as caught:
        async with run(**kernel(settings)) as running:
            server.start()
            manager = running.resources[DatabaseManager]
            while True:
                with pytest.raises(DatabaseUnavailableError):
                    async with manager.session() as session:
                        await session.execute(text("SELECT 1"))
                await anyio.sleep(0.05)
    assert isinstance(caught.value.__cause__, TenantIsolationError)


@pytest.mark.parametrize("option", [{"schema_check": "refuse"}, {"migrate_on_start": True}])
async def test_a_schema_that_has_to_be_checked_needs_the_database(option, bandmaster_environment, tmp_path):
    """The start can't promise tables in a database that is away, and says which settings ask for that."""
    settings = of(f"postgresql://u:p@127.0.0.1:{free_port()}/shop", critical=False, **option)
    shop = migrations("shop", tmp_path)
    outcome = await attempt(**kernel(settings, contributions=[database, database_schema, shop]))
    outcome.assert_failed(component="database_schema")
    assert isinstance(outcome.cause, DatabaseUnavailableError)
    assert "DATABASE_SCHEMA_CHECK=warn" in str(outcome.cause)


async def test_a_schema_that_is_only_looked_at_is_skipped(bandmaster_environment, tmp_path):
    """Without the database the start says that the schema wasn't checked."""
    settings = of(f"postgresql://u:p@127.0.0.1:{free_port()}/shop", critical=False)
    shop = migrations("shop", tmp_path)
    with capture_logs() as logs:
        async with run(**kernel(settings, contributions=[database, database_schema, shop])) as running:
            assert () == running.resources[DatabaseSchema].current
    assert "not checked, because the database is away" in [log.get("remark") for log in logs]


async def test_a_refusal_fails_the_start_of_a_database_that_is_not_critical(postgres_database):
    """Only an absent database is excused: a wrong password stays until somebody changes a setting."""
    url = postgres_database.app_url().replace(postgres_database.password, "hunter2")
    outcome = await attempt(**kernel(of(url, critical=False)))
    outcome.assert_failed(component="database")
    assert isinstance(outcome.cause, DatabaseRefusedError)


async def wait_until(running, status):
    with anyio.fail_after(10):
        while (await running.client.get("/readyz")).status_code != status:
            await anyio.sleep(0.1)


@pytest.mark.requirement("XC-R1", "XC-R2", "CF-04")
async def test_its_connections_are_in_the_plan(postgres_database):
    """The budget sums both pools and the health check's connection; SQLite has none."""
    plan = Kernel(**kernel(of(postgres_database.app_url()))).plan
    assert {"postgres": 21} == dict(plan.budget)
    smaller = of(postgres_database.app_url(), pool_size=2, max_overflow=1, sync_pool_size=1, sync_max_overflow=0)
    assert {"postgres": 5} == dict(Kernel(**kernel(smaller)).plan.budget)
    assert {} == dict(Kernel(**kernel(of("sqlite://"))).plan.budget)


@pytest.mark.requirement("XC-R3", "XC-R4", "CF-29", "CF-41")
@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
async def test_it_is_compared_with_what_the_server_allows(postgres_database, superuser_runs, driver):
    """The smallest limit counts: the server's, the role's or the database's."""
    superuser_runs(f"ALTER ROLE {postgres_database.app} CONNECTION LIMIT 30")
    settings = of(postgres_database.app_url(driver))
    async with run(**kernel(settings)):
        pass
    superuser_runs(f"ALTER DATABASE {postgres_database.name} CONNECTION LIMIT 20")
    with pytest.raises(
        StartError, match=r"the plan may hold 21 of postgres .* of the 20 that the server allows"
    ) as caught:
        async with run(**kernel(settings)):
            pass
    assert isinstance(caught.value.__cause__, BudgetExceededError)
    async with run(**kernel(settings, settings=KernelSettings(over_budget="warn"))):
        pass
    with pytest.raises(StartError, match="84 of postgres"):
        async with run(**kernel(settings, settings=KernelSettings(processes=4, limits={"postgres": 80}))):
            pass


@pytest.mark.requirement("XC-R5", "PE-12", "F-04", "CF-41")
async def test_several_processes_fit_with_the_defaults(postgres_database):
    """Four processes of the default settings stay under PostgreSQL's default of 97 usable connections."""
    settings = of(postgres_database.app_url())
    async with run(**kernel(settings, settings=KernelSettings(processes=4))):
        pass
    assert settings.connections * 4 < 97


async def test_behind_pgbouncer_the_servers_limit_is_not_asked(postgres_database, superuser_runs):
    """Behind PgBouncer only BANDMASTER_LIMITS is compared."""
    superuser_runs(f"ALTER DATABASE {postgres_database.name} CONNECTION LIMIT 10")
    settings = of(postgres_database.app_url(), pgbouncer=True)
    async with run(**kernel(settings)):
        pass
    with pytest.raises(StartError, match="20 that BANDMASTER_LIMITS allows"):
        async with run(**kernel(settings, settings=KernelSettings(limits={"postgres": 20}))):
            pass


@pytest.mark.requirement("CF-02", "PE-7", "PE-18")
async def test_a_start_that_could_not_keep_tenants_apart_is_refused(
    postgres_database, owner_runs, notes, superuser_runs
):
    """The error lists every finding with a remedy; settings turn the error into a warning, or excuse tables."""
    url = postgres_database.app_url()
    async with run(**kernel(of(url, tenant_isolation="rls"))):
        pass
    owner_runs("CREATE TABLE open (tenant_id text)")
    superuser_runs(f"ALTER ROLE {postgres_database.app} BYPASSRLS")
    with pytest.raises(StartError) as caught:
        async with run(**kernel(of(url, tenant_isolation="rls"))):
            pass
    assert isinstance(caught.value.__cause__, TenantIsolationError)
    assert "BYPASSRLS" in str(caught.value)
    assert "public.open has no row-level security" in str(caught.value)
    with capture_logs() as logs:
        async with run(**kernel(of(url, tenant_isolation="rls", tenant_audit="warn"))):
            pass
    assert [True] == ["public.open" in log["remark"] for log in logs if log["event"] == "tenant isolation"]
    superuser_runs(f"ALTER ROLE {postgres_database.app} NOBYPASSRLS")
    async with run(**kernel(of(url, tenant_isolation="rls", tenant_unprotected="open,other"))):
        pass


async def test_isolation_without_tables_is_remarked(postgres_database):
    """An audit without protected tables logs that nothing has been migrated."""
    with capture_logs() as logs:
        async with run(**kernel(of(postgres_database.app_url(), tenant_isolation="rls"))):
            pass
    assert ["no table has the column tenant_id: has it been migrated?"] == [
        log["remark"] for log in logs if log["event"] == "tenant isolation"
    ]


@pytest.mark.requirement("PE-1", "CF-08", "F-03", "S-M2")
async def test_several_databases_with_settings_of_their_own(postgres_database, bandmaster_environment, tmp_path):
    """Each named database reads the variables of another prefix."""
    bandmaster_environment.setenv("DATABASE_URL", postgres_database.app_url())
    bandmaster_environment.setenv("REPORTING_DATABASE_URL", f"sqlite:///{tmp_path / 'reports'}")
    bandmaster_environment.setenv("WIDE_URL", postgres_database.owner_url("asyncpg"))
    bandmaster_environment.setenv("WIDE_POOL_SIZE", "1")
    seen = []

    @lifespan(band=LifespanBand.APPLICATION)
    async def user(
        main: DatabaseManager,
        reporting: Annotated[DatabaseManager, Named("reporting")],
        wide: Annotated[DatabaseManager, Named("wide")],
    ):
        for manager in (main, reporting, wide):
            async with manager.session() as session:
                await session.execute(text("SELECT 1"))
            seen.append((manager.name, manager.settings.dsn.drivername))
        yield

    parts = [database, database_component("reporting"), database_component("wide", prefix="WIDE_"), user]
    options = {"contributions": parts, "discover": False}
    assert {"postgres": 21 + 1 + 5 + 5 + 1} == dict(Kernel(**options).plan.budget)
    async with run(**options) as running:
        assert 200 == (await running.client.get("/readyz")).status_code
    assert [
        ("database", "postgresql+psycopg"),
        ("reporting", "sqlite+aiosqlite"),
        ("wide", "postgresql+asyncpg"),
    ] == seen


def test_a_malformed_name_is_refused():
    """A name of another form is refused when the component is described."""
    with pytest.raises(ValueError):
        database_component("")


async def test_the_kernels_own_checks_of_contributions(postgres_database):
    """The component passes the kernel's checks: cancelled, timed out, started twice."""
    await check_contribution(database, overrides={DatabaseSettings: of(postgres_database.app_url())})


async def test_slow_statements_are_logged(postgres_database):
    """The event has the duration of the statement, and no values."""
    settings = of(postgres_database.app_url(), slow_query=0.05)
    with capture_logs() as logs:
        async with run(**kernel(settings)) as running:
            async with running.resources[DatabaseManager].session() as session:
                await session.execute(text("SELECT :name,  pg_sleep(0.1)"), {"name": "Ms Secret"})
                await session.execute(text("SELECT 1"))
    (log,) = [log for log in logs if log["event"] == "slow query"]
    assert ("warning", "database") == (log["log_level"], log["database"])
    assert 0.1 <= log["seconds"] < 1
    assert "pg_sleep(0.1)" in log["statement"]
    assert "Ms Secret" not in str(log)
