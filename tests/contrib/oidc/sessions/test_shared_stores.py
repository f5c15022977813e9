"""The records in stores that processes share, and the locks across processes."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import anyio
import pytest
from tests.contrib.oidc.sessions.conftest import SHARED, make_cipher, make_session
from tests.contrib.oidc.sessions.test_stores import RICH

from bandmaster.contrib.oidc.errors import AuthUnavailableError
from bandmaster.contrib.oidc.sessions.redis_store import RedisSessionStore
from bandmaster.contrib.oidc.sessions.sql_store import SqlSessionStore
from bandmaster.contrib.oidc.sessions.store import hash_id
from bandmaster.contrib.oidc.sessions.tables import locks_table, sessions_table

pytestmark = pytest.mark.anyio


@pytest.fixture(params=SHARED.kinds)
async def pair(request, open_store):
    """Two stores on one server, as in two processes, whose leases end after half a second."""
    if request.param == "redis":
        request.getfixturevalue("redis_url_of_test")
    if request.param == "postgres":
        request.getfixturevalue("postgres_of_test")
    return [await open_store(request.param, lease=0.5, lock_wait=20) for _ in range(2)]


async def dump(store):
    """Everything that the store's server holds, as text."""
    if isinstance(store, SqlSessionStore):
        async with store._manager.session() as session:
            rows = [*await session.execute(sessions_table.select()), *await session.execute(locks_table.select())]
        return repr([tuple(row) for row in rows])
    texts = []
    client = store._client
    async for key in client.scan_iter("*"):
        kind = await client.type(key)
        value = {b"hash": client.hgetall, b"zset": lambda key: client.zrange(key, 0, -1), b"string": client.get}[kind]
        texts.append((key, await value(key)))
    return repr(texts)


async def test_a_session_is_seen_by_every_process(pair):
    """And so is the end of a session."""
    one, other = pair
    session = make_session(sid="s")
    await one.put(session)
    assert session == await other.get(session.id)
    assert 1 == await other.delete_by(session.issuer, sid="s")
    assert await one.get(session.id) is None


@pytest.mark.requirement("AU-17")
async def test_what_is_stored_shows_nothing(pair):
    """No id, token, name or claim is readable on the server, not even the user's."""
    store, _ = pair
    session = make_session(**RICH)
    await store.put(session)
    async with store.lock(session.id):
        found = await dump(store)
    assert hash_id(session.id) in found
    values = [session.id, session.csrf_token, "ada", "id.example", "s-1", "secret", "velace", "shop:read"]
    assert [] == [value for value in values if value in found]


async def test_a_record_under_another_id_is_no_session(pair):
    """A record is bound to the id: copying one user's record gives another user nothing."""
    store, _ = pair
    victim, thief = make_session(subject="victim"), make_session(subject="thief")
    await store.put(victim)
    await store.put(thief)
    if isinstance(store, RedisSessionStore):
        record = await store._client.hget(store._key(hash_id(victim.id)), "data")
        await store._client.hset(store._key(hash_id(thief.id)), "data", record)
    else:
        async with store._manager.session() as session:
            rows = sessions_table.c
            record = await session.scalar(
                sessions_table.select().with_only_columns(rows.record).where(rows.id == hash_id(victim.id))
            )
            await session.execute(sessions_table.update().where(rows.id == hash_id(thief.id)).values(record=record))
    assert await store.get(thief.id) is None
    assert victim == await store.get(victim.id)


async def test_a_key_is_replaced_in_two_steps(pair, open_store, logs):
    """The new key encrypts, and the old one still decrypts; once that is removed old sessions end, with one warning."""
    kind = "redis" if isinstance(pair[0], RedisSessionStore) else pair[0]._manager.settings.dsn.get_backend_name()
    kind = {"postgresql": "postgres"}.get(kind, kind)
    old, both, new = [
        await open_store(kind, cipher=make_cipher(**keys))
        for keys in ({"a": "a" * 40}, {"b": "b" * 40, "a": "a" * 40}, {"b": "b" * 40})
    ]
    first, second = make_session(), make_session()
    await old.put(first)
    assert first == await both.get(first.id)
    await both.put(second)
    assert second == await new.get(second.id)
    assert [None, None] == [await new.get(first.id), await new.get(first.id)]
    warnings = [entry for entry in logs if "can't be read" in entry["event"]]
    assert 1 == len(warnings)
    assert "AUTH_SESSION_KEYS" in warnings[0]["hint"]
    # A refresh encrypts with the new key.
    await both.replace(first.id, first)
    assert first == await new.get(first.id)


@pytest.mark.requirement("CA-41")
async def test_a_lock_outlives_its_lease_while_it_is_held(pair):
    """The lease of half a second is renewed: another process waits for longer than that."""
    one, other = pair
    order = []

    async def hold():
        async with one.lock("s"):
            held.set()
            # By the clock of the server, which renews or ends the lease.
            await anyio.sleep(1.6)
            order.append("first")

    async def wait():
        async with other.lock("s"):
            order.append("second")

    held = anyio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(hold)
        await held.wait()
        group.start_soon(wait)
    assert ["first", "second"] == order


async def test_the_lock_of_a_dead_process_is_free_after_its_lease(pair):
    """The lease of a dead process isn't renewed."""
    one, other = pair
    assert await one._locks._leases.acquire(hash_id("s"), "dead", 0.5)
    with anyio.fail_after(20):
        async with other.lock("s"):
            pass


async def test_a_lock_is_waited_for_no_longer_than_the_settings_say(pair):
    """The caller answers 503 then: nobody is logged out."""
    one, other = pair
    other._locks._wait = 0.2
    async with one.lock("s"):
        with pytest.raises(AuthUnavailableError, match=r"wasn't free within 0.2 s"):
            async with other.lock("s"):
                raise AssertionError("both hold the lock")


async def test_a_lost_lock_is_told(pair, logs):
    """Another owner's lease is neither renewed nor released, and the log says that the lock was lost."""
    one, _ = pair
    leases = one._locks._leases
    async with one.lock("s"):
        if isinstance(one, RedisSessionStore):
            await one._client.set(f"{one._prefix}lock:{hash_id('s')}", "thief", px=60_000)
        else:
            async with one._manager.session() as session:
                ends = datetime.now(UTC) + timedelta(minutes=1)
                await session.execute(locks_table.update().values(owner="thief", expires_at=ends))
        with anyio.fail_after(20):
            while not any("was lost" in entry["event"] for entry in logs):
                await anyio.sleep(0.02)
    assert not await leases.acquire(hash_id("s"), "third", 0.5)
    assert await leases.renew(hash_id("s"), "thief", 0.5)
    assert hash_id("s") not in json.dumps([entry["event"] for entry in logs])


async def test_a_cancelled_wait_leaves_no_lock(pair):
    """The next caller gets the lock at once."""
    one, other = pair
    async with one.lock("s"):
        with anyio.move_on_after(0.1) as scope:
            async with other.lock("s"):
                raise AssertionError("both hold the lock")
        assert scope.cancelled_caught
    with anyio.fail_after(5):
        async with other.lock("s"):
            pass
