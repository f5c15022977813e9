"""Idempotency by key, in Redis and in memory alike."""

import asyncio
import math
from uuid import uuid4

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.contrib.taskiq.timing import PATIENCE
from tests.logged import capture_logs

from bandmaster.contrib.redis import RedisSettings, open_client
from bandmaster.contrib.taskiq.errors import BusyError
from bandmaster.contrib.taskiq.idempotency.key_lease import KeyLease
from bandmaster.contrib.taskiq.idempotency.memory import MemoryIdempotency
from bandmaster.contrib.taskiq.idempotency.redis_keys import RedisIdempotency
from bandmaster.kernel import PermanentError, TransientError

pytestmark = pytest.mark.anyio


class Shaky:
    """A client with scripts that raise ``failure``, if set."""

    def __init__(self, client):
        self.client = client
        self.failure = None
        self.asked = 0

    async def eval(self, *arguments):
        self.asked += 1
        if self.failure is not None:
            raise self.failure
        return await self.client.eval(*arguments)


@pytest.fixture
def redis_once(client):
    return RedisIdempotency(client, f"{uuid4().hex}:")


@pytest.fixture(params=["redis", "memory"])
def idempotency(request, redis_once):
    return redis_once if request.param == "redis" else MemoryIdempotency()


async def test_only_the_first_caller_runs_the_action(idempotency) -> None:
    """Later callers for a key get the stored value; other keys are independent."""
    with anyio.fail_after(PATIENCE):
        async with idempotency.once("key") as first:
            assert first
            assert first.first
            assert first.result is None
            first.store({"receipt": [1, "ü:", None]})
            assert {"receipt": [1, "ü:", None]} == first.result
        for _ in range(2):
            async with idempotency.once("key") as second:
                assert not second
                assert {"receipt": [1, "ü:", None]} == second.result
        async with idempotency.once("other") as other:
            assert other
        async with idempotency.once("other") as other:
            assert (False, None) == (other.first, other.result)


async def test_a_block_that_raises_releases_the_key(idempotency) -> None:
    """The error is raised unchanged, and the stored value is dropped."""
    failure = ValueError("by hand")
    with anyio.fail_after(PATIENCE):
        with pytest.raises(ValueError) as caught:
            async with idempotency.once("key") as first:
                first.store(1)
                raise failure
        assert failure is caught.value
        async with idempotency.once("key") as again:
            assert (True, None) == (again.first, again.result)


async def test_a_concurrent_caller_gets_a_busy_error(idempotency) -> None:
    """A concurrent caller gets a transient error, and the first one goes on."""
    with anyio.fail_after(PATIENCE):
        async with idempotency.once("key") as first:
            with pytest.raises(BusyError, match="another caller is running 'key' right now") as caught:
                async with idempotency.once("key"):
                    pytest.fail("was let in")
            first.store("mine")
        async with idempotency.once("key") as second:
            assert "mine" == second.result
    assert isinstance(caught.value, TransientError)


@pytest.mark.parametrize("how", ["scope", "task"])
async def test_a_cancelled_block_releases_the_key(idempotency, how) -> None:
    """A block cancelled by a scope or by asyncio releases the key, and the cancellation goes on."""
    entered = anyio.Event()

    async def work():
        async with idempotency.once("key"):
            entered.set()
            await anyio.sleep_forever()

    with anyio.fail_after(PATIENCE):
        if how == "scope":
            async with anyio.create_task_group() as group:
                group.start_soon(work)
                await entered.wait()
                group.cancel_scope.cancel()
        else:
            task = asyncio.create_task(work())
            await entered.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert task.cancelled()
        async with idempotency.once("key") as again:
            assert again


async def test_one_of_many_callers_runs_the_action(idempotency) -> None:
    """Of thirty concurrent callers one runs the action, and the others get a busy error."""
    firsts, busy = [], []

    async def come(number):
        try:
            async with idempotency.once("key") as first:
                if first:
                    firsts.append(number)
                    await anyio.sleep(0.05)
        except BusyError:
            busy.append(number)

    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as group:
            for number in range(30):
                group.start_soon(come, number)
    assert 1 == len(firsts)
    assert 29 == len(busy)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.text(min_size=1), JSON)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_key_and_value(redis_url, key, value) -> None:
    """Any key and any value of JSON work the same in Redis and in memory."""
    async with open_client(RedisSettings(url=redis_url), "idempotency") as client:
        for idempotency in (RedisIdempotency(client, f"{uuid4().hex}:"), MemoryIdempotency()):
            async with idempotency.once(key) as first:
                first.store(value)
            async with idempotency.once(key) as second:
                assert (False, value) == (second.first, second.result)


@pytest.mark.parametrize("value", [object(), math.nan, {1, 2}, b"x"], ids=lambda value: type(value).__name__)
async def test_a_value_that_json_cannot_express(idempotency, value) -> None:
    """Such a value is refused, and the key is released."""
    with pytest.raises(PermanentError, match=f"JSON can't express this {type(value).__name__}"):
        async with idempotency.once("key") as first:
            first.store(value)
    async with idempotency.once("key") as again:
        assert again


async def test_later_callers_cannot_store(idempotency) -> None:
    """A later caller that stores a value gets an error."""
    async with idempotency.once("key"):
        pass
    async with idempotency.once("key") as second:
        with pytest.raises(PermanentError, match="only the first caller for a key can store a result"):
            second.store(1)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("",), "key"),
        (("k", 0), "lease"),
        (("k", math.nan), "lease"),
        (("k", 1, -1), "keep"),
        (("k", 1, math.inf), "keep"),
    ],
    ids=str,
)
async def test_invalid_arguments(idempotency, arguments, said) -> None:
    """An empty key and durations out of range are refused by name."""
    key, *seconds = arguments
    with pytest.raises(ValueError, match=f"^{said}: expected"):
        async with idempotency.once(key, **dict(zip(("lease", "keep"), seconds, strict=False))):
            pytest.fail("was let in")


async def test_keys_in_memory_expire() -> None:
    """An expired key takes no memory any more."""
    now = [0.0]
    idempotency = MemoryIdempotency(clock=lambda: now[0])
    for key, keep in (("long", 20), ("short", 10)):
        async with idempotency.once(key, keep=keep):
            pass
    now[0] = 9.9
    async with idempotency.once("short") as second:
        assert not second
    now[0] = 10
    async with idempotency.once("short", keep=5) as again:
        assert again
    async with idempotency.once("long") as second:
        assert not second
    now[0] = 30
    async with idempotency.once("another"):
        assert {} == idempotency._done


async def test_keys_in_redis_expire(client) -> None:
    """A key in Redis expires with the lease while the action runs, and after ``keep`` seconds later."""
    prefix = f"{uuid4().hex}:"
    async with RedisIdempotency(client, prefix).once("k", lease=7, keep=50):
        assert 6000 < await client.pttl(f"{prefix}once:k") <= 7000
    assert 49_000 < await client.pttl(f"{prefix}once:k") <= 50_000


async def test_the_key_of_a_dead_process_is_free_after_its_lease(client) -> None:
    """The key of a dead process is held until the lease expires."""
    prefix = f"{uuid4().hex}:"
    idempotency = RedisIdempotency(client, prefix)
    assert await KeyLease(client, f"{prefix}once:k", "k", "dead", 1).acquire() is None
    with pytest.raises(BusyError):
        async with idempotency.once("k"):
            pytest.fail("was let in")
    await anyio.sleep(1.1)
    async with idempotency.once("k") as first:
        assert first


async def test_the_lease_is_renewed(redis_once) -> None:
    """The lease is renewed while the block runs."""
    with anyio.fail_after(PATIENCE):
        async with redis_once.once("k", lease=1.5):
            for _ in range(4):
                await anyio.sleep(0.5)
                with pytest.raises(BusyError):
                    async with redis_once.once("k"):
                        pytest.fail("was let in")
        async with redis_once.once("k") as second:
            assert not second


async def test_a_failed_renewal_is_retried(client) -> None:
    """A lease survives a Redis that is away for less than the lease."""
    shaky = Shaky(client)
    idempotency = RedisIdempotency(shaky, f"{uuid4().hex}:")
    with anyio.fail_after(PATIENCE), capture_logs() as logs:
        async with idempotency.once("k", lease=1.5):
            shaky.failure = TransientError("away")
            while not logs:
                await anyio.sleep(0.01)
            shaky.failure = None
            await anyio.sleep(1.2)  # past the end of the lease as it was acquired
            with pytest.raises(BusyError):
                async with idempotency.once("k"):
                    pytest.fail("was let in")
    assert ["lease can't be renewed"] == [log["event"] for log in logs]


async def test_a_lease_that_is_lost(client) -> None:
    """A block that lost the lease leaves the other holder's mark alone, and logs the loss once."""
    prefix = f"{uuid4().hex}:"
    idempotency, at = RedisIdempotency(client, prefix), f"{prefix}once:k"
    with anyio.fail_after(PATIENCE), capture_logs() as logs:
        async with idempotency.once("k", lease=0.3) as first:
            await client.delete(at)
            async with idempotency.once("k", lease=30) as other:
                assert other
                theirs = await client.get(at)
                await anyio.sleep(0.2)
                assert theirs == await client.get(at)
                other.store("theirs")
            first.store("mine")
    assert ["lease lost: another process may do the same action"] == [log["event"] for log in logs]
    assert [("warning", "k")] == [(log["log_level"], log["key"]) for log in logs]
    async with idempotency.once("k") as later:
        assert "theirs" == later.result


async def test_a_failure_after_a_lost_lease(client) -> None:
    """A block that raises after losing the lease doesn't release the other holder's key."""
    prefix = f"{uuid4().hex}:"
    idempotency, at = RedisIdempotency(client, prefix), f"{prefix}once:k"
    with pytest.raises(ValueError):
        async with idempotency.once("k"):
            await client.set(at, "busy:other")
            raise ValueError
    assert b"busy:other" == await client.get(at)


async def test_an_expired_lease_without_another_holder(client) -> None:
    """If no other caller came meanwhile, the action is marked as done."""
    prefix = f"{uuid4().hex}:"
    idempotency = RedisIdempotency(client, prefix)
    async with idempotency.once("k"):
        await client.delete(f"{prefix}once:k")
    async with idempotency.once("k") as second:
        assert not second


async def test_commands_that_are_sent_twice(client) -> None:
    """A command that a client sends again after a lost answer succeeds."""
    at = uuid4().hex
    lease = KeyLease(client, at, "k", "token", 5)
    assert [None, None] == [await lease.acquire(), await lease.acquire()]
    with capture_logs() as logs:
        await lease.mark_done("1", 5)
        await lease.mark_done("1", 5)
    assert [] == logs
    assert (1,) == await lease.acquire()


async def test_nothing_is_done_without_redis(client) -> None:
    """Without Redis the block isn't entered."""
    shaky = Shaky(client)
    shaky.failure = TransientError("away")
    with pytest.raises(TransientError, match="away"):
        async with RedisIdempotency(shaky, "x:").once("k"):
            pytest.fail("was let in")


async def test_a_mark_that_cannot_be_written(client) -> None:
    """The mark is retried for a while and then logged, not raised: a retry would do the action twice."""
    shaky = Shaky(client)
    with anyio.fail_after(PATIENCE), capture_logs() as logs:
        async with RedisIdempotency(shaky, f"{uuid4().hex}:").once("k", lease=0.5):
            shaky.failure = TransientError("away")
        assert shaky.asked > 2
    assert [("error", "action done, but its mark can't be written: it may be done again")] == [
        (log["log_level"], log["event"]) for log in logs
    ]


async def test_a_mark_is_written_when_redis_comes_back(client) -> None:
    """A mark that fails at first is written when Redis is back."""
    shaky, idempotency = Shaky(client), RedisIdempotency(client, f"{uuid4().hex}:")

    async def come_back():
        await anyio.sleep(0.1)
        shaky.failure = None

    with anyio.fail_after(PATIENCE), capture_logs() as logs:
        async with anyio.create_task_group() as group:
            own = RedisIdempotency(shaky, idempotency._prefix.removesuffix("once:"))
            async with own.once("k"):
                shaky.failure = TransientError("away")
                group.start_soon(come_back)
    assert [] == logs
    async with idempotency.once("k") as second:
        assert not second


async def test_a_key_that_cannot_be_released(client) -> None:
    """The failure is logged, and the block's own error is raised."""
    shaky = Shaky(client)
    with capture_logs() as logs, pytest.raises(ValueError):
        async with RedisIdempotency(shaky, f"{uuid4().hex}:").once("k"):
            shaky.failure = TransientError("away")
            raise ValueError
    assert ["key can't be released until its lease expires"] == [log["event"] for log in logs]


@pytest.mark.parametrize("text", [b"done:t:{", b"done:t:", b"done:"], ids=str)
async def test_a_mark_that_cannot_be_read(client, text) -> None:
    """The error names the key, and the action doesn't run again."""
    prefix = f"{uuid4().hex}:"
    await client.set(f"{prefix}once:k", text)
    with pytest.raises(PermanentError, match=r"the idempotency key 'k' holds no JSON at"):
        async with RedisIdempotency(client, prefix).once("k"):
            pytest.fail("was let in")


async def test_a_busy_error_knows_when_to_retry(redis_url) -> None:
    """A busy error's ``retry_after`` is when the holder's lease ends."""
    async with open_client(RedisSettings(url=redis_url), "once") as client:
        first, second = RedisIdempotency(client, "when:"), RedisIdempotency(client, "when:")
        async with first.once("key", lease=20):
            with pytest.raises(BusyError) as caught:
                async with second.once("key"):
                    raise AssertionError
    assert 15 < caught.value.retry_after <= 20
