"""Errors of databases, transient or permanent by whether another try may help."""

import pickle

import anyio
import pytest
import sqlalchemy.exc
from sqlalchemy import text

from bandmaster.contrib.persistence import PermanentDatabaseError, PoolTimeoutError, TransientDatabaseError
from bandmaster.kernel import PermanentError, TransientError

DRIVERS = ["psycopg", "asyncpg"]
pytestmark = pytest.mark.anyio


@pytest.mark.requirement("XC-E1", "P-19", "XC-E3", "CF-32")
@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize(
    ("statement", "kind", "theirs", "state"),
    [
        ("SELECT * FROM nowhere", PermanentDatabaseError, sqlalchemy.exc.ProgrammingError, "42P01"),
        ("INSERT INTO single VALUES (1)", PermanentDatabaseError, sqlalchemy.exc.IntegrityError, "23505"),
        ("SELECT 1/0", PermanentDatabaseError, sqlalchemy.exc.DBAPIError, "22012"),
        ("SELECT * FROM hidden", PermanentDatabaseError, sqlalchemy.exc.ProgrammingError, "42501"),
        ("SELECT pg_sleep(5)", TransientDatabaseError, sqlalchemy.exc.DBAPIError, "57014"),
    ],
)
async def test_statements_fail_as_bandmasters_and_as_sqlalchemys(
    postgres_database, owner_runs, make_manager, driver, statement, kind, theirs, state
):
    """The error is an instance of both classes, with the driver's error as its cause, and has the sqlstate."""
    owner_runs(
        "CREATE TABLE single (id int PRIMARY KEY)",
        "INSERT INTO single VALUES (1)",
        "CREATE TABLE hidden (id int)",
        f"REVOKE ALL ON hidden FROM {postgres_database.app}",
    )
    manager = make_manager(postgres_database.app_url(driver), statement_timeout=0.3)
    with pytest.raises(kind) as caught:
        async with manager.session() as session:
            await session.execute(text(statement))
    assert isinstance(caught.value, theirs)
    assert state == caught.value.sqlstate
    assert caught.value.__cause__ is not None
    assert "sqlalchemy.exc" not in type(caught.value.__cause__).__module__


@pytest.mark.parametrize("driver", DRIVERS)
async def test_a_connection_that_is_cut_is_transient_and_the_next_one_works(
    postgres_database, superuser_runs, make_manager, driver
):
    """An administrator ends the backend in the middle of a transaction."""
    manager = make_manager(postgres_database.app_url(driver))
    with pytest.raises(TransientDatabaseError):
        async with manager.session() as session:
            own = await session.scalar(text("SELECT pg_backend_pid()"))
            superuser_runs(f"SELECT pg_terminate_backend({own})")
            await anyio.sleep(0.1)
            await session.execute(text("SELECT 1"))
    async with manager.session() as session:
        assert own != await session.scalar(text("SELECT pg_backend_pid()"))


async def test_serialization_failures_are_races(postgres_database, owner_runs, make_manager):
    """The transaction that lost can be run again."""
    owner_runs("CREATE TABLE counted (n int)", "INSERT INTO counted VALUES (0)")
    manager = make_manager(postgres_database.app_url())
    strict = {"isolation_level": "SERIALIZABLE"}
    with pytest.raises(TransientDatabaseError) as caught:
        async with manager.session() as one, manager.session() as two:
            await one.connection(execution_options=strict)
            await two.connection(execution_options=strict)
            for session in (one, two):
                await session.execute(text("SELECT n FROM counted"))
            await one.execute(text("UPDATE counted SET n = n + 1"))
            await one.commit()
            await two.execute(text("UPDATE counted SET n = n + 1"))
    assert caught.value.lost_a_race
    assert "40001" == caught.value.sqlstate


async def test_a_full_pool_times_out(postgres_database, make_manager):
    """The error is transient, has the numbers, and is SQLAlchemy's TimeoutError as well."""
    manager = make_manager(postgres_database.app_url(), pool_size=1, max_overflow=1, pool_timeout=0.2)
    async with manager.engine.connect(), manager.engine.connect():
        with pytest.raises(PoolTimeoutError, match=r"all 2 connections .* within 0\.2 s") as caught:
            async with manager.engine.connect():
                pass
    assert isinstance(caught.value, TransientError)
    assert isinstance(caught.value, sqlalchemy.exc.TimeoutError)


async def test_a_full_synchronous_pool_times_out(postgres_database, make_manager):
    """A synchronous pool raises the same error."""
    manager = make_manager(postgres_database.app_url(), sync_pool_size=1, sync_max_overflow=0, pool_timeout=0.1)
    with manager.sync_engine.connect(), pytest.raises(PoolTimeoutError):
        manager.sync_engine.connect()


async def test_a_locked_file_is_transient_and_a_broken_one_permanent(tmp_path, make_manager):
    """SQLite's error codes are transient or permanent as well."""
    url = f"sqlite:///{tmp_path / 'file'}"
    manager = make_manager(url, lock_timeout=0.1)
    other = make_manager(url, lock_timeout=0.1)
    async with manager.session() as session:
        await session.execute(text("CREATE TABLE things (id int)"))
        with pytest.raises(TransientDatabaseError) as caught:
            async with other.session() as second:
                await second.execute(text("SELECT 1"))
        assert caught.value.lost_a_race
    (tmp_path / "broken").write_bytes(b"no database " * 1000)
    with pytest.raises(PermanentDatabaseError):
        async with make_manager(f"sqlite:///{tmp_path / 'broken'}").session() as session:
            await session.execute(text("SELECT 1"))


async def test_values_of_a_statement_are_not_in_its_error(postgres_database, make_manager):
    """Errors reach logs, so they hold no values."""
    manager = make_manager(postgres_database.app_url())
    with pytest.raises(PermanentError) as caught:
        async with manager.session() as session:
            await session.execute(text("SELECT * FROM nowhere WHERE name = :name"), {"name": "Ms Secret"})
    assert "Ms Secret" not in str(caught.value)


async def test_errors_survive_a_process_boundary(postgres_database, make_manager):
    """Errors can be pickled, as results of tasks are."""
    manager = make_manager(postgres_database.app_url())
    with pytest.raises(PermanentError) as caught:
        async with manager.session() as session:
            await session.execute(text("SELECT * FROM nowhere"))
    again = pickle.loads(pickle.dumps(caught.value))
    assert type(caught.value) is type(again)
