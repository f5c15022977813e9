"""Connections that the network cuts, swallows or leaves half made."""

import asyncio
import gc
from contextlib import asynccontextmanager

import anyio
import anyio.to_thread
import pytest
from sqlalchemy import text

from bandmaster.contrib.persistence import DatabaseUnavailableError, TransientDatabaseError
from bandmaster.contrib.persistence.migration.connection import connected

DRIVERS = ["psycopg", "asyncpg"]
pytestmark = pytest.mark.anyio


class Proxy:
    """A proxy between application and database, until the connections are cut."""

    def __init__(self, target):
        self.target = target
        self.port = 0
        self.silent = False
        self._writers = set()
        self._tasks = set()

    @asynccontextmanager
    async def running(self):
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self.cut()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self):
        """End every connection with a reset, as a failing network does."""
        for writer in list(self._writers):
            writer.transport.abort()
        self._writers.clear()

    async def _serve(self, reader, writer):
        self._tasks.add(asyncio.current_task())
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, back}
        await asyncio.gather(self._pipe(reader, back), self._pipe(there, writer), return_exceptions=True)

    async def _pipe(self, reader, writer):
        try:
            while data := await reader.read(65536):
                while self.silent:
                    await asyncio.sleep(0.02)
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.transport.abort()


@pytest.fixture
async def proxy(postgres_database):
    async with Proxy(postgres_database.server.port).running() as proxy:
        yield proxy


@pytest.fixture(params=DRIVERS)
def through(request, postgres_database, proxy, make_manager):
    def make(**options):
        url = postgres_database.app_url(request.param)
        return make_manager(url.replace(f":{postgres_database.server.port}/", f":{proxy.port}/"), **options)

    return make


@pytest.fixture
def things(owner_runs):
    owner_runs("CREATE TABLE things (name text)")


async def test_cut_in_the_middle_of_a_transaction(through, proxy, things):
    """The error is transient, the transaction is rolled back, and the next session works."""
    manager = through()
    with pytest.raises(TransientDatabaseError):
        async with manager.session() as session:
            await session.execute(text("INSERT INTO things VALUES ('lost')"))
            proxy.cut()
            await anyio.sleep(0.05)
            await session.execute(text("INSERT INTO things VALUES ('lost too')"))
    async with manager.session() as session:
        await session.execute(text("INSERT INTO things VALUES ('kept')"))
    async with manager.session() as session:
        assert ["kept"] == list((await session.execute(text("SELECT name FROM things"))).scalars())


async def test_cut_while_a_statement_runs(through, proxy, things):
    """A task that waits for an answer gets the error at once."""
    manager = through()

    async def cut():
        await anyio.sleep(0.2)
        proxy.cut()

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(cut)
            with pytest.raises(TransientDatabaseError):
                async with manager.session() as session:
                    await session.execute(text("SELECT pg_sleep(10)"))


async def test_cut_before_the_commit_arrives(through, proxy, things):
    """The commit raises, and the row isn't there."""
    manager = through()
    with pytest.raises(TransientDatabaseError) as caught:
        async with manager.session() as session:
            await session.execute(text("INSERT INTO things VALUES ('lost')"))
            proxy.cut()
            await anyio.sleep(0.05)
    # A commit isn't retried: had only its answer been lost, the row would be there.
    assert not caught.value.lost_a_race
    async with manager.session() as session:
        assert 0 == await session.scalar(text("SELECT count(*) FROM things"))


async def test_pooled_connections_that_were_cut_are_replaced(through, proxy, things):
    """Pooled connections that were cut are all replaced, without an error."""
    manager = through(pool_size=5)

    async def ask():
        async with manager.session() as session:
            await session.execute(text("SELECT pg_sleep(0.05)"))

    async def round_():
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(ask)

    await round_()
    proxy.cut()
    await anyio.sleep(0.05)
    await round_()


async def test_a_network_that_swallows_everything(through, proxy, things):
    """Without any answer the check fails within the time of the settings."""
    manager = through(connect_timeout=1)
    proxy.silent = True
    with anyio.fail_after(6), pytest.raises(DatabaseUnavailableError):
        await manager.check()
    proxy.silent = False
    await manager.check()


class Mute:
    """A server that accepts connections and never answers."""

    def __init__(self):
        self.open = 0
        self.taken = anyio.Event()

    @asynccontextmanager
    async def running(self):
        async with await asyncio.start_server(self._hold, "127.0.0.1", 0) as server:
            yield server.sockets[0].getsockname()[1]

    async def _hold(self, reader, writer):
        self.open += 1
        self.taken.set()
        try:
            while await reader.read(1000):
                pass
        except ConnectionError:
            pass
        self.open -= 1
        writer.close()

    async def wait_until_deserted(self):
        with anyio.fail_after(5):
            while self.open:
                await anyio.sleep(0.01)


@pytest.fixture
async def mute():
    """The server, with the garbage collector off, which would close connections that were left behind."""
    mute = Mute()
    gc.disable()
    try:
        async with mute.running() as port:
            mute.port = port
            yield mute
            await mute.wait_until_deserted()
    finally:
        gc.enable()


async def ask(manager):
    async with manager.session() as session:
        await session.execute(text("SELECT 1"))


def ask_in_a_thread(manager):
    with manager.sync_session() as session:
        session.execute(text("SELECT 1"))


async def cancel_while_connecting(mute, function, *arguments):
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(function, *arguments)
        await mute.taken.wait()
        await anyio.sleep(0.1)
        tasks.cancel_scope.cancel()
    await mute.wait_until_deserted()


@pytest.mark.parametrize("driver", DRIVERS)
async def test_a_cancelled_task_leaves_no_half_made_connection(mute, make_manager, driver):
    """A cancelled task closes its half-made connection at once."""
    manager = make_manager(f"postgresql+{driver}://u:p@127.0.0.1:{mute.port}/shop", connect_timeout=30)
    await cancel_while_connecting(mute, ask, manager)


@pytest.mark.parametrize("driver", DRIVERS)
async def test_a_cancelled_migration_leaves_no_half_made_connection(mute, driver):
    """A cancelled migration closes its half-made connection at once."""
    await cancel_while_connecting(mute, connected, f"postgresql+{driver}://u:p@127.0.0.1:{mute.port}/shop", str)


@pytest.mark.parametrize("driver", DRIVERS)
async def test_a_connection_that_takes_too_long_is_closed(mute, make_manager, driver):
    """An exception that is kept holds no connection open."""
    manager = make_manager(f"postgresql+{driver}://u:p@127.0.0.1:{mute.port}/shop", connect_timeout=1)
    with pytest.raises(TransientDatabaseError) as kept:
        await ask(manager)
    await mute.wait_until_deserted()
    with pytest.raises(TransientDatabaseError) as kept_too:
        await anyio.to_thread.run_sync(ask_in_a_thread, manager)
    await mute.wait_until_deserted()
    assert kept.value is not kept_too.value
