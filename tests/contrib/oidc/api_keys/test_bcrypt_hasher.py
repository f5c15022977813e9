"""bcrypt as an option: cost, threads, cache."""

import base64
import hashlib
import hmac
import threading

import anyio
import bcrypt
import pytest
from pydantic import SecretStr
from tests.contrib.oidc.api_keys.conftest import OLD_PEPPER, PEPPER
from tests.contrib.oidc.clock import Clock

from bandmaster.contrib.oidc import (
    ApiKeys,
    ApiKeySettings,
    BcryptHasher,
    HmacSha256Hasher,
    KeyHashers,
    MemoryApiKeyStore,
)
from bandmaster.contrib.oidc.errors import AuthUnavailableError, InvalidTokenError

pytestmark = pytest.mark.anyio

NEW = {"2026": SecretStr(PEPPER)}
OLD = {"2025": SecretStr(OLD_PEPPER)}
KEY = "bmk_live_" + "x" * 62


@pytest.fixture
def calls(monkeypatch):
    """The calls of bcrypt, with the threads that they run in."""
    seen = []

    def checkpw(password, hashed, check=bcrypt.checkpw):
        seen.append((threading.current_thread().name, len(password), hashed))
        return check(password, hashed)

    monkeypatch.setattr(bcrypt, "checkpw", checkpw)
    return seen


@pytest.mark.requirement("AU-3")
async def test_a_hash_is_bcrypt_of_cost_12_over_the_hmac() -> None:
    """The input of bcrypt is the keyed HMAC of the whole key, which is short enough for bcrypt's 72 bytes."""
    stored = await BcryptHasher(NEW).hash(KEY)
    assert stored.startswith("bcrypt$2026$$2b$12$")
    digest = hmac.new(PEPPER.encode(), KEY.encode(), hashlib.sha256).digest()
    assert bcrypt.checkpw(base64.b64encode(digest), stored.split("$", 2)[2].encode())


@pytest.mark.requirement("AU-3")
async def test_keys_that_differ_behind_72_bytes_differ() -> None:
    """bcrypt would ignore or refuse bytes behind the 72nd; the HMAC reads all bytes."""
    hasher = BcryptHasher(NEW)
    long = "k" * 100
    stored = await hasher.hash(long + "1")
    assert await hasher.verify(long + "1", stored)
    assert not await hasher.verify(long + "2", stored)


@pytest.mark.parametrize(
    ("options", "message"), [({"rounds": 11}, "rounds: expected 12"), ({"threads": 0}, "threads: expected")]
)
async def test_a_cost_below_12_is_refused(options, message) -> None:
    """No setting makes bcrypt cheaper than the requirement, or leaves bcrypt without a thread."""
    with pytest.raises(ValueError, match=message):
        BcryptHasher(NEW, **options)


async def test_bcrypt_runs_in_a_thread(calls) -> None:
    """The event loop is free meanwhile."""
    hasher = BcryptHasher(NEW, cache_seconds=0)
    stored = await hasher.hash(KEY)
    assert await hasher.verify(KEY, stored)
    assert await hasher.verify(KEY, stored)
    assert 2 == len(calls)
    assert threading.main_thread().name not in {name for name, _, _ in calls}


async def test_a_verified_key_needs_no_bcrypt_for_a_while(calls) -> None:
    """The cache ends in time, holds verified pairs only, and a wrong key never profits from it."""
    clock = Clock()
    hasher = BcryptHasher(NEW, cache_seconds=60, clock=clock)
    stored = await hasher.hash(KEY)
    for _ in range(3):
        assert await hasher.verify(KEY, stored)
    assert 1 == len(calls)
    assert not await hasher.verify("another", stored)
    assert not await hasher.verify("another", stored)
    assert 3 == len(calls)
    clock.advance(59.9)
    assert await hasher.verify(KEY, stored)
    assert 3 == len(calls)
    clock.advance(0.1)
    assert await hasher.verify(KEY, stored)
    assert 4 == len(calls)


async def test_another_hash_is_verified_anew(calls) -> None:
    """The cache is about one stored hash: the same key against another one costs bcrypt."""
    hasher = BcryptHasher(NEW)
    one, two = await hasher.hash(KEY), await hasher.hash(KEY)
    assert one != two
    assert await hasher.verify(KEY, one)
    assert await hasher.verify(KEY, two)
    assert 2 == len(calls)


async def test_the_cache_is_bounded(monkeypatch) -> None:
    """Of many keys the cache knows the newest."""
    monkeypatch.setattr("bandmaster.contrib.oidc.api_keys.bcrypt_hasher.MAX_CACHED", 2)
    hasher = BcryptHasher(NEW)
    for pair in [("a", "1"), ("b", "2"), ("c", "3")]:
        hasher._remember(pair)
    assert [("b", "2"), ("c", "3")] == list(hasher._verified)


@pytest.mark.requirement("CA-52")
async def test_revocation_ends_what_the_cache_remembers(calls) -> None:
    """The cache holds no record: a revoked key is refused at the next request, without bcrypt."""
    clock = Clock()
    settings = ApiKeySettings(peppers=NEW)
    keys = ApiKeys(MemoryApiKeyStore(), BcryptHasher(NEW), settings, clock=clock)
    made = await keys.create("acme")
    key = made.key.get_secret_value()
    await keys.verify(key)
    await keys.verify(key)
    await keys.revoke(made.record.id)
    for _ in range(3):
        with pytest.raises(InvalidTokenError, match="was revoked"):
            await keys.verify(key)
    assert 1 == len(calls)


async def test_an_unknown_id_costs_as_much_as_a_known_one(calls) -> None:
    """bcrypt runs with the same cost, so that the time doesn't tell which ids there are."""
    settings = ApiKeySettings(peppers=NEW)
    store = MemoryApiKeyStore()
    keys = ApiKeys(store, BcryptHasher(NEW, rounds=12), settings)
    made = await keys.create("acme")
    store._keys.clear()
    for _ in range(2):
        with pytest.raises(InvalidTokenError, match="there is no API key"):
            await keys.verify(made.key.get_secret_value())
    assert [(44, b"$2b$12$", 60)] * 2 == [(length, hashed[:7], len(hashed)) for _, length, hashed in calls]


async def test_only_so_many_threads_work_and_others_get_an_error_in_time(monkeypatch) -> None:
    """While the threads are busy a further key waits, and then can't be checked: 503, and not a queue without end."""
    free, running = threading.Event(), []

    def checkpw(password, hashed):
        running.append(threading.current_thread().name)
        assert free.wait(60)
        return True

    hasher = BcryptHasher(NEW, threads=2, wait=0.2)
    stored = await hasher.hash(KEY)
    monkeypatch.setattr(bcrypt, "checkpw", checkpw)
    refused = []

    async def verify(key):
        try:
            assert await hasher.verify(key, stored)
        except AuthUnavailableError as error:
            refused.append(str(error))

    async with anyio.create_task_group() as tasks:
        for number in range(5):
            tasks.start_soon(verify, f"key {number}")
        with anyio.fail_after(60):
            while len(refused) < 3:
                await anyio.sleep(0.01)
        assert 2 == len(running)
        free.set()
    assert 3 == len(refused)
    assert "no thread for bcrypt was free within 0.2 s" in refused[0]
    assert 2 == len(running)


async def test_a_cancelled_request_gives_its_thread_back_when_it_is_free(monkeypatch) -> None:
    """A thread can't be interrupted: until bcrypt returns, the place stays taken, also where the client has left."""
    free = threading.Event()
    entered = []

    def checkpw(password, hashed):
        entered.append(1)
        assert free.wait(60)
        return True

    hasher = BcryptHasher(NEW, threads=1, wait=0.1)
    stored = await hasher.hash(KEY)
    monkeypatch.setattr(bcrypt, "checkpw", checkpw)
    async with anyio.create_task_group() as tasks:
        scope = anyio.CancelScope()

        async def leave():
            with scope:
                await hasher.verify(KEY, stored)

        tasks.start_soon(leave)
        with anyio.fail_after(60):
            while not entered:
                await anyio.sleep(0.01)
        scope.cancel()
        with pytest.raises(AuthUnavailableError):
            await hasher.verify("other", stored)
        free.set()
    assert await hasher.verify("third", stored)
    assert 2 == len(entered)


@pytest.mark.requirement("CA-50")
async def test_peppers_rotate_as_with_the_other_hasher() -> None:
    """A hash of an older pepper or of a lower cost verifies, and is to be replaced."""
    old = await BcryptHasher(OLD).hash(KEY)
    now = BcryptHasher({**NEW, **OLD})
    assert await now.verify(KEY, old)
    assert (True, False) == (now.can_verify(old), now.is_current(old))
    assert not BcryptHasher(NEW).can_verify(old)
    assert not await BcryptHasher(NEW).verify(KEY, old)
    new = await now.hash(KEY)
    assert now.is_current(new)
    assert not BcryptHasher(NEW, rounds=13).is_current(new)


async def test_keys_change_over_between_the_hashers() -> None:
    """Hashes of the one verify while the other makes new ones, in both directions."""
    by_hmac, by_bcrypt = HmacSha256Hasher(NEW), BcryptHasher(NEW)
    for first, second in [(by_hmac, by_bcrypt), (by_bcrypt, by_hmac)]:
        both = KeyHashers(first, second)
        stored = await second.hash(KEY)
        assert await both.verify(KEY, stored)
        assert not await both.verify("other", stored)
        assert not both.is_current(stored)
