"""Sessions commit at the end of a block, and roll back when the block raises."""

import asyncio

import anyio.to_thread
import pytest
from hypothesis import Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import NoResultFound

from bandmaster.contrib.persistence import DatabaseManager, DatabaseSettings, TenantMissingError

INSERT = text("INSERT INTO things VALUES ('lost')")
KINDS = [
    ValueError,
    KeyError,
    OSError,
    TimeoutError,
    RuntimeError,
    # Not StopIteration: Python itself replaces it where it leaves a coroutine.
    StopAsyncIteration,
    NoResultFound,
    TenantMissingError,
    asyncio.CancelledError,
    KeyboardInterrupt,
    SystemExit,
    GeneratorExit,
]
errors = st.builds(lambda kind, words: kind(*words), st.sampled_from(KINDS), st.lists(st.text(), max_size=2))


async def raise_in_session(manager, error):
    async with manager.session() as session:
        await session.execute(INSERT)
        raise error


async def raise_in_sync_session(manager, error):
    with manager.sync_session() as session:
        session.execute(INSERT)
        raise error


async def raise_in_threaded_session(manager, error):
    async with manager.threaded_session() as session:
        await anyio.to_thread.run_sync(session.execute, INSERT)
        raise error


async def raise_in_transaction(manager, error):
    async def work(session):
        await session.execute(INSERT)
        raise error

    await manager.transaction(work)


WAYS = [raise_in_session, raise_in_sync_session, raise_in_threaded_session, raise_in_transaction]


@pytest.mark.requirement("P-03", "PE-16", "PE-17")
@pytest.mark.parametrize("raise_in", WAYS)
def test_p03_what_a_block_raises_is_raised_unchanged_after_a_rollback(tmp_path, raise_in):
    """Property 3: any exception leaves the session as the same object, with its cause and context, and rolls back."""

    @hypothesis_settings(max_examples=100, deadline=None, phases=[Phase.generate])  # shrinking would take minutes
    @given(error=errors, cause=st.none() | errors, context=st.none() | errors)
    def check(error, cause, context):
        error.__cause__, error.__context__ = cause, context
        try:
            runner.run(catch(error))
        finally:
            error.__traceback__ = None
        assert (cause, context) == (error.__cause__, error.__context__)
        assert 0 == runner.run(count())

    async def catch(error):
        with pytest.raises(type(error)) as caught:
            await raise_in(manager, error)
        assert error is caught.value

    async def count():
        async with manager.session() as session:
            return await session.scalar(text("SELECT count(*) FROM things"))

    async def create():
        async with manager.session() as session:
            await session.execute(text("CREATE TABLE things (name text)"))

    with asyncio.Runner() as runner:
        manager = DatabaseManager(DatabaseSettings(url=f"sqlite:///{tmp_path / 'file'}", pool_pre_ping=False))
        runner.run(create())
        try:
            check()
        finally:
            runner.run(manager.dispose())
