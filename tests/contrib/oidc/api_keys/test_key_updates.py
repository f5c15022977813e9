"""What the use of a key changes in the store, outside of the request."""

import pytest
from pydantic import SecretStr
from tests.contrib.oidc.api_keys.conftest import OLD_PEPPER, PEPPER
from tests.contrib.oidc.api_keys.keys import create

from bandmaster.contrib.oidc import (
    ApiKeys,
    ApiKeySettings,
    HmacSha256Hasher,
)
from bandmaster.contrib.oidc.api_keys.key_text import add_checksum, generate_key
from bandmaster.contrib.oidc.api_keys.pending_updates import PendingUpdates
from bandmaster.contrib.oidc.errors import AuthUnavailableError, InvalidTokenError

pytestmark = pytest.mark.anyio


@pytest.mark.requirement("CA-50")
async def test_a_hash_changes_over_to_the_first_pepper_at_the_next_use(store, clock) -> None:
    """The pepper can be rotated: after each key's next use the old pepper isn't needed any more."""
    old, new = {"2025": SecretStr(OLD_PEPPER)}, {"2026": SecretStr(PEPPER)}
    settings = ApiKeySettings(peppers={**new, **old})
    before = ApiKeys(store, HmacSha256Hasher(old), settings, clock=clock)
    key, record = await create(before)
    unused, _ = await create(before)

    updates = PendingUpdates(store, interval=60)
    during = ApiKeys(store, HmacSha256Hasher({**new, **old}), settings, updates=updates, clock=clock)
    await during.verify(key)
    await during.verify(key)
    assert record.hash == (await store.get(record.id)).hash, "the request itself writes nothing"
    assert await updates.write()
    assert (await store.get(record.id)).hash.startswith("hmac-sha256$2026$")

    after = ApiKeys(store, HmacSha256Hasher(new), settings, clock=clock)
    assert "acme" == (await after.verify(key)).subject
    with pytest.raises(InvalidTokenError, match="the pepper '2025', which isn't configured here"):
        await after.verify(unused)


@pytest.mark.requirement("CA-51")
async def test_a_use_is_noted_for_later(store, hasher, settings, clock) -> None:
    """The time of the request is noted, and written by nobody until the updates are."""
    updates = PendingUpdates(store, interval=60)
    keys = ApiKeys(store, hasher, settings, updates=updates, clock=clock)
    key, record = await create(keys)
    clock.advance(5)
    await keys.verify(key)
    assert (await store.get(record.id)).last_used_at is None
    await updates.write()
    assert clock.now == (await store.get(record.id)).last_used_at


@pytest.mark.requirement("CA-50")
async def test_no_request_waits_for_a_new_hash(store, settings, clock, monkeypatch) -> None:
    """The service of the updates computes it once, however many requests have come with the key: bcrypt is slow."""
    old = {"2025": SecretStr(OLD_PEPPER)}
    key, _ = await create(ApiKeys(store, HmacSha256Hasher(old), settings))
    hasher = HmacSha256Hasher({**settings.peppers, **old})
    computed = []
    compute = hasher.hash

    async def count(key):
        computed.append(1)
        return await compute(key)

    monkeypatch.setattr(hasher, "hash", count)
    updates = PendingUpdates(store, interval=60)
    keys = ApiKeys(store, hasher, settings, updates=updates, clock=clock)
    for _ in range(3):
        await keys.verify(key)
    assert [] == computed
    await updates.write()
    await keys.verify(key)
    assert [1] == computed


async def test_a_new_hash_that_must_wait_refuses_no_key(store, settings, clock, monkeypatch) -> None:
    """A key that holds is accepted while nothing can compute a new hash, and changes over later."""
    old = {"2025": SecretStr(OLD_PEPPER)}
    key, _ = await create(ApiKeys(store, HmacSha256Hasher(old), settings))
    hasher = HmacSha256Hasher({**settings.peppers, **old})

    async def be_busy(key):
        raise AuthUnavailableError("no thread was free")

    updates = PendingUpdates(store, interval=60)
    keys = ApiKeys(store, hasher, settings, updates=updates, clock=clock)
    with monkeypatch.context() as patched:
        patched.setattr(hasher, "hash", be_busy)
        assert "acme" == (await keys.verify(key)).subject
        await updates.write()
        assert 0 == len(updates)
    await keys.verify(key)
    await updates.write()
    assert hasher.is_current((await store.list())[0].hash)


async def test_a_refused_key_leaves_no_trace(store, hasher, settings, clock) -> None:
    """Neither a wrong secret nor a key that has ended counts as a use, or changes a hash."""
    updates = PendingUpdates(store, interval=60)
    keys = ApiKeys(store, hasher, settings, updates=updates, clock=clock)
    key, record = await create(keys)
    for bad in (add_checksum(key[:22] + "0" * 43), generate_key("bmk_live_")):
        with pytest.raises(InvalidTokenError):
            await keys.verify(bad)
    await keys.revoke(record.id)
    with pytest.raises(InvalidTokenError):
        await keys.verify(key)
    assert 0 == len(updates)
