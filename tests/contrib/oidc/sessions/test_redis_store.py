"""Sessions in Redis: keys, expiry, indexes, retries, outages."""

from __future__ import annotations

import pytest
from tests.contrib.oidc.sessions.conftest import make_cipher, make_session

from bandmaster.contrib.oidc.errors import AuthUnavailableError
from bandmaster.contrib.oidc.sessions.redis_store import RedisSessionStore
from bandmaster.contrib.oidc.sessions.store import hash_id
from bandmaster.contrib.redis import RedisSettings, open_client
from bandmaster.kernel.testing import free_port

pytestmark = pytest.mark.anyio


@pytest.fixture
async def store(redis_url, clock):
    async with open_client(RedisSettings(url=redis_url), "sessions") as client:
        yield RedisSessionStore(client, make_cipher(), clock=clock)


async def read_keys(store):
    return sorted([key.decode() async for key in store._client.scan_iter("*")])


async def test_all_keys_are_in_one_slot_of_a_cluster(store):
    """The scripts use several keys at once, which a cluster allows within one slot."""
    async with store.lock("s"):
        await store.put(make_session(sid="s"))
        keys = await read_keys(store)
    assert ["lock", "session", "sid", "subject"] == sorted(key.split(":")[2] for key in keys)
    assert 1 == len({await store._client.execute_command("CLUSTER", "KEYSLOT", key) for key in keys})


async def test_keys_expire_with_their_sessions(store, clock):
    """The record with the session, each index with the last session, so that nothing stays behind."""
    await store.put(make_session(sid="s", expires_at=clock.now + 100))
    await store.put(make_session(sid="s", expires_at=clock.now + 50))
    left = {key: await store._client.pttl(key) for key in await read_keys(store)}
    assert 4 == len(left)
    records = sorted(ttl for key, ttl in left.items() if ":session:" in key)
    indexes = [ttl for key, ttl in left.items() if ":session:" not in key]
    assert 40_000 < records[0] <= 50_000 < 90_000 < records[1] <= 100_000
    assert all(90_000 < ttl <= 100_000 for ttl in indexes)


async def test_a_session_that_has_expired_isnt_stored(store, clock):
    """The time to live would be negative."""
    session = make_session(expires_at=clock.now - 10)
    await store.put(session)
    assert await store.get(session.id) is None
    assert [] == [key for key in await read_keys(store) if ":session:" in key]


async def test_an_index_forgets_what_has_expired(store, clock):
    """A user who logs in daily has an index of a few sessions."""
    for _ in range(5):
        await store.put(make_session(expires_at=clock.now + 10))
        clock.now += 20
    (index,) = [key for key in await read_keys(store) if ":subject:" in key]
    assert 1 == await store._client.zcard(index)


async def test_a_deleted_session_leaves_no_key(store):
    """Neither record nor index, after any kind of end."""
    one, two, three, four = (make_session(sid=sid) for sid in ("a", "b", None, "d"))
    for session in (one, two, three):
        await store.put(session)
    await store.delete(one.id)
    await store.delete_by(two.issuer, sid="b")
    await store.replace(three.id, four)
    await store.delete_by(four.issuer, subject=four.subject)
    assert [] == await read_keys(store)


async def test_a_rotation_that_is_sent_twice_succeeds(store):
    """The client sends a command again whose answer was lost; the second try finds the old session gone."""
    old, new = make_session(), make_session()
    await store.put(old)
    assert new.id == await store.replace(old.id, new)
    assert new.id == await store.replace(old.id, new)
    assert new == await store.get(new.id)


async def test_a_server_that_was_restarted_gets_the_scripts_again(store):
    """Scripts are lost with the server."""
    await store.put(make_session())
    await store._client.script_flush()
    session = make_session()
    await store.put(session)
    assert session == await store.get(session.id)


async def test_junk_in_redis_is_no_session(store, logs):
    """And is told once."""
    session = make_session()
    await store.put(session)
    await store._client.hset(store._key(hash_id(session.id)), "data", b"\xff\x00")
    assert await store.get(session.id) is None
    assert ["can't be read" in entry["event"] for entry in logs] == [True]


@pytest.mark.requirement("CA-43")
@pytest.mark.parametrize("call", ["get", "put", "replace", "delete", "delete_by", "lock"])
async def test_a_redis_that_is_away_is_no_answer(call):
    """Neither 'no session' nor an error of redis-py's: callers answer 503."""
    settings = RedisSettings(url=f"redis://user:secret@127.0.0.1:{free_port()}", retries=0, connect_timeout=1)
    async with open_client(settings, "sessions") as client:
        store, session = RedisSessionStore(client, make_cipher()), make_session()
        arguments = {"put": (session,), "replace": ("x", session), "delete_by": ("i",)}.get(call, ("x",))
        with pytest.raises(AuthUnavailableError, match="the Redis of sessions can't be used now") as caught:
            if call == "lock":
                async with store.lock("x"):
                    raise AssertionError("no lock was to be had")
            options = {"subject": "s"} if call == "delete_by" else {}
            await getattr(store, call)(*arguments, **options)
        assert "secret" not in str(caught.value)
