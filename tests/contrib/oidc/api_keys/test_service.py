"""Make, verify, revoke and rotate keys."""

import anyio
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import SecretStr
from tests.contrib.oidc.api_keys.conftest import OLD_PEPPER, PEPPER
from tests.contrib.oidc.clock import Clock
from tests.logged import capture_logs

from bandmaster.contrib.oidc import (
    ApiKeyError,
    ApiKeys,
    ApiKeySettings,
    HmacSha256Hasher,
    KeyState,
    MemoryApiKeyStore,
)
from bandmaster.contrib.oidc.api_keys.key_text import add_checksum, generate_key
from bandmaster.contrib.oidc.api_keys.pending_updates import PendingUpdates
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


async def create(keys, **options):
    """The text of a new key, and the record."""
    made = await keys.create(options.pop("owner", "acme"), **options)
    return made.key.get_secret_value(), made.record


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


@pytest.mark.requirement("CA-52")
async def test_both_keys_work_before_the_deadline_and_the_old_one_ends_at_it(keys, clock) -> None:
    """A rotation with a grace causes no outage, and ends the old key exactly at the deadline."""
    old, record = await create(keys, name="ci", scopes=["read"])
    made = await keys.rotate(record.id, grace=30)
    new = made.key.get_secret_value()
    assert ("acme", "ci", {"read"}, None) == (
        made.record.owner,
        made.record.name,
        made.record.scopes,
        made.record.expires_at,
    )
    assert made.record.id == (await keys.get(record.id)).replaced_by
    clock.advance(29.999)
    principals = [await keys.verify(old), await keys.verify(new)]
    assert [record.id, made.record.id] == [each.credential_id for each in principals]
    clock.advance(0.001)
    with pytest.raises(InvalidTokenError, match=f"was rotated to '{made.record.id}', and its grace is over"):
        await keys.verify(old)
    await keys.verify(new)


@pytest.mark.requirement("CA-52")
async def test_without_a_grace_the_old_key_ends_at_once(keys, clock) -> None:
    """For a leaked key: refused at the same instant, also by a process whose clock is behind."""
    old, record = await create(keys)
    new = (await keys.rotate(record.id, grace=0)).key.get_secret_value()
    for seconds in (0, -60):
        clock.advance(seconds)
        with pytest.raises(InvalidTokenError, match="was revoked"):
            await keys.verify(old)
        await keys.verify(new)


@pytest.mark.requirement("CA-52")
async def test_the_grace_is_a_setting(keys, clock) -> None:
    """Without an argument the setting counts; a key that was to expire earlier isn't prolonged."""
    old, record = await create(keys)
    brief, brief_record = await create(keys, expires_in=10)
    await keys.rotate(record.id)
    renewed = await keys.rotate(brief_record.id)
    assert clock.now + 10 == renewed.record.expires_at, "as long as the old one was meant to live"
    clock.advance(10)
    with pytest.raises(InvalidTokenError):
        await keys.verify(brief)
    clock.advance(89.999)
    await keys.verify(old)
    clock.advance(0.001)
    with pytest.raises(InvalidTokenError):
        await keys.verify(old)


async def test_a_successor_lives_as_long_from_now(keys, clock) -> None:
    """A key for 100 seconds is replaced by one for 100 seconds, unless the caller says."""
    _, record = await create(keys, expires_in=100)
    clock.advance(60)
    second = (await keys.rotate(record.id)).record
    assert clock.now + 100 == second.expires_at
    third = (await keys.rotate(second.id, expires_in=5)).record
    assert clock.now + 5 == third.expires_at


async def test_a_leaked_key_in_its_grace_can_be_ended(keys) -> None:
    """`revoke` ends the old key of a rotation at once; the new one stays."""
    old, record = await create(keys)
    made = await keys.rotate(record.id, grace=1000)
    await keys.revoke(record.id)
    with pytest.raises(InvalidTokenError, match="was revoked"):
        await keys.verify(old)
    await keys.verify(made.key.get_secret_value())


async def test_a_key_is_rotated_once(keys, clock) -> None:
    """A second rotation would leave a third key that nobody uses: the error names the successor."""
    _, record = await create(keys)
    made = await keys.rotate(record.id)
    with pytest.raises(ApiKeyError, match=f"was rotated already, to '{made.record.id}'"):
        await keys.rotate(record.id)
    assert 2 == len(await keys.list())


async def test_what_has_ended_is_not_rotated(keys, clock) -> None:
    """Neither a revoked nor an expired key gets a successor, and an unknown one is named."""
    _, revoked = await create(keys)
    _, brief = await create(keys, expires_in=1)
    await keys.revoke(revoked.id)
    clock.advance(1)
    with pytest.raises(ApiKeyError, match="was revoked; create a new one"):
        await keys.rotate(revoked.id)
    with pytest.raises(ApiKeyError, match="has expired; create a new one"):
        await keys.rotate(brief.id)
    for call in (keys.rotate("0" * 13), keys.revoke("0" * 13)):
        with pytest.raises(ApiKeyError, match="there is no API key '0000000000000'"):
            await call


async def test_of_concurrent_rotations_one_succeeds(keys) -> None:
    """The others get an error, and nobody gets a key that isn't stored."""
    _, record = await create(keys)
    made, errors = [], []

    async def rotate():
        try:
            made.append(await keys.rotate(record.id))
        except ApiKeyError as error:
            errors.append(str(error))

    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(rotate)
    assert (1, 9) == (len(made), len(errors))
    assert all("was rotated already" in error for error in errors)
    await keys.verify(made[0].key.get_secret_value())


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


async def test_arguments_of_rotation_and_revocation_are_checked(keys) -> None:
    """A whole key in place of an id isn't repeated, and a negative grace is refused."""
    key, record = await create(keys)
    for call in (keys.revoke(key), keys.rotate(key), keys.get(key)):
        with pytest.raises(ValueError, match="key_id: expected the id of a key") as caught:
            await call
        assert key not in str(caught.value)
    for grace in (-1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="grace: expected"):
            await keys.rotate(record.id, grace=grace)
    with pytest.raises(ValueError, match="expires_in"):
        await keys.rotate(record.id, expires_in=0)
    assert (await keys.get(record.id)).replaced_by is None


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


ACTIONS = st.lists(
    st.tuples(st.sampled_from(["create", "rotate", "revoke", "wait"]), st.integers(0, 5), st.integers(0, 60)),
    max_size=25,
)


@pytest.mark.requirement("CA-52")
@hypothesis_settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(actions=ACTIONS)
async def test_a_key_is_accepted_exactly_while_it_should_be(actions) -> None:
    """Against a model: after any history each key is accepted if, and only if, the end lies in the future."""
    clock = Clock()
    settings = ApiKeySettings(peppers={"2026": SecretStr(PEPPER)})
    keys = ApiKeys(MemoryApiKeyStore(), HmacSha256Hasher(settings.peppers), settings, clock=clock)
    ends: dict[str, float | None] = {}
    texts: dict[str, str] = {}
    rotated: set[str] = set()

    def note(made):
        ends[made.record.id] = made.record.expires_at
        texts[made.record.id] = made.key.get_secret_value()

    for action, place, seconds in actions:
        if action == "create":
            note(await keys.create("acme", expires_in=seconds or None))
        elif action == "wait":
            clock.advance(seconds)
        elif ends:
            key_id = list(ends)[place % len(ends)]
            usable = ends[key_id] is None or ends[key_id] > clock.now
            if action == "revoke":
                await keys.revoke(key_id)
                ends[key_id] = min(clock.now, ends[key_id] or clock.now)
            elif usable and key_id not in rotated:
                note(await keys.rotate(key_id, grace=seconds))
                rotated.add(key_id)
                deadline = clock.now + seconds
                ends[key_id] = deadline if ends[key_id] is None else min(deadline, ends[key_id])
            else:
                with pytest.raises(ApiKeyError):
                    await keys.rotate(key_id, grace=seconds)
    for key_id, end in ends.items():
        if end is None or end > clock.now:
            assert key_id == (await keys.verify(texts[key_id])).credential_id
        else:
            with pytest.raises(InvalidTokenError):
                await keys.verify(texts[key_id])
