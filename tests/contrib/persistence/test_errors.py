"""What goes wrong with databases, sorted by whether another try may help."""

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
    postgres_database, owner_runs, managed, driver, statement, kind, theirs, state
):
    """Whoever catches either gets it; the driver's exception is the cause, the code is told."""
    owner_runs(
        "CREATE TABLE single (id int PRIMARY KEY)",
        "INSERT INTO single VALUES (1)",
        "CREATE TABLE hidden (id int)",
        f"REVOKE ALL ON hidden FROM {postgres_database.app}",
    )
    manager = managed(postgres_database.app_url(driver), statement_timeout=0.3)
    with pytest.raises(kind) as caught:
        async with manager.session() as session:
            await session.execute(text(statement))
    assert isinstance(caught.value, theirs)
    assert state == caught.value.sqlstate
    assert caught.value.__cause__ is not None
    assert "sqlalchemy.exc" not in type(caught.value.__cause__).__module__


@pytest.mark.parametrize("driver", DRIVERS)
async def test_a_connection_that_is_cut_is_transient_and_the_next_one_works(
    postgres_database, superuser_runs, managed, driver
):
    """An administrator ends the backend in the middle of a transaction."""
    manager = managed(postgres_database.app_url(driver))
    with pytest.raises(TransientDatabaseError):
        async with manager.session() as session:
            own = await session.scalar(text("SELECT pg_backend_pid()"))
            superuser_runs(f"SELECT pg_terminate_backend({own})")
            await anyio.sleep(0.1)
            await session.execute(text("SELECT 1"))
    async with manager.session() as session:
        assert own != await session.scalar(text("SELECT pg_backend_pid()"))


async def test_serialization_failures_are_races(postgres_database, owner_runs, managed):
    """The loser may simply run again."""
    owner_runs("CREATE TABLE counted (n int)", "INSERT INTO counted VALUES (0)")
    manager = managed(postgres_database.app_url())
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


async def test_a_pool_that_stays_full_says_so(postgres_database, managed):
    """Transient, with the numbers, and still SQLAlchemy's TimeoutError."""
    manager = managed(postgres_database.app_url(), pool_size=1, max_overflow=1, pool_timeout=0.2)
    async with manager.engine.connect(), manager.engine.connect():
        with pytest.raises(PoolTimeoutError, match=r"all 2 connections .* within 0\.2 s") as caught:
            async with manager.engine.connect():
                pass
    assert isinstance(caught.value, TransientError)
    assert isinstance(caught.value, sqlalchemy.exc.TimeoutError)


async def test_a_full_synchronous_pool_says_so_too(postgres_database, managed):
    """The same for worker threads."""
    manager = managed(postgres_database.app_url(), sync_pool_size=1, sync_max_overflow=0, pool_timeout=0.1)
    with manager.sync_engine.connect(), pytest.raises(PoolTimeoutError):
        manager.sync_engine.connect()


async def test_a_locked_file_is_transient_and_a_broken_one_permanent(tmp_path, managed):
    """SQLite's codes are sorted as well."""
    url = f"sqlite:///{tmp_path / 'file'}"
    manager = managed(url, lock_timeout=0.1)
    other = managed(url, lock_timeout=0.1)
    async with manager.session() as session:
        await session.execute(text("CREATE TABLE things (id int)"))
        with pytest.raises(TransientDatabaseError) as caught:
            async with other.session() as second:
                await second.execute(text("SELECT 1"))
        assert caught.value.lost_a_race
    (tmp_path / "broken").write_bytes(b"no database " * 1000)
    with pytest.raises(PermanentDatabaseError):
        async with managed(f"sqlite:///{tmp_path / 'broken'}").session() as session:
            await session.execute(text("SELECT 1"))


async def test_values_of_a_statement_are_not_in_its_error(postgres_database, managed):
    """They end up in logs."""
    manager = managed(postgres_database.app_url())
    with pytest.raises(PermanentError) as caught:
        async with manager.session() as session:
            await session.execute(text("SELECT * FROM nowhere WHERE name = :name"), {"name": "Ms Secret"})
    assert "Ms Secret" not in str(caught.value)


async def test_errors_survive_a_process_boundary(postgres_database, managed):
    """Results of tasks carry exceptions."""
    manager = managed(postgres_database.app_url())
    with pytest.raises(PermanentError) as caught:
        async with manager.session() as session:
            await session.execute(text("SELECT * FROM nowhere"))
    again = pickle.loads(pickle.dumps(caught.value))
    assert type(caught.value) is type(again)
