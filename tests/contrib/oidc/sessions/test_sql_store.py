"""Sessions in a database: migrations, deletion of expired rows, tenants, outages."""

from __future__ import annotations

import anyio
import pytest
from sqlalchemy import func, select
from tests.contrib.oidc.sessions.conftest import make_cipher, make_session

from bandmaster.contrib.oidc.errors import AuthUnavailableError
from bandmaster.contrib.oidc.sessions.sql_component import session_migrations
from bandmaster.contrib.oidc.sessions.sql_store import SqlSessionStore
from bandmaster.contrib.oidc.sessions.tables import sessions_table
from bandmaster.contrib.persistence import DatabaseManager, DatabaseSettings
from bandmaster.contrib.persistence.migration.migrate import downgrade, upgrade
from bandmaster.contrib.persistence.migration.state import differences, state

pytestmark = pytest.mark.anyio
PARTS = [session_migrations.value]


@pytest.fixture
async def open_manager():
    made = []

    def open_manager(url, **options):
        manager = DatabaseManager(DatabaseSettings(url=url, connect_timeout=2, slow_query=0, **options))
        made.append(manager)
        return manager

    yield open_manager
    for manager in made:
        await manager.dispose()


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_migrations_make_the_tables_of_the_models(kind, request, tmp_path):
    """No revision is pending, models and database are alike, and a downgrade removes the tables."""
    if kind == "sqlite":
        settings = DatabaseSettings(url=f"sqlite:///{tmp_path / 'a.db'}")
    else:
        settings = DatabaseSettings(url=request.getfixturevalue("postgres_of_test"))
    await upgrade(settings.migration_dsn, PARTS)
    found = await state(settings.migration_dsn, PARTS)
    assert ((), ()) == (found.pending, found.unknown)
    assert ["auth_sessions 7c1d5f0a92e4: sessions"] == [str(revision) for revision in found.current]
    assert () == await differences(settings.migration_dsn, PARTS)
    await downgrade(settings.migration_dsn, PARTS, "auth_sessions@base")
    assert 1 == len((await state(settings.migration_dsn, PARTS)).pending)


async def test_expired_rows_are_deleted(open_store, clock):
    """Of sessions, and of locks of processes that have died; valid ones stay."""
    store = await open_store("sqlite")
    old, valid = make_session(expires_at=clock.now + 1), make_session()
    await store.put(old)
    await store.put(valid)
    assert await store._locks._leases.acquire("dead", "owner", 0.001)
    clock.now += 2
    assert (1, 0) == (await store.purge(), await store.purge())
    async with store._manager.session() as session:
        assert 1 == await session.scalar(select(func.count()).select_from(sessions_table))
    assert valid == await store.get(valid.id)


async def test_purging_goes_on_after_an_outage(open_store, logs):
    """A database that is away is logged, and tried again."""
    store = await open_store("sqlite")
    calls = []

    async def purge():
        calls.append(1)
        if len(calls) == 1:
            raise AuthUnavailableError("the database is away")
        scope.cancel()

    store.purge = purge
    with anyio.CancelScope() as scope:
        await store.purge_forever(0.01)
    assert [1, 1] == calls
    assert ["expired sessions can't be deleted now"] == [entry["event"] for entry in logs]


async def test_sessions_are_found_before_the_tenant_is_known(postgres_database, open_manager):
    """With tenant isolation every other transaction needs a tenant."""
    await upgrade(DatabaseSettings(url=postgres_database.owner_url()).dsn, PARTS)
    with postgres_database.server.connect(postgres_database.name) as connection:
        for table in ("auth_sessions", "auth_session_locks"):
            connection.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {postgres_database.app}")
    manager = open_manager(postgres_database.app_url(), tenant_isolation="rls")
    store = SqlSessionStore(manager, make_cipher())
    session = make_session()
    await store.put(session)
    async with store.lock(session.id):
        assert session == await store.get(session.id)
    assert await store.delete(session.id)


@pytest.mark.requirement("CA-43")
@pytest.mark.parametrize("call", ["get", "put", "replace", "delete", "delete_by", "lock"])
async def test_a_database_that_is_away_is_no_answer(call, open_manager, tmp_path):
    """Neither 'no session' nor an error of SQLAlchemy's: callers answer 503."""
    manager = open_manager(f"sqlite:///{tmp_path / 'without-tables.db'}")
    store, session = SqlSessionStore(manager, make_cipher()), make_session()
    arguments = {"put": (session,), "replace": ("x", session), "delete_by": ("i",)}.get(call, ("x",))
    with pytest.raises(AuthUnavailableError, match="the database of sessions can't be used now"):
        if call == "lock":
            async with store.lock("x"):
                raise AssertionError("no lock was to be had")
        options = {"subject": "s"} if call == "delete_by" else {}
        await getattr(store, call)(*arguments, **options)


async def test_a_refused_connection_is_no_answer(open_manager):
    """An unreachable server is away."""
    from bandmaster.kernel.testing import free_port

    manager = open_manager(f"postgresql://shop:secret@127.0.0.1:{free_port()}/shop")
    with pytest.raises(AuthUnavailableError) as caught:
        await SqlSessionStore(manager, make_cipher()).get("x")
    assert "secret" not in str(caught.value)
