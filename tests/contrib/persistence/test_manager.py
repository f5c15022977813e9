"""One database: its engines, their sessions, and their end."""

import gc
import os
import socket
import subprocess
import sys
import threading

import anyio
import anyio.to_thread
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from bandmaster.contrib.persistence import (
    DatabaseClosedError,
    DatabaseManager,
    DatabaseRefusedError,
    DatabaseSettings,
    DatabaseUnavailableError,
    PoolGauge,
    TransientDatabaseError,
    database,
)
from bandmaster.kernel import BandmasterError, Kernel, KernelSettings
from bandmaster.kernel.testing import free_port

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
async def test_a_session_commits_or_rolls_back(postgres_database, things, managed, driver):
    """At the end of the block, by whether it raised; what it raised goes on as it was."""
    manager = managed(postgres_database.app_url(driver))
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
async def test_sessions_are_made_by_an_async_sessionmaker(tmp_path, managed):
    """SQLAlchemy 2 style: ``begin()`` is an asynchronous block, which a ``sessionmaker`` for AsyncSession hasn't."""
    manager = managed(f"sqlite:///{tmp_path / 'file'}")
    async with manager.sessions.begin() as session:
        assert isinstance(session, AsyncSession)
        await session.execute(text("SELECT 1"))
    assert isinstance(manager.sessions, async_sessionmaker)


@pytest.mark.requirement("PE-16", "PE-17", "P-03")
async def test_cancellation_rolls_back_and_goes_on(postgres_database, things, managed):
    """The session is given back whole, and the scope sees its own cancellation."""
    manager = managed(postgres_database.app_url(), pool_size=1, max_overflow=0)
    with anyio.move_on_after(0.1) as scope:
        async with manager.session() as session:
            await add(session, "lost")
            await anyio.sleep(5)
    assert scope.cancelled_caught
    assert [] == await names(manager)


async def test_a_rollback_that_fails_hides_nothing(postgres_database, things, managed, superuser_runs):
    """Where the connection is lost as well, what the block raised is still what is seen."""
    manager = managed(postgres_database.app_url())
    with pytest.raises(Boom):
        async with manager.session() as session:
            own = await session.scalar(text("SELECT pg_backend_pid()"))
            superuser_runs(f"SELECT pg_terminate_backend({own})")
            raise Boom
    assert [] == await names(manager)


@pytest.mark.requirement("PE-16", "P-03")
async def test_concurrent_sessions_are_not_shared(postgres_database, managed):
    """Each block has its own, on a connection of its own."""
    manager = managed(postgres_database.app_url())
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
async def test_synchronous_sessions(postgres_database, things, managed, driver):
    """The engine for them is made when it is asked for; commit and rollback are as with the others."""
    manager = managed(postgres_database.app_url(driver))
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


async def test_threads_that_ask_at_once_get_one_engine(postgres_database, managed):
    """Created once under concurrent first use."""
    manager = managed(postgres_database.app_url())
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
async def test_managers_with_other_settings_stand_side_by_side(postgres_database, things, managed):
    """Nothing of one is seen by the other."""
    one = managed(postgres_database.app_url(), application_name="one", pool_size=1)
    two = managed(postgres_database.app_url("asyncpg"), application_name="two", pool_size=2)
    for manager in (one, two):
        async with manager.session() as session:
            name = await session.scalar(text("SELECT current_setting('application_name')"))
            assert manager.settings.application_name == name
    await one.dispose()
    assert [] == await names(two)


# Reaching it ----------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("CF-10")
@pytest.mark.parametrize("driver", DRIVERS)
async def test_nobody_listens(managed, driver):
    """At once, with host, port and database, and without the password."""
    port = free_port()
    manager = managed(f"postgresql+{driver}://somebody:hunter2@127.0.0.1:{port}/shop")
    with pytest.raises(DatabaseUnavailableError) as caught, anyio.fail_after(3):
        await manager.check()
    assert f"'shop' at 127.0.0.1:{port} as 'somebody'" in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.requirement("CF-10")
@pytest.mark.parametrize("driver", DRIVERS)
async def test_somebody_listens_and_never_answers(managed, driver):
    """It ends after the time that was given, not before, and not much later."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        manager = managed(f"postgresql+{driver}://u:hunter2@127.0.0.1:{port}/shop", connect_timeout=1)
        began = anyio.current_time()
        with pytest.raises(DatabaseUnavailableError, match=f"127.0.0.1:{port}"):
            await manager.check()
        assert 0.9 < anyio.current_time() - began < 4


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize(("part", "said"), [("password", "password authentication failed"), ("name", "does not exist")])
async def test_refusals_are_permanent(postgres_database, managed, driver, part, said):
    """A wrong password or database is no matter of trying again."""
    url = postgres_database.app_url(driver)
    wrong = url.replace(postgres_database.password, "hunter2")
    if part == "name":
        wrong = postgres_database.server.url(
            "nowhere", postgres_database.app, postgres_database.password, driver=driver
        )
    with pytest.raises(DatabaseRefusedError, match=said) as caught:
        await managed(wrong).check()
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("driver", DRIVERS)
async def test_no_connection_is_left_for_it(postgres_database, superuser_runs, managed, driver):
    """``max_connections``, or the role's limit, is used up: transient, for others leave."""
    superuser_runs(f"ALTER ROLE {postgres_database.app} CONNECTION LIMIT 1")
    first, second = managed(postgres_database.app_url(driver)), managed(postgres_database.app_url(driver))
    async with first.engine.connect():
        with pytest.raises(DatabaseUnavailableError, match="too many connections for role"):
            await second.check()
    await first.dispose()
    await anyio.sleep(0.1)
    await second.check()


async def test_a_file_that_cannot_be_had(tmp_path, managed):
    """The error names the file and what is the matter with its folder."""
    with pytest.raises(DatabaseRefusedError, match=f"sqlite {tmp_path}/no/file can't be used.*/no doesn't exist"):
        await managed(f"sqlite:///{tmp_path}/no/file").check()
    (tmp_path / "folder").mkdir()
    with pytest.raises(DatabaseRefusedError, match="unable to open database file"):
        await managed(f"sqlite:///{tmp_path}/folder").check()


@pytest.mark.parametrize("driver", DRIVERS)
async def test_the_server_restarts(postgres_server, managed, driver):
    """Connections of the pool are replaced; who asks meanwhile hears that it may come back."""
    from bandmaster.contrib.persistence.testing import postgres_server as own_server

    with own_server({}) as server:
        manager = managed(server.url(driver=driver))
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


async def test_a_full_pool_is_no_reason_to_be_unhealthy(postgres_database, managed):
    """The health check has a connection of its own."""
    manager = managed(postgres_database.app_url(), pool_size=1, max_overflow=0)
    async with manager.engine.connect():
        with anyio.fail_after(2):
            await manager.ping()


# Cancelled queries ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("pgbouncer", [False, True])
async def test_a_look_at_the_server_opens_no_transaction(postgres_database, superuser_runs, managed, driver, pgbouncer):
    """Two messages fewer for each probe; but behind PgBouncer a transaction holds the steps of a statement together."""
    manager = managed(postgres_database.app_url(driver), pgbouncer=pgbouncer)
    async with manager.probing() as connection:
        await connection.exec_driver_sql("SELECT 1")
        found = superuser_runs(f"SELECT state FROM pg_stat_activity WHERE usename = '{postgres_database.app}'")
    assert [("idle in transaction" if pgbouncer else "idle",)] == [tuple(row) for row in found]


@pytest.mark.parametrize("driver", DRIVERS)
async def test_what_is_cancelled_does_not_run_on(postgres_database, superuser_runs, managed, driver):
    """Twenty queries are cancelled as structured concurrency does it; none holds a connection beyond the pool."""
    manager = managed(postgres_database.app_url(driver), pool_size=2, max_overflow=0)
    ours = f"FROM pg_stat_activity WHERE usename = '{postgres_database.app}'"
    running = f"SELECT count(*) {ours} AND query LIKE '%pg_sleep(30)%' AND state = 'active'"
    with anyio.fail_after(30):
        for _ in range(10):
            began = superuser_runs("SELECT clock_timestamp()")[0][0]
            async with anyio.create_task_group() as tasks:
                for _ in range(2):
                    tasks.start_soon(_sleep_there, manager)
                # Queries, not connecting: what asyncpg leaves there when it is cancelled is its own.
                while superuser_runs(f"{running} AND query_start > '{began}'")[0][0] < 2:
                    await anyio.sleep(0.01)
                tasks.cancel_scope.cancel()
        while superuser_runs(running)[0][0]:
            await anyio.sleep(0.05)
    assert superuser_runs(f"SELECT count(*) {ours}")[0][0] <= 2
    async with manager.session() as session:
        assert 1 == await session.scalar(text("SELECT 1"))


async def _sleep_there(manager):
    async with manager.session() as session:
        await session.execute(text("SELECT pg_sleep(30)"))


async def test_a_transaction_that_idles_is_ended_by_the_server(postgres_database, managed):
    """What is forgotten doesn't hold its locks for ever."""
    manager = managed(postgres_database.app_url(), idle_in_transaction_timeout=0.2)
    with pytest.raises(BandmasterError):
        async with manager.session() as session:
            await session.execute(text("SELECT 1"))
            await anyio.sleep(0.6)
            await session.execute(text("SELECT 1"))


# Gauges ---------------------------------------------------------------------------------------------------------------


async def test_gauges_tell_how_full_the_pools_are(postgres_database, managed):
    """Before, while, and after."""
    manager = managed(postgres_database.app_url(), pool_size=2, max_overflow=1)
    nothing = PoolGauge("database", "async", size=2, limit=3, open=0, in_use=0)
    assert nothing == manager.gauges()[0]
    async with manager.engine.connect(), manager.engine.connect(), manager.engine.connect():
        assert PoolGauge("database", "async", size=2, limit=3, open=3, in_use=3) == manager.gauges()[0]
    assert PoolGauge("database", "async", size=2, limit=3, open=2, in_use=0) == manager.gauges()[0]


# Its end --------------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("CF-02", "CF-09", "PE-11", "S-L2")
@pytest.mark.parametrize("driver", DRIVERS)
async def test_nothing_is_open_after_its_end(postgres_database, superuser_runs, driver):
    """Both engines' connections are gone from the server, and stay gone."""
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
    """Everything is closed, then the failure is told."""
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


async def test_connections_in_use_are_told_and_closed_when_they_come_back(postgres_database, superuser_runs):
    """Somebody still works with it: that is a fault of the order in which things stop."""
    manager = DatabaseManager(DatabaseSettings(url=postgres_database.app_url()))
    async with manager.engine.connect() as connection:
        await connection.execute(text("SELECT 1"))
        with pytest.raises(BandmasterError, match="1 of its connections were in use"):
            await manager.dispose()
    with anyio.fail_after(3):
        while superuser_runs(f"SELECT 1 FROM pg_stat_activity WHERE usename = '{postgres_database.app}'"):
            await anyio.sleep(0.02)


async def test_a_thousand_starts_leave_nothing(postgres_database, superuser_runs):
    """Neither descriptors nor threads nor connections of the server."""
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

    async def counted():
        gc.collect()
        await anyio.sleep(0.05)
        there = superuser_runs(f"SELECT count(*) FROM pg_stat_activity WHERE usename = '{postgres_database.app}'")
        return len(os.listdir("/proc/self/fd")), threading.active_count(), there[0][0]

    for _ in range(5):
        await cycle()
    before = await counted()
    for _ in range(1000):
        await cycle()
    assert before == await counted()


# SQLite ---------------------------------------------------------------------------------------------------------------


async def test_sqlite_serves_for_trying_out(tmp_path, managed):
    """Writers wait for each other, savepoints work, foreign keys hold, synchronous code sees the same."""
    manager = managed(f"sqlite:///{tmp_path / 'file'}")
    async with manager.session() as session:
        await session.execute(text("CREATE TABLE things (name text)"))

    async def write(number):
        async with manager.session() as session:
            await add(session, f"{number}")
            async with session.begin_nested() as nested:
                await add(session, "lost")
                await nested.rollback()

    async with anyio.create_task_group() as tasks:
        for number in range(30):
            tasks.start_soon(write, number)
    assert sorted(map(str, range(30))) == await names(manager)
    with manager.sync_session() as session:
        assert 30 == session.scalar(text("SELECT count(*) FROM things"))
        assert 1 == session.scalar(text("PRAGMA foreign_keys"))


async def test_a_long_query_of_sqlite_ends_with_its_task(tmp_path, managed):
    """Its thread has nothing left to do, and the pool is as good as before."""
    manager = managed(f"sqlite:///{tmp_path / 'file'}", pool_size=1, max_overflow=0)
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    threads = threading.active_count()
    with anyio.fail_after(10):
        with anyio.move_on_after(0.2) as scope:
            async with manager.session() as session:
                await session.execute(text(endless))
        assert scope.cancelled_caught
        while threading.active_count() > threads:
            await anyio.sleep(0.02)
        async with manager.session() as session:
            assert 1 == await session.scalar(text("SELECT 1"))


CANCELLED = """
import asyncio, sqlite3, sys, anyio
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from bandmaster.contrib.persistence import DatabaseManager, DatabaseSettings

async def main():
    manager = DatabaseManager(DatabaseSettings(url=f"sqlite:///{sys.argv[1]}", lock_timeout=1))
    other = sqlite3.connect(sys.argv[1], isolation_level=None)
    other.execute("PRAGMA journal_mode=WAL")
    other.execute("BEGIN IMMEDIATE")
    with anyio.move_on_after(0.2) as scope:
        async with manager.session() as session:
            await session.execute(text("SELECT 1"))
    other.close()
    print("cancelled" if scope.cancelled_caught else "not cancelled")

asyncio.run(main())
"""


def test_a_process_ends_after_a_cancellation_on_sqlite(tmp_path):
    """SQLAlchemy's own way to end such a connection leaves a task that waits without end, whoever cancels it."""
    command = [sys.executable, "-c", CANCELLED, str(tmp_path / "file")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (0, "cancelled", "") == (ended.returncode, ended.stdout.strip(), ended.stderr)


async def test_sqlite_in_memory_is_one_database(managed):
    """Sessions one after the other see each other's rows, sessions at once wait for each other."""
    manager = managed("sqlite://")
    await manager.check()
    async with manager.session() as session:
        await session.execute(text("CREATE TABLE things (name text)"))

    async def write(number):
        async with manager.session() as session:
            await add(session, f"{number}")
            await anyio.sleep(0.01)
            if number % 2:
                await session.rollback()

    async with anyio.create_task_group() as tasks:
        for number in range(10):
            tasks.start_soon(write, number)
    assert ["0", "2", "4", "6", "8"] == await names(manager)
    with pytest.raises(DatabaseRefusedError, match="give it a file"):
        manager.sync_engine.connect()
