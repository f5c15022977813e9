"""Tokens in Redis: keys, expiry, junk, outages."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest
from tests.contrib.oidc.token_store.conftest import make_principal, make_token

from bandmaster.contrib.oidc.errors import TokenStoreError
from bandmaster.contrib.oidc.token_store.redis_store import RedisTokenStore
from bandmaster.contrib.redis import RedisSettings, open_client
from bandmaster.kernel.testing import free_port

pytestmark = pytest.mark.anyio


@pytest.fixture
async def client(redis_url):
    async with open_client(RedisSettings(url=redis_url), "tokens") as client:
        yield client


async def read_keys(client):
    return sorted([key.decode() async for key in client.scan_iter("*")])


async def test_the_keys_of_a_user_are_in_one_slot_and_show_no_name(client):
    """A cluster needs the one, and names may be addresses."""
    store = RedisTokenStore(client)
    await store.store(make_token(user_id="ada@shop.example"))
    await store.revoke_all("ada@shop.example")
    keys = await read_keys(client)
    assert ["ep", "idx", "t:t"] == [key.partition("}:")[2] for key in keys]
    assert all(key.startswith("ts:{") and "ada" not in key for key in keys)
    assert 1 == len({await client.execute_command("CLUSTER", "KEYSLOT", key) for key in keys})


@pytest.mark.requirement("P-07")
async def test_every_key_expires(client):
    """No key is left without a time to live, and none lives for too long."""
    store = RedisTokenStore(client, longest_life=500)
    await store.store(make_token("short", age=0, life=50))
    await store.store(make_token("long", age=0, life=1000))
    await store.revoke("ada", "unseen", expires_at=datetime.now(UTC) + timedelta(seconds=20))
    await store.revoke("ada", "forever")
    await store.revoke_all("bob")
    left = {key.partition("}:")[2]: await client.pttl(key) for key in await read_keys(client) if "t:" in key}
    rounded = {name: round(ttl / 10_000) for name, ttl in left.items()}
    assert {"t:short": 5, "t:long": 100, "t:unseen": 2, "t:forever": 50} == rounded
    others = [await client.pttl(key) for key in await read_keys(client) if "}:t:" not in key]
    assert [50, 100] == sorted(round(ttl / 10_000) for ttl in others)


async def test_a_revocation_of_an_expired_token_leaves_nothing(client):
    """A time to live is never negative; PEXPIREAT with a past time would be."""
    store = RedisTokenStore(client)
    assert await store.revoke("ada", "t", expires_at=datetime.now(UTC) - timedelta(days=1))
    end = time.monotonic() + 10
    while await read_keys(client):
        assert time.monotonic() < end


async def test_a_stored_token_keeps_the_longer_expiry_of_its_revocation(client):
    """Storing a token that was revoked before doesn't shorten the revocation."""
    store = RedisTokenStore(client)
    await store.revoke("ada", "t", expires_at=datetime.now(UTC) + timedelta(seconds=5000))
    await store.store(make_token(age=0, life=100))
    (key,) = [key for key in await read_keys(client) if key.endswith(":t:t")]
    assert await client.pttl(key) > 4_000_000


@pytest.mark.parametrize("junk", [b"", b"\xff", b"[]", b'{"jti": "t"}', b'{"jti": " "}'])
async def test_junk_in_redis_is_an_error(client, junk):
    """Not a token, and not an error of json's."""
    store = RedisTokenStore(client)
    await store.store(make_token())
    (key,) = [key for key in await read_keys(client) if key.endswith(":t:t")]
    await client.hset(key, "data", junk)
    with pytest.raises(TokenStoreError, match="isn't a token"):
        await store.get("ada", "t")
    with pytest.raises(TokenStoreError, match="isn't a token"):
        await store.list_tokens("ada")


async def test_a_key_of_another_kind_is_an_error(client):
    """Another program writes there."""
    store = RedisTokenStore(client)
    await store.store(make_token())
    (key,) = [key for key in await read_keys(client) if key.endswith(":t:t")]
    await client.set(key, "x")
    with pytest.raises(TokenStoreError, match="can't be used now"):
        await store.is_revoked(make_principal(issued_at=1))


CALLS = {
    "store": lambda store: store.store(make_token()),
    "get": lambda store: store.get("ada", "t"),
    "list_tokens": lambda store: store.list_tokens("ada"),
    "revoke": lambda store: store.revoke("ada", "t"),
    "revoke_all": lambda store: store.revoke_all("ada"),
    "is_revoked": lambda store: store.is_revoked(make_principal(issued_at=1)),
}


@pytest.fixture
async def away():
    """A store whose Redis is away."""
    settings = RedisSettings(url=f"redis://user:secret@127.0.0.1:{free_port()}", retries=0, connect_timeout=1)
    async with open_client(settings, "tokens") as client:
        yield RedisTokenStore(client)


@pytest.mark.requirement("P-07", "CA-43")
@pytest.mark.parametrize("call", CALLS)
async def test_a_redis_that_is_away_is_an_error(away, call):
    """Neither revoked nor accepted, and nothing is reported as revoked: callers answer 503."""
    with pytest.raises(TokenStoreError, match="the Redis of tokens can't be used now") as caught:
        await CALLS[call](away)
    assert "secret" not in str(caught.value)
