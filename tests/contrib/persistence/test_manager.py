"""One database: its engines, its sessions, and its end."""

import gc
import os
import threading

import anyio
import anyio.to_thread
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from bandmaster.contrib.persistence import (
    DatabaseClosedError,
    DatabaseManager,
    DatabaseSettings,
    PoolGauge,
    TransientDatabaseError,
    database,
)
from bandmaster.kernel import BandmasterError, Kernel, KernelSettings

DRIVERS = ["psycopg", "asyncpg"]


pytestmark = pytest.mark.anyio


@pytest.fixture
def things(owner_runs):
    owner_runs("CREATE TABLE things (name text)")


async def names(manager):
    async with manager.session() as session:
        return sorted((await session.execute(text("SELECT name FROM things"))).scalars())


async def add(session, name):
    await session.execute(text("INSERT INTO things VALUES (:name)"), {"name": name})


class Boom(Exception):
    pass


@pytest.mark.requirement("PE-16", "PE-17", "P-03", "PE-1", "PE-2", "PE-3")
@pytest.mark.parametrize("driver", DRIVERS)
async def test_a_session_commits_or_rolls_back(postgres_database, things, make_manager, driver):
    """The session commits at the end of the block, or rolls back and raises the exception unchanged."""
    manager = make_manager(postgres_database.app_url(driver))
    async with manager.session() as session:
        await add(session, "kept")
    cause = KeyError("why")
    raised = Boom("unchanged")
    with pytest.raises(Boom) as caught:
        async with manager.session() as session:
            await add(session, "lost")
            raise raised from cause
    assert raised is caught.value
    assert cause is caught.value.__cause__
    assert ["kept"] == await names(manager)


@pytest.mark.requirement("PE-1", "PE-2", "PE-3")
async def test_sessions_are_made_by_an_async_sessionmaker(tmp_path, make_manager):
    """``begin()`` is an asynchronous block, which a ``sessionmaker`` for AsyncSession doesn't have."""
    manager = make_manager(f"sqlite:///{tmp_path / 'file'}")
    async with manager.sessions.begin() as session:
        assert isinstance(session, AsyncSession)
        await session.execute(text("SELECT 1"))
    assert isinstance(manager.sessions, async_sessionmaker)


@pytest.mark.requirement("PE-16", "PE-17", "P-03")
async def test_cancellation_rolls_back_and_goes_on(postgres_database, things, make_manager):
    """The connection returns to the pool, and the scope catches its own cancellation."""
    manager = make_manager(postgres_database.app_url(), pool_size=1, max_overflow=0)
    with anyio.move_on_after(0.1) as scope:
        async with manager.session() as session:
            await add(session, "lost")
            await anyio.sleep(5)
    assert scope.cancelled_caught
    assert [] == await names(manager)


async def test_a_rollback_that_fails_hides_nothing(postgres_database, things, make_manager, superuser_runs):
    """When the rollback fails, the block's exception is still raised."""
    manager = make_manager(postgres_database.app_url())
    with pytest.raises(Boom):
        async with manager.session() as session:
            own = await session.scalar(text("SELECT pg_backend_pid()"))
            superuser_runs(f"SELECT pg_terminate_backend({own})")
            raise Boom
    assert [] == await names(manager)


@pytest.mark.requirement("PE-16", "P-03")
async def test_concurrent_sessions_are_not_shared(postgres_database, make_manager):
    """Each block has a session and a connection of its own."""
    manager = make_manager(postgres_database.app_url())
    seen = []

    async def look():
        async with manager.session() as session:
            seen.append((session, await session.scalar(text("SELECT pg_backend_pid() FROM pg_sleep(0.05)"))))

    async with anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(look)
    assert 8 == len({id(session) for session, _ in seen})
    assert 8 == len({backend for _, backend in seen})


@pytest.mark.requirement("PE-4")
@pytest.mark.parametrize("driver", DRIVERS)
async def test_synchronous_sessions(postgres_database, things, make_manager, driver):
    """The synchronous engine is built at first use, and its sessions commit and roll back alike."""
    manager = make_manager(postgres_database.app_url(driver))
    assert ["async", "probe"] == [gauge.pool for gauge in manager.gauges()]

    def work():
        with manager.sync_session() as session:
            session.execute(text("INSERT INTO things VALUES ('kept')"))
        with pytest.raises(Boom), manager.sync_session() as session:
            session.execute(text("INSERT INTO things VALUES ('lost')"))
            raise Boom

    await anyio.to_thread.run_sync(work)
    async with manager.threaded_session() as session:
        await anyio.to_thread.run_sync(session.execute, text("INSERT INTO things VALUES ('threaded')"))
    with pytest.raises(Boom):
        async with manager.threaded_session() as session:
            await anyio.to_thread.run_sync(session.execute, text("INSERT INTO things VALUES ('lost')"))
            raise Boom
    assert ["kept", "threaded"] == await names(manager)


async def test_threads_that_ask_at_once_get_one_engine(postgres_database, make_manager):
    """Concurrent first use builds one engine."""
    manager = make_manager(postgres_database.app_url())
    barrier = threading.Barrier(8)
    seen = []

    def ask():
        barrier.wait()
        seen.append(manager.sync_engine)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 1 == len({id(engine) for engine in seen})


@pytest.mark.requirement("CF-02", "PE-1", "F-03", "CF-08", "S-L1", "S-M2")
async def test_managers_with_other_settings_stand_side_by_side(postgres_database, things, make_manager):
    """Two managers have settings, drivers and ends of their own."""
    one = make_manager(postgres_database.app_url(), application_name="one", pool_size=1)
    two = make_manager(postgres_database.app_url("asyncpg"), application_name="two", pool_size=2)
    for manager in (one, two):
        async with manager.session() as session:
            name = await session.scalar(text("SELECT current_setting('application_name')"))
            assert manager.settings.application_name == name
    await one.dispose()
    assert [] == await names(two)


@pytest.mark.parametrize("driver", DRIVERS)
async def test_the_server_restarts(postgres_server, make_manager, driver):
    """Errors during a restart are transient, and pooled connections are replaced."""
    from bandmaster.contrib.persistence.testing import postgres_server as own_server

    with own_server({}) as server:
        manager = make_manager(server.url(driver=driver))
        async with manager.session() as session:
            await session.execute(text("SELECT 1"))
        server.stop()
        with pytest.raises(TransientDatabaseError):
            async with manager.session() as session:
                await session.execute(text("SELECT 1"))
        with pytest.raises(TransientDatabaseError):
            await manager.ping()
        server.start()
        await manager.ping()
        async with manager.session() as session:
            assert 1 == await session.scalar(text("SELECT 1"))
        await manager.dispose()


async def test_a_full_pool_is_no_reason_to_be_unhealthy(postgres_database, make_manager):
    """The health check has a connection of its own."""
    manager = make_manager(postgres_database.app_url(), pool_size=1, max_overflow=0)
    async with manager.engine.connect():
        with anyio.fail_after(2):
            await manager.ping()


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("pgbouncer", [False, True])
async def test_a_probe_opens_no_transaction(postgres_database, superuser_runs, make_manager, driver, pgbouncer):
    """A probe saves two messages without a transaction; only behind PgBouncer it needs one."""
    manager = make_manager(postgres_database.app_url(driver), pgbouncer=pgbouncer)
    async with manager.probing() as connection:
        await connection.exec_driver_sql("SELECT 1")
        found = superuser_runs(f"SELECT state FROM pg_stat_activity WHERE usename = '{postgres_database.app}'")
    assert [("idle in transaction" if pgbouncer else "idle",)] == [tuple(row) for row in found]


@pytest.mark.parametrize("driver", DRIVERS)
async def test_cancelled_queries_end_on_the_server(postgres_database, superuser_runs, make_manager, driver):
    """Twenty queries that are cancelled end on the server, and hold no connection beyond the pool."""
    manager = make_manager(postgres_database.app_url(driver), pool_size=2, max_overflow=0)
    ours = f"FROM pg_stat_activity WHERE usename = '{postgres_database.app}'"
    running = f"SELECT count(*) {ours} AND query LIKE '%pg_sleep(30)%' AND state = 'active'"
    with anyio.fail_after(30):
        for _ in range(10):
            began = superuser_runs("SELECT clock_timestamp()")[0][0]
            async with anyio.create_task_group() as tasks:
                for _ in range(2):
                    tasks.start_soon(sleep_in_database, manager)
                # Queries, not connecting: what asyncpg leaves there when it is cancelled is its own.
                while superuser_runs(f"{running} AND query_start > '{began}'")[0][0] < 2:
                    await anyio.sleep(0.01)
                tasks.cancel_scope.cancel()
        while superuser_runs(running)[0][0]:
            await anyio.sleep(0.05)
    assert superuser_runs(f"SELECT count(*) {ours}")[0][0] <= 2
    async with manager.session() as session:
        assert 1 == await session.scalar(text("SELECT 1"))


async def sleep_in_database(manager):
    async with manager.session() as session:
        await session.execute(text("SELECT pg_sleep(30)"))


async def test_a_transaction_that_idles_is_ended_by_the_server(postgres_database, make_manager):
    """A forgotten transaction doesn't hold its locks for ever."""
    manager = make_manager(postgres_database.app_url(), idle_in_transaction_timeout=0.2)
    with pytest.raises(BandmasterError):
        async with manager.session() as session:
            await session.execute(text("SELECT 1"))
            await anyio.sleep(0.6)
            await session.execute(text("SELECT 1"))


async def test_gauges_count_the_connections_of_the_pools(postgres_database, make_manager):
    """Gauges are right before, during and after use."""
    manager = make_manager(postgres_database.app_url(), pool_size=2, max_overflow=1)
    nothing = PoolGauge("database", "async", size=2, limit=3, open=0, in_use=0)
    assert nothing == manager.gauges()[0]
    async with manager.engine.connect(), manager.engine.connect(), manager.engine.connect():
        assert PoolGauge("database", "async", size=2, limit=3, open=3, in_use=3) == manager.gauges()[0]
    assert PoolGauge("database", "async", size=2, limit=3, open=2, in_use=0) == manager.gauges()[0]


@pytest.mark.requirement("CF-02", "CF-09", "PE-11", "S-L2")
@pytest.mark.parametrize("driver", DRIVERS)
async def test_dispose_closes_every_connection(postgres_database, superuser_runs, driver):
    """The server has no connection of either engine after dispose, and both refuse new ones."""
    manager = DatabaseManager(DatabaseSettings(url=postgres_database.app_url(driver)))
    await manager.ping()
    async with manager.session() as session:
        await session.execute(text("SELECT 1"))
    await anyio.to_thread.run_sync(lambda: manager.sync_engine.connect().close())
    await manager.dispose()
    with anyio.fail_after(3):
        while superuser_runs(f"SELECT 1 FROM pg_stat_activity WHERE usename = '{postgres_database.app}'"):
            await anyio.sleep(0.02)
    for ask in (manager.ping, manager.session().__aenter__):
        with pytest.raises(DatabaseClosedError):
            session = await ask()
            await session.execute(text("SELECT 1"))
    with pytest.raises(DatabaseClosedError):
        manager.sync_engine.connect()


async def test_one_engine_that_fails_does_not_keep_the_other_open(postgres_database, superuser_runs, monkeypatch):
    """All engines are disposed of, then the failure is raised."""
    manager = DatabaseManager(DatabaseSettings(url=postgres_database.app_url()))
    await manager.ping()
    await anyio.to_thread.run_sync(lambda: manager.sync_engine.connect().close())

    async def fail(*args, **options):
        raise Boom("can't")

    monkeypatch.setattr(manager, "engine", type("Broken", (), {"dispose": fail, "pool": manager.engine.pool})())
    with pytest.raises(ExceptionGroup) as caught:
        await manager.dispose()
    assert [Boom] == [type(error) for error in caught.value.exceptions]
    with anyio.fail_after(3):
        while superuser_runs(f"SELECT 1 FROM pg_stat_activity WHERE usename = '{postgres_database.app}'"):
            await anyio.sleep(0.02)


async def test_connections_in_use_are_an_error_and_closed_later(postgres_database, superuser_runs):
    """Connections in use are an error of dispose, and are closed when they are released."""
    manager = DatabaseManager(DatabaseSettings(url=postgres_database.app_url()))
    async with manager.engine.connect() as connection:
        await connection.execute(text("SELECT 1"))
        with pytest.raises(BandmasterError, match="1 of its connections were in use"):
            await manager.dispose()
    with anyio.fail_after(3):
        while superuser_runs(f"SELECT 1 FROM pg_stat_activity WHERE usename = '{postgres_database.app}'"):
            await anyio.sleep(0.02)


async def test_a_thousand_starts_leave_nothing(postgres_database, superuser_runs):
    """A thousand starts leave no descriptors, no threads and no connections."""
    settings = DatabaseSettings(url=postgres_database.app_url())
    kernel = Kernel(
        contributions=[database],
        discover=False,
        overrides={DatabaseSettings: settings},
        settings=KernelSettings(timeline=False),
    )

    async def cycle():
        async with kernel.running() as resources:
            await resources[DatabaseManager].ping()

    async def count_resources():
        gc.collect()
        await anyio.sleep(0.05)
        there = superuser_runs(f"SELECT count(*) FROM pg_stat_activity WHERE usename = '{postgres_database.app}'")
        return len(os.listdir("/proc/self/fd")), threading.active_count(), there[0][0]

    for _ in range(5):
        await cycle()
    before = await count_resources()
    for _ in range(1000):
        await cycle()
    assert before == await count_resources()
