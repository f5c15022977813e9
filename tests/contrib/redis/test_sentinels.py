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


async def _cause(url, **options):
    settings = RedisSettings(url=url, connect_timeout=1, probe_timeout=1, **options)
    outcome = await attempt(contributions=[redis], overrides={RedisSettings: settings})
    error = outcome.assert_failed(component="redis")
    assert SECRET not in f"{error} {outcome.cause} {outcome.cause.__cause__}"
    return outcome.cause


async def test_the_master_is_found(own_server, start_sentinel) -> None:
    """By whichever sentinel answers; database and health check are the master's."""
    ports = f"127.0.0.1:{free_port()},127.0.0.1:{start_sentinel(own_server.port)}"
    settings = RedisSettings(url=f"redis+sentinel://{ports}/main/2", max_connections=4)
    async with run(contributions=[redis], overrides={RedisSettings: settings}) as running:
        client = running.resources[AsyncRedis]
        await client.set("key", "value")
        assert {"db2"} == set(await client.info("keyspace"))
        assert 200 == (await running.http.get("/readyz")).status
    with pytest.raises(RedisClosedError):
        await client.get("key")


@pytest.mark.requirement("CF-22")
async def test_the_pool_is_bounded_and_waits(own_server, start_sentinel, opened) -> None:
    """As the one of a plain server."""
    url = f"redis+sentinel://127.0.0.1:{start_sentinel(own_server.port)}/main"
    async with opened(url, max_connections=3, pool_timeout=0.2, client_name="crowd") as client:
        assert isinstance(client.connection_pool, SentinelPool)
        await asyncio.gather(*(client.incr("n") for _ in range(100)))
        assert 3 == len([each for each in await client.client_list() if each["name"] == "crowd"])
        held = [await client.connection_pool.get_connection() for _ in range(3)]
        with pytest.raises(RedisPoolTimeoutError):
            await client.ping()
        for connection in held:
            await client.connection_pool.release(connection)
        assert b"100" == await client.get("n")


async def test_nobody_stays_with_a_master_that_was(own_server, start_server, start_sentinel, opened) -> None:
    """A command that is under way when the master changes is tried again at the new one."""
    other, port = start_server(), start_sentinel(own_server.port)
    async with opened(f"redis+sentinel://127.0.0.1:{port}/main", retries=5, max_connections=2) as client:
        await client.set("whose", "first")
        waiting = asyncio.ensure_future(client.blpop(["list"], timeout=3))
        await anyio.sleep(0.05)
        with Redis(port=other.port) as there, Redis(port=port) as asked:
            there.set("whose", "second")
            there.rpush("list", "x")
            asked.sentinel_remove("main")
            asked.sentinel_monitor("main", "127.0.0.1", other.port, 1)
        own_server.stop(kill=True)
        assert (b"list", b"x") == tuple(await asyncio.wait_for(waiting, 3))
        assert b"second" == await client.get("whose")


async def test_a_master_that_no_sentinel_knows(own_server, start_sentinel) -> None:
    """Is transient, and names the master and those who were asked."""
    port, dead = start_sentinel(own_server.port), free_port()
    cause = await _cause(f"redis+sentinel://:{SECRET}@127.0.0.1:{dead},127.0.0.1:{port}/orders/1")
    assert isinstance(cause, RedisUnavailableError)
    assert f"the master 'orders' of the sentinels 127.0.0.1:{dead}, 127.0.0.1:{port}, database 1" in str(cause)


async def test_a_subscription_whose_master_is_lost(own_server, start_sentinel, opened) -> None:
    """Fails with an error of this package as well; it connects without the pool."""
    port = start_sentinel(own_server.port)
    async with opened(f"redis+sentinel://127.0.0.1:{port}/main", retries=1) as client, client.pubsub() as subscription:
        await subscription.subscribe("news")
        with Redis(port=port) as asked:
            asked.sentinel_remove("main")
        own_server.stop(kill=True)
        with anyio.fail_after(3), pytest.raises(RedisUnavailableError, match="No master found"):
            while True:
                await subscription.get_message(timeout=0.1)


async def test_sentinels_that_are_not_there() -> None:
    """Fail the start in a time that is bounded."""
    with anyio.fail_after(5):
        cause = await _cause(f"redis+sentinel://127.0.0.1:{free_port()},127.0.0.1:{free_port()}/main")
    assert isinstance(cause, RedisUnavailableError)


async def test_passwords_of_sentinels_and_master(start_server, start_sentinel, opened) -> None:
    """Are two; the settings have the sentinels', the URL the master's."""
    server = start_server("--requirepass", SECRET)
    port = start_sentinel(server.port, "requirepass watchword", f"sentinel auth-pass main {SECRET}")
    url = f"redis+sentinel://:{SECRET}@127.0.0.1:{port}/main"
    async with opened(url, sentinel_password="watchword") as client:
        assert await client.ping()
    cause = await _cause(url)
    assert isinstance(cause, RedisUnavailableError)
    wrong = f"redis+sentinel://:{SECRET}-not@127.0.0.1:{port}/main"
    cause = await _cause(wrong, sentinel_password="watchword")
    assert isinstance(cause, RedisRefusedError)
    assert "refuses the user or the password of REDIS_URL" in str(cause)
