"""Transactions that lost a race run again, after pauses that grow."""

import anyio
import pytest
from sqlalchemy import text

from bandmaster.contrib.persistence import PermanentDatabaseError, Retries, TransientDatabaseError

pytestmark = pytest.mark.anyio
EAGER = Retries(attempts=20, pause=0.005, longest=0.05)


@pytest.fixture
def counter(owner_runs):
    owner_runs("CREATE TABLE counter (id int PRIMARY KEY, n int)", "INSERT INTO counter VALUES (1, 0), (2, 0)")


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
@pytest.mark.parametrize("isolation", ["SERIALIZABLE", "REPEATABLE READ"])
@pytest.mark.requirement("XC-E3", "CF-32")
async def test_a_transaction_that_lost_a_race_runs_again(postgres_database, counter, make_manager, driver, isolation):
    """Ten concurrent increments all succeed, though the database refuses most first attempts."""
    manager = make_manager(postgres_database.app_url(driver))
    tries = []

    async def increment(session):
        tries.append(1)
        n = await session.scalar(text("SELECT n FROM counter WHERE id = 1"))
        await anyio.sleep(0.01)
        await session.execute(text("UPDATE counter SET n = :n WHERE id = 1"), {"n": n + 1})
        return n + 1

    results = []

    async def run():
        results.append(await manager.transaction(increment, retries=EAGER, isolation_level=isolation))

    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(run)
    assert list(range(1, 11)) == sorted(results)
    assert len(tries) > 10


async def test_a_deadlock_is_a_race(postgres_database, counter, make_manager):
    """Two transactions that lock in opposite orders both succeed."""
    manager = make_manager(postgres_database.app_url())

    async def both(session, first, second):
        for row in (first, second):
            await session.execute(text("UPDATE counter SET n = n + 1 WHERE id = :row"), {"row": row})
            await anyio.sleep(0.1)

    async def run(*order):
        await manager.transaction(lambda session: both(session, *order), retries=EAGER)

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run, 1, 2)
            tasks.start_soon(run, 2, 1)
    async with manager.session() as session:
        assert [2, 2] == list((await session.execute(text("SELECT n FROM counter"))).scalars())


async def test_the_last_lost_race_is_raised(postgres_database, counter, make_manager):
    """After the last attempt its error is raised."""
    manager = make_manager(postgres_database.app_url())
    tries = []

    async def lose(session):
        tries.append(1)
        await session.execute(text("DO $$ BEGIN RAISE EXCEPTION SQLSTATE '40001'; END $$"))

    with pytest.raises(TransientDatabaseError):
        await manager.transaction(lose, retries=Retries(attempts=3, pause=0))
    assert 3 == len(tries)


@pytest.mark.parametrize(
    ("statement", "kind"),
    [("SELECT 1/0", PermanentDatabaseError), ("SELECT pg_terminate_backend(pg_backend_pid())", TransientDatabaseError)],
)
async def test_nothing_else_runs_again(postgres_database, make_manager, statement, kind):
    """Permanent errors and lost connections aren't retried: the commit may have arrived."""
    manager = make_manager(postgres_database.app_url())
    tries = []

    async def work(session):
        tries.append(1)
        await session.execute(text(statement))

    with pytest.raises(kind):
        await manager.transaction(work, retries=EAGER)
    assert 1 == len(tries)


async def test_work_of_another_error_runs_once(postgres_database, make_manager):
    """Another exception is raised unchanged."""
    manager = make_manager(postgres_database.app_url())

    async def work(session):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await manager.transaction(work)


def test_pauses_grow_up_to_a_bound():
    """A pause is random below a bound that doubles."""
    retries = Retries(pause=0.1, longest=0.5)
    bounds = [max(retries.before(attempt) for _ in range(2000)) for attempt in (2, 3, 4, 5, 9)]
    for bound, limit in zip(bounds, [0.1, 0.2, 0.4, 0.5, 0.5], strict=True):
        assert 0.8 * limit < bound <= limit


@pytest.mark.parametrize("wrong", [{"attempts": 0}, {"pause": -1}, {"longest": -1}])
def test_impossible_values_are_refused(wrong):
    """Impossible values are refused by the argument's name."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Retries(**wrong)
