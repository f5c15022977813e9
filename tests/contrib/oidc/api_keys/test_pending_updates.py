"""Updates that no request waits for."""

from dataclasses import replace

import anyio
import pytest
from tests.contrib.oidc.clock import Clock
from tests.logged import capture_logs

from bandmaster.contrib.oidc import ApiKey, MemoryApiKeyStore
from bandmaster.contrib.oidc.api_keys.pending_updates import PendingUpdates
from bandmaster.contrib.oidc.errors import AuthUnavailableError

pytestmark = pytest.mark.anyio
NOW = 1_800_000_000.0
KEY = ApiKey(id="0123456789abc", owner="acme", hash="hmac-sha256$2025$1", created_at=NOW)


class RecordingStore(MemoryApiKeyStore):
    """A store that lists all writes, and fails or hangs while the test says so."""

    def __init__(self):
        super().__init__()
        self.writes = []
        self.failure = None
        self.hang = False

    async def record_uses(self, uses, *, interval):
        await self._meet_the_failure()
        self.writes.append(dict(uses))
        await super().record_uses(uses, interval=interval)

    async def replace_hash(self, key_id, old, new):
        await self._meet_the_failure()
        self.writes.append((key_id, old, new))
        return await super().replace_hash(key_id, old, new)

    async def _meet_the_failure(self):
        if self.hang:
            await anyio.sleep_forever()
        if self.failure is not None:
            raise self.failure


class Sleeps:
    """Sleeps that end when the test says so."""

    def __init__(self):
        self.asked = []
        self.sender, self.receiver = anyio.create_memory_object_stream(100)

    async def __call__(self, seconds):
        self.asked.append(seconds)
        await self.receiver.receive()

    async def end_one(self):
        with anyio.fail_after(30):
            await self.sender.send(None)
            await anyio.wait_all_tasks_blocked()

    def close(self):
        self.sender.close()
        self.receiver.close()


def make(new):
    """A function that makes a new hash."""

    async def make_hash():
        return new

    return make_hash


@pytest.fixture
async def store():
    store = RecordingStore()
    await store.add(KEY)
    return store


@pytest.fixture
def updates(store):
    return PendingUpdates(store, interval=60)


@pytest.mark.requirement("CA-51")
async def test_many_uses_are_one_write(updates, store) -> None:
    """Between two writes the newest use counts, and a key without a use isn't written."""
    for second in range(50):
        updates.add_use(KEY, NOW + second)
    assert [] == store.writes
    assert await updates.write()
    assert [{KEY.id: NOW + 49}] == store.writes
    assert await updates.write()
    assert 1 == len(store.writes)
    assert NOW + 49 == (await store.get(KEY.id)).last_used_at


@pytest.mark.requirement("CA-51")
@pytest.mark.parametrize(("later", "written"), [(0, 0), (59.999, 0), (60, 1)])
async def test_a_recent_use_is_not_noted_again(updates, store, later, written) -> None:
    """The record that the request has read says when the use was last written, by whichever process."""
    updates.add_use(replace(KEY, last_used_at=NOW), NOW + later)
    await updates.write()
    assert written == len(store.writes)


@pytest.mark.requirement("CA-51")
async def test_a_use_that_another_process_has_written_meanwhile_is_enough(updates, store) -> None:
    """The record that the request has read may be older than the store: the store is told the interval."""
    await store.record_uses({KEY.id: NOW + 30}, interval=60)
    updates.add_use(KEY, NOW + 31)
    assert await updates.write()
    assert NOW + 30 == (await store.get(KEY.id)).last_used_at


@pytest.mark.requirement("CA-51")
async def test_a_failed_write_is_kept_and_tried_again(updates, store) -> None:
    """An outage loses no use, is logged once, and raises nothing."""
    store.failure = AuthUnavailableError("the database is away")
    with capture_logs() as logs:
        updates.add_use(KEY, NOW)
        updates.add_renewal(KEY, make("hmac-sha256$2026$2"))
        for _ in range(3):
            assert not await updates.write()
        assert 2 == len(updates)
        updates.add_use(KEY, NOW + 7)
        store.failure = None
        assert await updates.write()
    found = await store.get(KEY.id)
    assert (NOW + 7, "hmac-sha256$2026$2") == (found.last_used_at, found.hash)
    assert [("warning", "AuthUnavailableError: the database is away")] == [
        (log["log_level"], log["error"]) for log in logs
    ]
    store.failure = OSError("again")
    with capture_logs() as logs:
        updates.add_use(KEY, NOW + 100)
        await updates.write()
    assert 1 == len(logs), "the next outage is logged as well"


async def test_a_newer_use_is_not_replaced_by_an_older_one(store) -> None:
    """A use that comes in while a write fails is newer than those that the write puts back."""
    updates = PendingUpdates(store, interval=60)

    async def fail(uses, *, interval):
        updates.add_use(KEY, NOW + 5)
        raise AuthUnavailableError("away")

    store.record_uses = fail
    updates.add_use(KEY, NOW)
    await updates.write()
    del store.record_uses
    await updates.write()
    assert [{KEY.id: NOW + 5}] == store.writes


async def test_a_cancelled_write_loses_nothing(updates, store) -> None:
    """The service is cancelled at the stop, perhaps in the middle of a write: the last write has the rest."""
    store.hang = True
    updates.add_use(KEY, NOW)
    updates.add_renewal(KEY, make("hmac-sha256$2026$2"))
    with anyio.CancelScope() as scope:

        async def compute_and_cancel():
            scope.cancel()
            return "hmac-sha256$2026$2"

        updates.add_renewal(replace(KEY, id="abcdefghijklm"), compute_and_cancel)
        await updates.write()
    assert 3 == len(updates)
    store.hang = False
    await updates.write_last()
    new = "hmac-sha256$2026$2"
    assert [(KEY.id, KEY.hash, new), ("abcdefghijklm", KEY.hash, new), {KEY.id: NOW}] == store.writes


async def test_the_last_write_ends_although_the_store_hangs(updates, store, monkeypatch) -> None:
    """The stop isn't held up for long by a database that doesn't answer, and the loss is logged."""
    monkeypatch.setattr("bandmaster.contrib.oidc.api_keys.pending_updates._LAST_WRITE", 0.01)
    store.hang = True
    updates.add_use(KEY, NOW)
    with capture_logs() as logs, anyio.fail_after(30):
        await updates.write_last()
    assert [("the last uses of API keys weren't written before the stop", 1)] == [
        (log["event"], log["keys"]) for log in logs
    ]


async def test_the_last_write_says_nothing_where_there_is_nothing(updates, store) -> None:
    """Without updates the store isn't asked."""
    store.failure = AuthUnavailableError("away")
    with capture_logs() as logs:
        await updates.write_last()
    assert [] == logs


@pytest.mark.requirement("CA-51")
async def test_the_service_collects_and_writes(store) -> None:
    """The service sleeps without updates, collects for a second, and pauses longer after each failure."""
    sleep, clock = Sleeps(), Clock()
    updates = PendingUpdates(store, interval=60, sleep=sleep)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(updates.run)
        await anyio.wait_all_tasks_blocked()
        assert [] == sleep.asked
        updates.add_use(KEY, clock.now)
        await anyio.wait_all_tasks_blocked()
        updates.add_use(KEY, clock.now + 1)
        assert ([1], []) == (sleep.asked, store.writes)
        await sleep.end_one()
        assert ([1], [{KEY.id: clock.now + 1}]) == (sleep.asked, store.writes)

        store.failure = AuthUnavailableError("away")
        updates.add_use(replace(KEY, last_used_at=clock.now + 1), clock.now + 70)
        await anyio.wait_all_tasks_blocked()
        for _ in range(12):
            await sleep.end_one()
        assert [1, 1, 5, 1, 10, 1, 20, 1, 40, 1, 60, 1, 60, 1] == sleep.asked
        store.failure = None
        await sleep.end_one()
        assert {KEY.id: clock.now + 70} == store.writes[-1]
        assert 0 == len(updates)

        store.failure = AuthUnavailableError("away")
        updates.add_use(replace(KEY, last_used_at=clock.now), clock.now + 200)
        await anyio.wait_all_tasks_blocked()
        await sleep.end_one()
        assert [1, 5] == sleep.asked[-2:], "after a success the pauses are short again"
        tasks.cancel_scope.cancel()
    sleep.close()


async def test_a_replaced_hash_alone_wakes_the_service(store) -> None:
    """A key whose use was noted already still gets the new hash."""
    sleep = Sleeps()
    updates = PendingUpdates(store, interval=60, sleep=sleep)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(updates.run)
        await anyio.wait_all_tasks_blocked()
        updates.add_renewal(KEY, make("hmac-sha256$2026$2"))
        await anyio.wait_all_tasks_blocked()
        await sleep.end_one()
        assert [(KEY.id, KEY.hash, "hmac-sha256$2026$2")] == store.writes
        tasks.cancel_scope.cancel()
    sleep.close()


async def test_what_was_written_before_a_failure_is_not_written_again(store, updates) -> None:
    """Of two hashes the second one fails: only that one is tried again."""
    second = replace(KEY, id="abcdefghijklm")
    updates.add_renewal(KEY, make("hmac-sha256$2026$2"))
    updates.add_renewal(second, make("hmac-sha256$2026$3"))
    write = store.replace_hash

    async def fail_for_the_second(key_id, old, new):
        if key_id == second.id:
            raise AuthUnavailableError("away")
        return await write(key_id, old, new)

    store.replace_hash = fail_for_the_second
    assert not await updates.write()
    store.replace_hash = write
    assert await updates.write()
    assert [KEY.id, second.id] == [key_id for key_id, _, _ in store.writes]


@pytest.mark.requirement("CA-50")
async def test_hashes_are_computed_by_the_service_a_few_at_a_time(store, updates) -> None:
    """Uses don't wait for the hashes of all keys, which bcrypt needs long for."""
    computed = []
    for number in range(10):
        key = replace(KEY, id=f"{number:013}")
        await store.add(key)

        async def compute(number=number):
            computed.append(number)
            return f"hmac-sha256$2026${number}"

        updates.add_renewal(key, compute)
        updates.add_renewal(key, compute)
    updates.add_use(KEY, NOW)
    assert (11, []) == (len(updates), computed)
    assert await updates.write()
    assert ([0, 1, 2, 3], {KEY.id: NOW}) == (computed, store.writes[-1])
    assert await updates.write()
    assert await updates.write()
    assert (list(range(10)), 0) == (computed, len(updates))
    assert "hmac-sha256$2026$9" == (await store.get(f"{9:013}")).hash


async def test_the_number_of_keys_in_memory_is_bounded(updates, monkeypatch) -> None:
    """Others change over at a later use."""
    monkeypatch.setattr("bandmaster.contrib.oidc.api_keys.pending_updates._MOST_RENEWALS", 2)
    for number in range(5):
        updates.add_renewal(replace(KEY, id=f"{number:013}"), make("x"))
    assert 2 == len(updates)


@pytest.mark.parametrize("failure", [AuthUnavailableError("no thread was free"), RuntimeError("broken")])
async def test_a_hash_that_cant_be_computed(store, updates, failure) -> None:
    """Nothing else waits for it, and the next use of the key asks again."""

    async def fail():
        raise failure

    updates.add_renewal(KEY, fail)
    updates.add_use(KEY, NOW)
    with capture_logs() as logs:
        assert await updates.write()
    assert ([{KEY.id: NOW}], 0) == (store.writes, len(updates))
    assert isinstance(failure, RuntimeError) is bool(logs)
    updates.add_renewal(KEY, make("hmac-sha256$2026$2"))
    assert await updates.write()
    assert (KEY.id, KEY.hash, "hmac-sha256$2026$2") == store.writes[-1]


async def test_the_last_write_computes_nothing(store, updates) -> None:
    """The stop doesn't wait for bcrypt."""

    async def compute():
        raise NotImplementedError

    updates.add_renewal(KEY, compute)
    updates.add_use(KEY, NOW)
    with capture_logs() as logs:
        await updates.write_last()
    assert ([{KEY.id: NOW}], []) == (store.writes, logs)
