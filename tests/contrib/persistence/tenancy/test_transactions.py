"""The tenant of a transaction: set when it begins, and gone when it ends."""

import asyncio
import contextvars
import random
import threading

import anyio
import anyio.to_thread
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from bandmaster.contrib.persistence import TenantIsolationError, TenantMissingError, no_tenant
from bandmaster.contrib.web import request_context, set_tenant

DRIVERS = ["psycopg", "asyncpg"]
pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("notes")]
READ = text("SELECT said FROM notes ORDER BY said")
WRITE = text("INSERT INTO notes (tenant_id, said) VALUES (:tenant, :said)")


@pytest.fixture(params=DRIVERS)
def make_isolated(request, postgres_database, make_manager):
    """A manager with one connection, so that each transaction would see the leftovers of the last one."""

    def make(**options):
        options = {"pool_size": 1, "max_overflow": 0, "sync_pool_size": 1, "sync_max_overflow": 0, **options}
        return make_manager(postgres_database.app_url(request.param), tenant_isolation="rls", **options)

    return make


async def read(session):
    return list((await session.execute(READ)).scalars())


@pytest.mark.requirement("CF-02", "PE-7", "PE-18")
async def test_each_tenant_sees_its_own_rows(make_isolated):
    """Tenants read their own rows, one after the other on the same connection."""
    manager = make_isolated()
    for tenant, rows in [("red", ["r1", "r2"]), ("blue", ["b1"]), ("green", []), ("red", ["r1", "r2"])]:
        with request_context(tenant=tenant):
            async with manager.session() as session:
                assert rows == await read(session)


@pytest.mark.requirement("CF-02", "PE-7", "PE-18")
async def test_without_a_tenant_nothing_begins(make_isolated):
    """Sessions and connections are refused without a tenant, also when one is used again."""
    manager = make_isolated()
    with pytest.raises(TenantMissingError, match="set one"):
        async with manager.session() as session:
            await read(session)
    with request_context(), pytest.raises(TenantMissingError):
        async with manager.session() as session:
            await read(session)
    async with manager.engine.connect() as connection:
        for _ in range(3):
            with pytest.raises(TenantMissingError):
                await connection.execute(READ)
        with pytest.raises(TenantMissingError):
            await connection.begin()
    with pytest.raises(TenantMissingError), manager.sync_session() as session:
        session.execute(READ)


@pytest.mark.requirement("CF-02", "PE-7", "PE-18")
async def test_no_tenant_sees_and_writes_no_protected_rows(make_isolated):
    """Inside no_tenant protected rows are invisible, and other tables can be read."""
    manager = make_isolated()
    with no_tenant():
        async with manager.session() as session:
            assert [] == await read(session)
            assert 1 == await session.scalar(text("SELECT 1"))
        for tenant in ("red", ""):
            with pytest.raises(DBAPIError, match="row-level security"):
                async with manager.session() as session:
                    await session.execute(WRITE, {"tenant": tenant, "said": "x"})
    with pytest.raises(TenantMissingError):
        async with manager.session() as session:
            await read(session)


async def test_no_tenant_wins_over_the_request(make_isolated):
    """no_tenant wins over the tenant of the request context."""
    manager = make_isolated()
    with request_context(tenant="red"), no_tenant():
        async with manager.session() as session:
            assert [] == await read(session)


@pytest.mark.requirement("CF-02", "PE-7", "PE-18")
async def test_a_tenant_writes_no_rows_of_another(make_isolated):
    """A tenant can't insert a row of another tenant, or give one away."""
    manager = make_isolated()
    with request_context(tenant="red"):
        for statement in (
            "INSERT INTO notes (tenant_id, said) VALUES ('blue', 'x')",
            "UPDATE notes SET tenant_id = 'blue'",
        ):
            with pytest.raises(DBAPIError, match="row-level security"):
                async with manager.session() as session:
                    await session.execute(text(statement))
        async with manager.session() as session:
            changed = await session.execute(text("UPDATE notes SET said = said WHERE tenant_id = 'blue'"))
            assert 0 == changed.rowcount
            assert 0 == (await session.execute(text("DELETE FROM notes WHERE tenant_id = 'blue'"))).rowcount


@pytest.mark.requirement("CF-02", "PE-7")
async def test_the_name_of_a_tenant_is_only_ever_a_value(make_isolated):
    """A tenant's name with SQL in it is only compared."""
    manager = make_isolated()
    for name in ("red'; RESET app.tenant; --", "red', false) --", "%s", "$1", "\\", "ré d", "x" * 5000):
        with request_context(tenant=name):
            async with manager.session() as session:
                assert [] == await read(session)
                assert name == await session.scalar(text("SELECT current_setting('app.tenant')"))


@pytest.mark.requirement("CF-02", "PE-7")
async def test_the_tenant_holds_through_savepoints_and_commits(make_isolated):
    """The tenant stays set after a savepoint and after a commit."""
    manager = make_isolated()
    with request_context(tenant="red"):
        async with manager.session() as session:
            async with session.begin_nested() as nested:
                assert ["r1", "r2"] == await read(session)
                await nested.rollback()
            assert ["r1", "r2"] == await read(session)
            async with session.begin_nested():
                await session.execute(WRITE, {"tenant": "red", "said": "r3"})
            await session.commit()
            assert ["r1", "r2", "r3"] == await read(session)
            await session.rollback()
            assert ["r1", "r2", "r3"] == await read(session)


async def test_a_transaction_keeps_its_tenant(make_isolated):
    """A change of the context applies from the next transaction on."""
    manager = make_isolated()
    with request_context(tenant="red"):
        async with manager.session() as session:
            assert ["r1", "r2"] == await read(session)
            set_tenant("blue")
            assert ["r1", "r2"] == await read(session)
            await session.commit()
            assert ["b1"] == await read(session)


@pytest.mark.requirement("CF-02", "PE-7")
async def test_connections_without_a_session_have_a_tenant(make_isolated):
    """``connect``, ``begin`` and a second transaction on one connection have the tenant."""
    manager = make_isolated()
    with request_context(tenant="blue"):
        async with manager.engine.connect() as connection:
            for _ in range(2):
                assert ["b1"] == list((await connection.execute(READ)).scalars())
                await connection.rollback()
        async with manager.engine.begin() as connection:
            assert ["b1"] == list((await connection.execute(READ)).scalars())


@pytest.mark.requirement("CF-02", "PE-7")
async def test_autocommit_is_refused(make_isolated):
    """AUTOCOMMIT has no transaction to set the tenant in, and is refused in each form."""
    manager = make_isolated()
    with request_context(tenant="red"):
        with pytest.raises(TenantIsolationError, match="AUTOCOMMIT"):
            async with manager.engine.connect() as connection:
                await connection.execution_options(isolation_level="AUTOCOMMIT")
                await connection.execute(READ)
        with pytest.raises(TenantIsolationError, match="AUTOCOMMIT"):
            async with manager.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
                await connection.execute(READ)
        async with manager.session() as session:
            assert ["r1", "r2"] == await read(session)


async def test_other_isolation_levels_work(make_isolated):
    """A serializable transaction has the tenant."""
    manager = make_isolated()
    with request_context(tenant="red"):

        async def work(session):
            return await read(session)

        assert ["r1", "r2"] == await manager.transaction(work, isolation_level="SERIALIZABLE")


@pytest.mark.requirement("CF-02", "PE-7")
async def test_two_phase_transactions_are_refused(make_isolated):
    """The driver begins them, so that the tenant can't be set in time."""
    manager = make_isolated()

    def work():
        with manager.sync_engine.connect() as connection, connection.begin_twophase():
            connection.execute(READ)

    with request_context(tenant="red"), pytest.raises(TenantIsolationError, match="two-phase"):
        await anyio.to_thread.run_sync(work)


@pytest.mark.requirement("CF-02", "PE-7")
async def test_the_drivers_own_connection_sees_nothing(make_isolated):
    """The driver's connection has no tenant, also right after a transaction with one."""
    manager = make_isolated()
    with request_context(tenant="red"):
        async with manager.session() as session:
            assert ["r1", "r2"] == await read(session)
        async with manager.engine.connect() as connection:
            driver = (await connection.get_raw_connection()).driver_connection
            if hasattr(driver, "fetch"):
                assert [] == await driver.fetch("SELECT said FROM notes")
            else:
                assert [] == await (await driver.execute("SELECT said FROM notes")).fetchall()


@pytest.mark.requirement("CF-02", "PE-7")
async def test_threads_take_the_context_along_or_fail(make_isolated):
    """``anyio.to_thread`` passes the context on; a bare thread has no tenant and is refused."""
    manager = make_isolated()
    seen = []

    def work():
        try:
            with manager.sync_session() as session:
                seen.append(list(session.execute(READ).scalars()))
        except TenantMissingError as error:
            seen.append(type(error))

    with request_context(tenant="blue"):
        await anyio.to_thread.run_sync(work)
        bare = threading.Thread(target=work)
        copied = threading.Thread(target=contextvars.copy_context().run, args=(work,))
        for thread in (bare, copied):
            thread.start()
            await anyio.to_thread.run_sync(thread.join)
    assert [["b1"], TenantMissingError, ["b1"]] == seen


@pytest.mark.requirement("CF-02", "PE-7", "PE-18")
async def test_by_default_a_tenant_is_optional(postgres_database, make_manager):
    """By default a transaction without a tenant begins, and policies show no rows."""
    for driver in DRIVERS:
        manager = make_manager(postgres_database.app_url(driver), pool_size=1, max_overflow=0)
        assert "auto" == manager.settings.tenant_isolation
        for tenant, rows in [("red", ["r1", "r2"]), (None, []), ("blue", ["b1"]), (None, [])]:
            with request_context(tenant=tenant):
                async with manager.session() as session:
                    assert rows == await read(session)
        async with manager.session() as session:
            assert [] == await read(session)
        with request_context(tenant="red"):
            async with manager.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
                assert [] == list((await connection.execute(READ)).scalars())


async def test_isolation_can_be_off(postgres_database, make_manager):
    """With isolation off no transaction has a tenant."""
    manager = make_manager(postgres_database.app_url(), tenant_isolation="off")
    with request_context(tenant="red"):
        async with manager.session() as session:
            assert [] == await read(session)


async def test_the_health_check_needs_no_tenant(make_isolated):
    """The health check reads no protected rows."""
    await make_isolated().ping()


@pytest.fixture
async def asyncpgs_own_noise():
    """asyncpg reports connections to the event loop that were cut while it cancelled their queries."""
    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()
    known = "unexpected connection_lost() call"
    loop.set_exception_handler(lambda loop, report: known in str(report.get("exception")) or before(loop, report))
    yield
    loop.set_exception_handler(before)


@pytest.mark.requirement("CF-02", "PE-7", "PE-18")
@pytest.mark.usefixtures("asyncpgs_own_noise")
async def test_requests_are_kept_apart_under_load(postgres_database, superuser_runs, make_manager):
    """Ten thousand queries of twenty tenants over a pool of three see all their own rows and no others.

    They use commits in the middle, savepoints, bare connections, errors, cancellations and threads.
    """
    tenants = [f"t{number}" for number in range(20)]
    superuser_runs(
        "INSERT INTO notes (tenant_id, said) SELECT 't' || t, 't' || t FROM generate_series(0, 19) AS t",
    )
    outcomes = {"right": 0, "leaked": 0, "wrongly empty": 0, "cut short": 0}

    def note(tenant, rows):
        kind = "right" if rows == [tenant] else "leaked" if set(rows) - {tenant} else "wrongly empty"
        outcomes[kind] += 1

    async def look(session, tenant):
        note(tenant, await read(session))

    async def committing(manager, tenant, dice):
        async with manager.session() as session:
            await look(session, tenant)
            await session.commit()
            await look(session, tenant)

    async def nesting(manager, tenant, dice):
        async with manager.session() as session:
            async with session.begin_nested() as nested:
                await look(session, tenant)
                if dice.random() < 0.5:
                    await nested.rollback()
            await look(session, tenant)

    async def connecting(manager, tenant, dice):
        async with manager.engine.connect() as connection:
            note(tenant, list((await connection.execute(READ)).scalars()))
            await connection.commit()
            note(tenant, list((await connection.execute(READ)).scalars()))

    async def failing(manager, tenant, dice):
        with pytest.raises(DBAPIError):
            async with manager.session() as session:
                await look(session, tenant)
                await session.execute(text("SELECT * FROM nowhere"))

    async def cancelling(manager, tenant, dice):
        with anyio.move_on_after(dice.random() * 0.02):
            async with manager.session() as session:
                await look(session, tenant)
                await anyio.sleep(0)
                await look(session, tenant)
                return
        outcomes["cut short"] += 1

    async def threading_(manager, tenant, dice):
        def work():
            with manager.sync_session() as session:
                return list(session.execute(READ).scalars())

        note(tenant, await anyio.to_thread.run_sync(work))

    kinds = [committing, nesting, connecting, failing, cancelling, threading_]

    async def user(manager, number):
        dice = random.Random(number)
        for _ in range(65):
            tenant = dice.choice(tenants)
            with request_context(tenant=tenant):
                await dice.choice(kinds)(manager, tenant, dice)

    for driver in DRIVERS:
        manager = make_manager(
            postgres_database.app_url(driver),
            tenant_isolation="rls",
            pool_size=3,
            max_overflow=0,
            sync_pool_size=3,
            sync_max_overflow=0,
            connect_timeout=30,
            pool_timeout=200,  # sixty users share three connections, on a machine that may be busy
        )
        async with anyio.create_task_group() as tasks:
            for number in range(60):
                tasks.start_soon(user, manager, number)
        await manager.dispose()
    assert (0, 0) == (outcomes["leaked"], outcomes["wrongly empty"])
    assert outcomes["right"] >= 10_000, outcomes
    assert outcomes["cut short"] > 20, outcomes
