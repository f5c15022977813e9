"""Whose rows a transaction may see: set when it begins, by the engine, and gone when it ends."""

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
pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("notes"), pytest.mark.requirement("CF-02", "PE-7", "PE-18")]
READ = text("SELECT said FROM notes ORDER BY said")
WRITE = text("INSERT INTO notes (tenant_id, said) VALUES (:tenant, :said)")


@pytest.fixture(params=DRIVERS)
def isolated(request, postgres_database, managed):
    """A manager with one connection: whatever one transaction leaves behind, the next one finds."""

    def make(**options):
        options = {"pool_size": 1, "max_overflow": 0, "sync_pool_size": 1, "sync_max_overflow": 0, **options}
        return managed(postgres_database.app_url(request.param), tenant_isolation="rls", **options)

    return make


async def read(session):
    return list((await session.execute(READ)).scalars())


async def test_each_tenant_sees_its_own_rows(isolated):
    """One after the other, on the same connection."""
    manager = isolated()
    for tenant, rows in [("red", ["r1", "r2"]), ("blue", ["b1"]), ("green", []), ("red", ["r1", "r2"])]:
        with request_context(tenant=tenant):
            async with manager.session() as session:
                assert rows == await read(session)


async def test_without_a_tenant_nothing_begins(isolated):
    """Sessions, connections, and a connection that is used again after it was refused."""
    manager = isolated()
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


async def test_no_tenant_sees_nobodys_rows_and_writes_none(isolated):
    """What belongs to nobody can still be read."""
    manager = isolated()
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


async def test_no_tenant_wins_over_the_request(isolated):
    """Whoever says it means it, also where a tenant is known."""
    manager = isolated()
    with request_context(tenant="red"), no_tenant():
        async with manager.session() as session:
            assert [] == await read(session)


async def test_nobody_writes_for_another(isolated):
    """Neither a new row nor one that changes hands."""
    manager = isolated()
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


async def test_the_name_of_a_tenant_is_only_ever_a_value(isolated):
    """Whatever stands in it."""
    manager = isolated()
    for name in ("red'; RESET app.tenant; --", "red', false) --", "%s", "$1", "\\", "ré d", "x" * 5000):
        with request_context(tenant=name):
            async with manager.session() as session:
                assert [] == await read(session)
                assert name == await session.scalar(text("SELECT current_setting('app.tenant')"))


async def test_it_holds_through_savepoints_and_commits(isolated):
    """Rolled back or released, once or in the middle of a request."""
    manager = isolated()
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


async def test_a_transaction_keeps_its_tenant(isolated):
    """A change of the context counts from the next transaction on."""
    manager = isolated()
    with request_context(tenant="red"):
        async with manager.session() as session:
            assert ["r1", "r2"] == await read(session)
            set_tenant("blue")
            assert ["r1", "r2"] == await read(session)
            await session.commit()
            assert ["b1"] == await read(session)


async def test_connections_without_a_session_have_a_tenant(isolated):
    """``connect``, ``begin``, and a second transaction on the same connection."""
    manager = isolated()
    with request_context(tenant="blue"):
        async with manager.engine.connect() as connection:
            for _ in range(2):
                assert ["b1"] == list((await connection.execute(READ)).scalars())
                await connection.rollback()
        async with manager.engine.begin() as connection:
            assert ["b1"] == list((await connection.execute(READ)).scalars())


async def test_autocommit_is_refused(isolated):
    """There is no transaction to set it in, however autocommit is asked for."""
    manager = isolated()
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


async def test_other_isolation_levels_work(isolated):
    """Serializable transactions have a tenant like all others."""
    manager = isolated()
    with request_context(tenant="red"):

        async def work(session):
            return await read(session)

        assert ["r1", "r2"] == await manager.transaction(work, isolation_level="SERIALIZABLE")


async def test_two_phase_transactions_are_refused(isolated):
    """They begin in the driver, where no tenant can be set in time."""
    manager = isolated()

    def work():
        with manager.sync_engine.connect() as connection, connection.begin_twophase():
            connection.execute(READ)

    with request_context(tenant="red"), pytest.raises(TenantIsolationError, match="two-phase"):
        await anyio.to_thread.run_sync(work)


async def test_the_drivers_own_connection_sees_nothing(isolated):
    """Who goes around the engine's transactions has no tenant, also right after somebody who had one."""
    manager = isolated()
    with request_context(tenant="red"):
        async with manager.session() as session:
            assert ["r1", "r2"] == await read(session)
        async with manager.engine.connect() as connection:
            driver = (await connection.get_raw_connection()).driver_connection
            if hasattr(driver, "fetch"):
                assert [] == await driver.fetch("SELECT said FROM notes")
            else:
                assert [] == await (await driver.execute("SELECT said FROM notes")).fetchall()


async def test_threads_take_the_context_along_or_fail(isolated):
    """``anyio.to_thread`` does; a bare thread has no tenant and gets nothing."""
    manager = isolated()
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


async def test_without_insisting_a_tenant_is_set_where_there_is_one(postgres_database, managed):
    """The default: policies show nothing where nobody has said for whom it is, and nothing is refused."""
    for driver in DRIVERS:
        manager = managed(postgres_database.app_url(driver), pool_size=1, max_overflow=0)
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


async def test_it_can_be_off(postgres_database, managed):
    """Then no transaction has a tenant, whoever asks."""
    manager = managed(postgres_database.app_url(), tenant_isolation="off")
    with request_context(tenant="red"):
        async with manager.session() as session:
            assert [] == await read(session)


async def test_the_health_check_needs_no_tenant(isolated):
    """It asks nothing of anybody's."""
    await isolated().ping()


@pytest.fixture
async def asyncpgs_own_noise():
    """asyncpg tells the loop of connections that were cut while it cancelled what ran on them."""
    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()
    known = "unexpected connection_lost() call"
    loop.set_exception_handler(lambda loop, told: known in str(told.get("exception")) or before(loop, told))
    yield
    loop.set_exception_handler(before)


@pytest.mark.usefixtures("asyncpgs_own_noise")
async def test_requests_are_kept_apart_under_load(postgres_database, superuser_runs, managed):
    """Ten thousand looks of twenty tenants at a pool of three: through sessions that commit in the middle, savepoints,
    connections, errors, cancellations and threads. Nobody sees another's row, nobody misses one of their own.
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

    async def cancelled(manager, tenant, dice):
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

    kinds = [committing, nesting, connecting, failing, cancelled, threading_]

    async def user(manager, number):
        dice = random.Random(number)
        for _ in range(65):
            tenant = dice.choice(tenants)
            with request_context(tenant=tenant):
                await dice.choice(kinds)(manager, tenant, dice)

    for driver in DRIVERS:
        manager = managed(
            postgres_database.app_url(driver),
            tenant_isolation="rls",
            pool_size=3,
            max_overflow=0,
            sync_pool_size=3,
            sync_max_overflow=0,
            connect_timeout=30,
        )
        async with anyio.create_task_group() as tasks:
            for number in range(60):
                tasks.start_soon(user, manager, number)
        await manager.dispose()
    assert (0, 0) == (outcomes["leaked"], outcomes["wrongly empty"])
    assert outcomes["right"] >= 10_000, outcomes
    assert outcomes["cut short"] > 20, outcomes
