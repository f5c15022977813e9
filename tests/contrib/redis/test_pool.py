"""The bounded pool."""

import asyncio
import random
import time

import anyio
import pytest
from redis import exceptions as known

from bandmaster.contrib.redis import RedisClosedError, RedisPoolTimeoutError, RedisUnavailableError

pytestmark = pytest.mark.anyio


async def list_named(client, name):
    return [each for each in await client.client_list() if each["name"] == name]


@pytest.mark.requirement("CF-22", "F-06", "PE-6", "CF-38", "F-10", "CF-39", "F-12")
async def test_concurrent_first_use_makes_one_bounded_pool(redis_url, open_redis) -> None:
    """Two hundred concurrent first commands open as many connections as the settings allow."""
    async with open_redis(redis_url, max_connections=5, client_name="first-use") as client:

        async def use(number):
            await client.set(f"key-{number}", number)

        async with anyio.create_task_group() as group:
            for number in range(200):
                group.start_soon(use, number)
        assert 200 == await client.dbsize()
        assert 5 == len(await list_named(client, "first-use"))


@pytest.mark.requirement("CF-22")
async def test_a_full_pool_times_out(redis_url, open_redis) -> None:
    """A task waits for pool_timeout, and gets a transient error."""
    async with open_redis(redis_url, max_connections=1, pool_timeout=0.1) as client:
        held = await client.connection_pool.get_connection()
        began = time.monotonic()
        with pytest.raises(RedisPoolTimeoutError, match=r"all 1 connections.*within 0.1 s.*max_connections") as caught:
            await client.ping()
        assert 0.09 < time.monotonic() - began < 2
        assert isinstance(caught.value, RedisUnavailableError)
        assert isinstance(caught.value, known.ConnectionError)
        await client.connection_pool.release(held)
        assert await client.ping()


async def test_waiting_tasks_are_served_in_order(redis_url, open_redis) -> None:
    """Waiting tasks get connections in the order of their requests."""
    got = []
    async with open_redis(redis_url, max_connections=1) as client:
        held = await client.connection_pool.get_connection()

        async def use(number):
            await client.ping()
            got.append(number)

        async with anyio.create_task_group() as group:
            for number in range(5):
                group.start_soon(use, number)
                await anyio.wait_all_tasks_blocked()
            assert [] == got
            await client.connection_pool.release(held)
    assert list(range(5)) == got


async def test_no_wake_up_is_lost(redis_url, open_redis) -> None:
    """A waiting task that is cancelled while it is woken passes its turn on."""
    async with open_redis(redis_url, max_connections=1, pool_timeout=5) as client:
        pool = client.connection_pool
        held = await pool.get_connection()
        first, second = (asyncio.ensure_future(pool.get_connection()) for _ in range(2))
        await anyio.wait_all_tasks_blocked()
        await pool.release(held)
        first.cancel()
        connection = await asyncio.wait_for(second, 1)
        await pool.release(connection)
        assert first.cancelled()


async def test_a_cancelled_command_leaves_no_answer_behind(redis_url, open_redis) -> None:
    """The next user of the connection gets its own answers."""
    async with open_redis(redis_url, max_connections=1) as client:
        for number in range(50):
            await client.set(f"key-{number}", number)
        for _ in range(3):
            with anyio.move_on_after(0.02) as scope:
                await client.blpop(["nothing"], timeout=4)
            assert scope.cancelled_caught
            task = asyncio.ensure_future(client.blpop(["nothing"], timeout=4))
            await anyio.sleep(0.02)
            task.cancel()
            await asyncio.wait([task])
            await client.rpush("nothing", "late")
            await client.delete("nothing")
            assert [str(number).encode() for number in range(50)] == [await client.get(f"key-{n}") for n in range(50)]


async def test_cancellation_costs_no_connection(redis_url, open_redis) -> None:
    """Thirty tasks that are cancelled at random leave a full pool and no unread answers."""
    wrong = []
    async with open_redis(redis_url, max_connections=3, client_name="storm") as client:

        async def use(number):
            chance = random.Random(number)
            for _ in range(40):
                with anyio.move_on_after(chance.random() * 0.004):
                    await client.set(f"key-{number}", number)
                    answer = await client.get(f"key-{number}")
                    if answer != str(number).encode():
                        wrong.append(answer)

        async with anyio.create_task_group() as group:
            for number in range(30):
                group.start_soon(use, number)
        assert [] == wrong
        with anyio.fail_after(2):
            held = [await client.connection_pool.get_connection() for _ in range(3)]
        for connection in held:
            await client.connection_pool.release(connection)
        # The server may still look at connections that were thrown away.
        with anyio.fail_after(2):
            while len(await list_named(client, "storm")) > 3:
                await anyio.sleep(0.01)


async def test_a_release_is_completed_under_cancellation(redis_url, open_redis) -> None:
    """A release in a cancelled task is completed."""
    async with open_redis(redis_url, max_connections=1, pool_timeout=0.5) as client:
        pool = client.connection_pool
        connection = await pool.get_connection()

        async def occupy(*, task_status):
            async with pool._get_pool_lock():
                task_status.started()
                await anyio.sleep(0.02)

        async with anyio.create_task_group() as group:
            await group.start(occupy)
            with anyio.CancelScope() as scope:
                scope.cancel()
                await pool.release(connection)
        assert await client.ping()


async def test_waiting_tasks_fail_when_the_client_closes(redis_url, open_redis) -> None:
    """Waiting tasks fail at once when the client is closed."""
    async with open_redis(redis_url, max_connections=1, pool_timeout=30) as client:
        pool = client.connection_pool
        held = await pool.get_connection()
        waiting = [asyncio.ensure_future(client.ping()) for _ in range(3)]
        await anyio.wait_all_tasks_blocked()
    for task in waiting:
        with pytest.raises(RedisClosedError):
            await asyncio.wait_for(task, 10)
    await pool.release(held)


async def test_a_connection_that_fails_leaves_its_place(own_server, open_redis) -> None:
    """Failed connections don't use up the pool."""
    async with open_redis(own_server.url(), max_connections=2, pool_timeout=0.2, retries=0) as client:
        own_server.stop()
        for _ in range(5):
            with pytest.raises(RedisUnavailableError) as caught:
                await client.ping()
            assert not isinstance(caught.value, RedisPoolTimeoutError)
        own_server.start()
        assert await client.ping()


async def test_a_block_around_the_client_leaves_the_pool_open(redis_url, open_redis) -> None:
    """``async with client`` doesn't close the application's pool."""
    async with open_redis(redis_url) as client:
        async with client:
            await client.ping()
        await client.aclose()
        assert await client.ping()


async def test_the_text_of_a_pool_names_its_address(open_redis) -> None:
    """The text of a pool names the address, and no password."""
    async with open_redis("redis://:hunter2@127.0.0.1:1/3") as client:
        assert "<BoundedPool of the Redis client 'redis' (127.0.0.1:1, database 3)>" in repr(client)
        assert "hunter2" not in repr(client)
