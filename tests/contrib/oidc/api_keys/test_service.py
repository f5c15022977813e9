"""Make, verify, revoke and rotate keys."""

import pytest
from tests.contrib.oidc.api_keys.keys import create
from tests.logged import capture_logs

from bandmaster.contrib.oidc import (
    ApiKeyError,
    KeyState,
    MemoryApiKeyStore,
)
from bandmaster.contrib.oidc.api_keys.key_text import add_checksum, generate_key
from bandmaster.contrib.oidc.errors import AuthUnavailableError, InvalidTokenError
from bandmaster.contrib.oidc.principal import Principal

pytestmark = pytest.mark.anyio


class CountingStore(MemoryApiKeyStore):
    """A store that counts the look-ups, and may be away."""

    def __init__(self):
        super().__init__()
        self.lookups = 0
        self.is_away = False

    async def get(self, key_id):
        self.lookups += 1
        if self.is_away:
            raise AuthUnavailableError("away")
        return await super().get(key_id)


@pytest.fixture
def store():
    return CountingStore()


@pytest.mark.requirement("AU-3")
async def test_a_new_key_says_who_its_owner_is(keys, clock) -> None:
    """The principal has the owner, the scopes, the id and the times of the key, and not the key."""
    key, record = await create(keys, owner="acme", name="ci", scopes=["read", "write"], expires_in=50)
    clock.advance(10)
    assert await keys.verify(key) == Principal(
        subject="acme",
        scopes=frozenset({"read", "write"}),
        kind="api_key",
        credential_id=record.id,
        issued_at=clock.now - 10,
        expires_at=clock.now + 40,
    )
    assert key.startswith("bmk_live_")
    assert ("ci", clock.now - 10) == (record.name, record.created_at)
    assert key not in repr(await keys.verify(key))


@pytest.mark.requirement("AU-3")
async def test_the_store_never_sees_the_key(keys, store) -> None:
    """The record has a keyed hash, from which nobody makes the key."""
    key, record = await create(keys)
    assert await keys.get(record.id) == record
    assert record.hash.startswith("hmac-sha256$2026$")
    secret = key[22:65]
    assert all(secret not in str(getattr(record, name)) for name in record.__slots__)


@pytest.mark.parametrize(
    "change",
    [
        lambda key: "",
        lambda key: key[:-1],
        lambda key: key + "0",
        lambda key: key.replace("live", "test"),
        lambda key: key.swapcase(),
        lambda key: key[:-1] + ("0" if key[-1] != "0" else "1"),
        lambda key: "é" * 71,
        lambda key: f" {key}",
    ],
)
async def test_junk_is_refused_without_asking_the_store(keys, store, change) -> None:
    """The checksum refuses typing errors and noise before any work is done."""
    key, _ = await create(keys)
    with pytest.raises(InvalidTokenError, match="isn't of the form bmk_live_") as caught:
        await keys.verify(change(key))
    assert 0 == store.lookups
    assert key[22:65] not in str(caught.value)


@pytest.mark.requirement("AU-7")
async def test_a_key_with_a_right_id_and_another_secret_is_refused(keys) -> None:
    """The id alone opens nothing."""
    key, record = await create(keys)
    other = generate_key("bmk_live_")
    forged = add_checksum(key[:22] + other[22:65])
    with pytest.raises(InvalidTokenError, match=f"'{record.id}' doesn't hold: the secret is another one") as caught:
        await keys.verify(forged)
    assert forged not in str(caught.value)
    # The secret of one key isn't a secret of another one, either.
    second, _ = await create(keys)
    with pytest.raises(InvalidTokenError):
        await keys.verify(add_checksum(key[:22] + second[22:65]))


async def test_an_unknown_key_is_refused_after_as_much_work(keys, hasher, monkeypatch) -> None:
    """An id that nobody has costs a hash as well."""
    worked = []

    async def verify_nothing(key):
        worked.append(key)

    monkeypatch.setattr(hasher, "verify_nothing", verify_nothing)
    key = generate_key("bmk_live_")
    with pytest.raises(InvalidTokenError, match="there is no API key"):
        await keys.verify(key)
    assert [key] == worked


@pytest.mark.requirement("AU-3")
async def test_a_revoked_key_is_refused_from_then_on(keys, clock) -> None:
    """At once, for good, and also where another process's clock goes back."""
    key, record = await create(keys)
    revoked = await keys.revoke(record.id)
    assert (KeyState.REVOKED, clock.now) == (revoked.get_state(clock.now), revoked.revoked_at)
    for seconds in (0, -1000, 1000):
        clock.advance(seconds)
        with pytest.raises(InvalidTokenError, match="was revoked"):
            await keys.verify(key)
    assert revoked == await keys.revoke(record.id)


async def test_a_key_expires_at_its_time(keys, clock) -> None:
    """The key is accepted until just before the end, and refused at the end."""
    key, _ = await create(keys, expires_in=50)
    clock.advance(49.999)
    await keys.verify(key)
    clock.advance(0.001)
    with pytest.raises(InvalidTokenError, match="has expired"):
        await keys.verify(key)


async def test_the_state_of_a_key_is_a_secret_of_its_owner(keys) -> None:
    """A caller with the id of a revoked key and without the secret isn't told of the revocation."""
    key, record = await create(keys)
    await keys.revoke(record.id)
    with pytest.raises(InvalidTokenError, match="the secret is another one"):
        await keys.verify(add_checksum(key[:22] + "0" * 43))


async def test_a_store_that_refuses_refuses_no_key(keys, store, monkeypatch) -> None:
    """A missing table says nothing about a key: the caller is to try again, and an open connection stays open."""
    key, record = await create(keys)

    async def refuse(key_id):
        raise ApiKeyError("the database refuses the API keys")

    monkeypatch.setattr(store, "get", refuse)
    with pytest.raises(AuthUnavailableError, match="the database refuses"):
        await keys.verify(key)
    with pytest.raises(AuthUnavailableError, match="the database refuses"):
        await keys.is_revoked(Principal("acme", kind="api_key", credential_id=record.id))


@pytest.mark.requirement("CA-43")
async def test_a_store_that_is_away_refuses_nobody_for_good(keys, store) -> None:
    """The error is the one that gives 503: the key may be good."""
    key, _ = await create(keys)
    store.is_away = True
    with pytest.raises(AuthUnavailableError):
        await keys.verify(key)


async def test_an_open_connection_can_ask_whether_its_key_still_holds(keys, clock) -> None:
    """Revocation, expiry and the end of a grace end a longer connection; other principals aren't concerned."""
    key, record = await create(keys, expires_in=1000)
    principal = await keys.verify(key)
    assert not await keys.is_revoked(principal)
    await keys.rotate(record.id, grace=5)
    assert not await keys.is_revoked(principal)
    clock.advance(5)
    assert await keys.is_revoked(principal)
    assert not await keys.is_revoked(Principal(subject="acme", credential_id=record.id))
    assert await keys.is_revoked(Principal(subject="acme", kind="api_key", credential_id="0" * 13))
    assert not await keys.is_revoked(Principal(subject="acme", kind="api_key"))


@pytest.mark.parametrize(
    ("options", "label"),
    [
        ({"owner": ""}, "owner"),
        ({"scopes": "read"}, "scopes"),
        ({"scopes": ["a b"]}, "scopes"),
        ({"name": "x" * 201}, "name"),
        ({"expires_in": 0}, "expires_in"),
        ({"expires_in": -1}, "expires_in"),
        ({"expires_in": float("nan")}, "expires_in"),
        ({"expires_in": 1e12}, "expires_in"),
    ],
)
async def test_arguments_out_of_range_make_no_key(keys, options, label) -> None:
    """The message names the argument, and nothing is stored."""
    with pytest.raises(ValueError, match=label):
        await create(keys, **options)
    assert [] == await keys.list()


async def test_keys_are_listed_with_or_without_those_that_have_ended(keys) -> None:
    """``usable`` leaves out keys that are refused."""
    _, one = await create(keys)
    _, two = await create(keys)
    await keys.revoke(one.id)
    assert {one.id, two.id} == {key.id for key in await keys.list()}
    assert [two.id] == [key.id for key in await keys.list(usable=True)]


@pytest.mark.requirement("AU-17")
async def test_management_is_logged_without_the_key(keys) -> None:
    """Who made, rotated and revoked which key can be read later; the keys can't."""
    with capture_logs() as logs:
        key, record = await create(keys, scopes=["b", "a"])
        made = await keys.rotate(record.id)
        await keys.revoke(record.id)
    assert ["API key created", "API key rotated", "API key revoked"] == [log["event"] for log in logs]
    assert ("info", record.id, "acme", ["a", "b"]) == tuple(
        logs[0][name] for name in ("log_level", "id", "owner", "scopes")
    )
    assert (made.record.id, record.id, 100) == tuple(logs[1][name] for name in ("id", "replaces", "grace"))
    assert key[22:65] not in str(logs)
    assert made.key.get_secret_value()[22:65] not in str(logs)
