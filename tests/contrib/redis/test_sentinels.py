"""A master that sentinels name."""

import asyncio
from contextlib import ExitStack

import anyio
import pytest
from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from tests.contrib.redis.sentinels import sentinel

from bandmaster.contrib.redis import (
    RedisClosedError,
    RedisPoolTimeoutError,
    RedisRefusedError,
    RedisSettings,
    RedisUnavailableError,
    redis,
)
from bandmaster.contrib.redis.pool import SentinelPool
from bandmaster.kernel.testing import attempt, free_port, run

SECRET = "hunter2"
pytestmark = pytest.mark.anyio


@pytest.fixture
def start_sentinel(tmp_path):
    with ExitStack() as stack:
        yield lambda *about: stack.enter_context(sentinel(tmp_path / f"sentinel-{free_port()}", *about))


async def start_failure(url, **options):
    settings = RedisSettings(url=url, connect_timeout=1, probe_timeout=1, **options)
    outcome = await attempt(contributions=[redis], overrides={RedisSettings: settings})
    error = outcome.assert_failed(component="redis")
    assert SECRET not in f"{error} {outcome.cause} {outcome.cause.__cause__}"
    return outcome.cause


async def test_the_master_is_found(own_server, start_sentinel) -> None:
    """The first sentinel that answers names the master, for client and health check."""
    ports = f"127.0.0.1:{free_port()},127.0.0.1:{start_sentinel(own_server.port)}"
    settings = RedisSettings(url=f"redis+sentinel://{ports}/main/2", max_connections=4)
    async with run(contributions=[redis], overrides={RedisSettings: settings}) as running:
        client = running.resources[AsyncRedis]
        await client.set("key", "value")
        assert {"db2"} == set(await client.info("keyspace"))
        assert 200 == (await running.client.get("/readyz")).status_code
    with pytest.raises(RedisClosedError):
        await client.get("key")


@pytest.mark.requirement("CF-22")
async def test_the_pool_is_bounded_and_waits(own_server, start_sentinel, open_redis) -> None:
    """The pool is bounded like that of a plain server."""
    url = f"redis+sentinel://127.0.0.1:{start_sentinel(own_server.port)}/main"
    async with open_redis(url, max_connections=3, pool_timeout=30, client_name="crowd") as client:
        assert isinstance(client.connection_pool, SentinelPool)
        await asyncio.gather(*(client.incr("n") for _ in range(100)))
        assert 3 == len([each for each in await client.client_list() if each["name"] == "crowd"])
        held = [await client.connection_pool.get_connection() for _ in range(3)]
        client.connection_pool.timeout = 0.1  # only now: the crowd above waits as long as a busy machine needs
        with pytest.raises(RedisPoolTimeoutError):
            await client.ping()
        client.connection_pool.timeout = 30
        for connection in held:
            await client.connection_pool.release(connection)
        assert b"100" == await client.get("n")


async def test_a_command_follows_the_master(own_server, start_server, start_sentinel, open_redis) -> None:
    """A command during a failover is retried at the new master."""
    other, port = start_server(), start_sentinel(own_server.port)
    async with open_redis(f"redis+sentinel://127.0.0.1:{port}/main", retries=5, max_connections=2) as client:
        await client.set("master", "first")
        waiting = asyncio.ensure_future(client.blpop(["list"], timeout=3))
        await anyio.sleep(0.05)
        with Redis(port=other.port) as there, Redis(port=port) as asked:
            there.set("master", "second")
            there.rpush("list", "x")
            asked.sentinel_remove("main")
            asked.sentinel_monitor("main", "127.0.0.1", other.port, 1)
        own_server.stop(kill=True)
        assert (b"list", b"x") == tuple(await asyncio.wait_for(waiting, 3))
        assert b"second" == await client.get("master")


async def test_a_master_that_no_sentinel_knows(own_server, start_sentinel) -> None:
    """The error is transient, and names the master and the sentinels."""
    port, dead = start_sentinel(own_server.port), free_port()
    cause = await start_failure(f"redis+sentinel://:{SECRET}@127.0.0.1:{dead},127.0.0.1:{port}/orders/1")
    assert isinstance(cause, RedisUnavailableError)
    assert f"the master 'orders' of the sentinels 127.0.0.1:{dead}, 127.0.0.1:{port}, database 1" in str(cause)


async def test_a_subscription_whose_master_is_lost(own_server, start_sentinel, open_redis) -> None:
    """A subscription, which connects without the pool, fails with an error of this package."""
    port = start_sentinel(own_server.port)
    async with (
        open_redis(f"redis+sentinel://127.0.0.1:{port}/main", retries=1) as client,
        client.pubsub() as subscription,
    ):
        await subscription.subscribe("news")
        with Redis(port=port) as asked:
            asked.sentinel_remove("main")
        own_server.stop(kill=True)
        with anyio.fail_after(3), pytest.raises(RedisUnavailableError, match="No master found"):
            while True:
                await subscription.get_message(timeout=0.1)


async def test_sentinels_that_are_not_there() -> None:
    """Absent sentinels fail the start in bounded time."""
    with anyio.fail_after(5):
        cause = await start_failure(f"redis+sentinel://127.0.0.1:{free_port()},127.0.0.1:{free_port()}/main")
    assert isinstance(cause, RedisUnavailableError)


async def test_passwords_of_sentinels_and_master(start_server, start_sentinel, open_redis) -> None:
    """The settings have the sentinels' password, the URL has the master's."""
    server = start_server("--requirepass", SECRET)
    port = start_sentinel(server.port, "requirepass watchword", f"sentinel auth-pass main {SECRET}")
    url = f"redis+sentinel://:{SECRET}@127.0.0.1:{port}/main"
    async with open_redis(url, sentinel_password="watchword") as client:
        assert await client.ping()
    cause = await start_failure(url)
    assert isinstance(cause, RedisUnavailableError)
    wrong = f"redis+sentinel://:{SECRET}-not@127.0.0.1:{port}/main"
    cause = await start_failure(wrong, sentinel_password="watchword")
    assert isinstance(cause, RedisRefusedError)
    assert "refuses the user or the password of REDIS_URL" in str(cause)
