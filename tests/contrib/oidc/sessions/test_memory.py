"""Sessions in memory, and the locks of one process."""

from __future__ import annotations

import anyio
import pytest
from tests.contrib.oidc.sessions.conftest import make_session

from bandmaster.contrib.oidc import MemorySessionStore
from bandmaster.contrib.oidc.errors import AuthUnavailableError

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    """Memory works on both event loops."""
    return request.param


async def test_the_oldest_session_ends_when_the_store_is_full(clock, logs):
    """A warning says so once, and which setting helps."""
    store = MemorySessionStore(max_sessions=3, clock=clock)
    sessions = [make_session() for _ in range(6)]
    for session in sessions:
        await store.put(session)
    assert 3 == len(store)
    assert [False] * 3 + [True] * 3 == [await store.get(session.id) is not None for session in sessions]
    warnings = [entry for entry in logs if "full" in entry["event"]]
    assert 1 == len(warnings)
    assert "AUTH_SESSION_MAX_SESSIONS" in warnings[0]["hint"]


async def test_expired_sessions_make_room_first(clock, logs):
    """No valid session ends while an expired one could go."""
    store = MemorySessionStore(max_sessions=2, clock=clock)
    valid, short = make_session(), make_session(expires_at=clock.now + 1)
    await store.put(valid)
    await store.put(short)
    clock.now += 2
    await store.put(make_session())
    assert valid == await store.get(valid.id)
    assert [] == logs


async def test_a_refresh_keeps_the_place_in_the_order(clock):
    """The login counts: a store of busy sessions doesn't end new ones first."""
    store = MemorySessionStore(max_sessions=2, clock=clock)
    first, second = make_session(), make_session()
    await store.put(first)
    await store.put(second)
    await store.replace(first.id, first)
    await store.put(make_session())
    assert (None, second) == (await store.get(first.id), await store.get(second.id))


async def test_a_lock_is_waited_for_no_longer_than_the_settings_say():
    """The caller answers 503 then."""
    store = MemorySessionStore(lock_wait=0.01)

    async def wait():
        with pytest.raises(AuthUnavailableError, match=r"wasn't free within 0.01 s"):
            async with store.lock("s"):
                raise AssertionError("both hold the lock")

    async with store.lock("s"), anyio.create_task_group() as group:
        group.start_soon(wait)


async def test_locks_leave_nothing_behind():
    """A lock exists only while somebody holds or awaits the lock, also after a cancelled wait."""
    store = MemorySessionStore()

    async def wait():
        async with store.lock("s"):
            raise AssertionError("both hold the lock")

    async with store.lock("s"):
        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
        assert 1 == len(store._locks)
    assert 0 == len(store._locks)


def test_a_store_without_room_is_refused():
    """The message names the argument."""
    with pytest.raises(ValueError, match="max_sessions"):
        MemorySessionStore(max_sessions=0)
