"""The Redis client as a component."""

import asyncio
import gc
import os
import threading
from contextlib import nullcontext
from typing import Annotated

import anyio
import pytest
from pydantic_settings import SettingsConfigDict
from redis.asyncio import Redis
from tests.logged import capture_logs

from bandmaster.contrib.redis import (
    RedisClosedError,
    RedisRefusedError,
    RedisSettings,
    RedisUnavailableError,
    open_client,
    redis,
    redis_component,
)
from bandmaster.contrib.redis.pool import BoundedPool
from bandmaster.kernel import Kernel, KernelSettings, LifespanBand, Named, StopError, lifespan
from bandmaster.kernel.testing import attempt, check_contribution, free_port, run

pytestmark = pytest.mark.anyio


def kernel_options(url, **options):
    return {"contributions": [redis], "overrides": {RedisSettings: RedisSettings(url=url, **options)}}


@pytest.mark.requirement("CF-22", "F-06")
async def test_it_provides_a_client(redis_url) -> None:
    """The client works while the application runs, and is closed at the application's stop."""
    async with run(**kernel_options(redis_url)) as running:
        client = running.resources[Redis]
        await client.set("key", "value")
        assert b"value" == await client.get("key")
        assert isinstance(client.connection_pool, BoundedPool)
    with pytest.raises(RedisClosedError, match="the Redis client 'redis'"):
        await client.get("key")


@pytest.mark.requirement("CF-09", "PE-11", "S-L2", "CF-39", "F-12")
@pytest.mark.parametrize("failing", [False, True])
async def test_every_connection_is_closed_at_the_stop(redis_url, open_redis, failing) -> None:
    """The server has no connection left of client and health check, also when another stop fails."""

    @lifespan(band=LifespanBand.SERVICES)
    async def other(client: Redis):
        yield
        if failing:
            raise OSError("can't stop")

    gc.disable()  # a connection that only the collector would close is left open
    try:
        async with open_redis(redis_url, client_name="watcher") as watcher:

            async def connections():
                names = [each["name"] for each in await watcher.client_list()]
                return sorted(name for name in names if name.startswith("ending"))

            kernel = Kernel(
                **{**kernel_options(redis_url, client_name="ending"), "contributions": [redis, other]}, discover=False
            )
            with pytest.raises(StopError) if failing else nullcontext():
                async with kernel.running() as resources:
                    client = resources[Redis]
                    await client.ping()
                    assert ["ending", "ending-probe"] == await connections()
            with anyio.fail_after(2):
                while await connections():
                    await anyio.sleep(0.01)
    finally:
        gc.enable()
    with pytest.raises(RedisClosedError):
        await client.ping()


async def test_components_take_it_by_type(redis_url) -> None:
    """Components use the client until they have stopped."""

    @lifespan(band=LifespanBand.SERVICES)
    async def counter(client: Redis):
        await client.incr("starts")
        yield
        await client.incr("stops")

    async with run(**{**kernel_options(redis_url), "contributions": [redis, counter]}):
        pass
    async with run(**kernel_options(redis_url)) as running:
        assert [b"1", b"1"] == await running.resources[Redis].mget("starts", "stops")


async def test_its_health_is_asked_on_a_connection_of_its_own(redis_url) -> None:
    """A full pool doesn't fail the health check."""
    async with run(**kernel_options(redis_url, max_connections=1, pool_timeout=0.1, client_name="busy")) as running:
        client = running.resources[Redis]
        names = sorted(each["name"] for each in await client.client_list() if each["name"].startswith("busy"))
        assert ["busy", "busy-probe"] == names
        held = await client.connection_pool.get_connection()
        assert 200 == (await running.client.get("/readyz")).status_code
        await client.connection_pool.release(held)


@pytest.mark.parametrize(("critical", "status"), [(True, 503), (False, 200)])
async def test_readiness_follows_the_server(own_server, critical, status) -> None:
    """The application isn't ready while a critical Redis is away."""
    async with run(**kernel_options(own_server.url(), critical=critical, probe_timeout=1)) as running:
        assert 200 == (await running.client.get("/readyz")).status_code
        own_server.stop()
        with anyio.fail_after(20):
            while (await running.client.get("/readyz")).json()["checks"]["redis"]["status"] == "pass":
                await anyio.sleep(0.02)
        assert status == (await running.client.get("/readyz")).status_code
        own_server.start()
        with anyio.fail_after(20):
            while (await running.client.get("/readyz")).json()["checks"]["redis"]["status"] != "pass":
                await anyio.sleep(0.02)


async def test_a_server_that_is_away_at_the_start(own_server) -> None:
    """A Redis that isn't critical may come up after the application: readiness warns until then."""
    own_server.stop()
    with capture_logs() as logs:
        async with run(**kernel_options(own_server.url(), critical=False, retries=0, probe_timeout=1)) as running:
            answer = await running.client.get("/readyz")
            assert (200, "warn") == (answer.status_code, answer.json()["checks"]["redis"]["status"])
            with pytest.raises(RedisUnavailableError):
                await running.resources[Redis].ping()
            own_server.start()
            with anyio.fail_after(20):
                while (await running.client.get("/readyz")).json()["status"] != "pass":
                    await anyio.sleep(0.02)
            assert await running.resources[Redis].ping()
    (told,) = [log for log in logs if log["event"] == "Redis is away, and the start goes on without it"]
    assert ("warning", "redis") == (told["log_level"], told["client"])
    assert "REDIS_CRITICAL=true" in told["hint"]


async def test_a_critical_server_that_is_away_fails_the_start() -> None:
    """The start fails without a critical Redis."""
    outcome = await attempt(**kernel_options(f"redis://127.0.0.1:{free_port()}", retries=0))
    outcome.assert_failed(component="redis")
    assert isinstance(outcome.cause, RedisUnavailableError)


async def test_a_wrong_password_fails_the_start_of_a_server_that_is_not_critical(start_server) -> None:
    """Only an absent server is excused: a refusal stays until somebody changes a setting."""
    server = start_server("--requirepass", "secret")
    outcome = await attempt(**kernel_options(server.url(), critical=False))
    outcome.assert_failed(component="redis")
    assert isinstance(outcome.cause, RedisRefusedError)


@pytest.mark.requirement("CF-22")
async def test_several_clients_side_by_side(local_server, monkeypatch) -> None:
    """Named clients share no settings, no pool and no name."""
    monkeypatch.setenv("CACHE_REDIS_URL", local_server.url(1))
    monkeypatch.setenv("CACHE_REDIS_MAX_CONNECTIONS", "2")
    monkeypatch.setenv("OTHER_URL", local_server.url(2))

    @lifespan(band=LifespanBand.SERVICES)
    async def user(plain: Redis, cache: Annotated[Redis, Named("cache")], other: Annotated[Redis, Named("other")]):
        for client, value in ((plain, "plain"), (cache, "cache"), (other, "other")):
            await client.set("client", value)
        yield

    parts = [redis, redis_component("cache"), redis_component("other", prefix="OTHER_"), user]
    async with run(contributions=parts, overrides={RedisSettings: RedisSettings(url=local_server.url())}) as running:
        clients = [running.resources[key] for key in (Redis, (Redis, "cache"), (Redis, "other"))]
        assert [b"plain", b"cache", b"other"] == [await client.get("client") for client in clients]
        assert [10, 2, 10] == [client.connection_pool.max_connections for client in clients]
        assert {"redis": 11 + 3 + 11} == dict(running.plan.budget)
        assert {"redis", "cache", "other"} == set((await running.client.get("/readyz")).json()["checks"])
    for client in clients:
        with pytest.raises(RedisClosedError):
            await client.ping()


async def test_settings_of_a_named_client_may_be_given(redis_url) -> None:
    """Given settings can be overridden by their type."""

    class SessionSettings(RedisSettings):
        model_config = SettingsConfigDict(env_prefix="SESSION_")

    part = redis_component("sessions", settings=SessionSettings)
    async with run(contributions=[part], overrides={SessionSettings: SessionSettings(url=redis_url)}) as running:
        assert await running.resources[Redis, "sessions"].ping()
    with pytest.raises(ValueError, match="prefix"):
        redis_component("sessions", settings=SessionSettings, prefix="S_")
    with pytest.raises(ValueError, match="name"):
        redis_component("two words")


async def test_errors_of_a_named_client_name_its_variables(monkeypatch) -> None:
    """Errors of a named client name variables of its own prefix."""
    for part, variable in (
        (redis_component("page-cache"), "PAGE_CACHE_REDIS_URL"),
        (redis_component("page-cache", prefix="PAGES_"), "PAGES_URL"),
    ):
        monkeypatch.setenv(variable, f"redis://127.0.0.1:{free_port()}")
        outcome = await attempt(contributions=[part])
        outcome.assert_failed(component="page-cache")
        assert f"is {variable} right?" in str(outcome.cause)


async def test_both_pools_are_closed_even_if_one_fails(redis_url, monkeypatch) -> None:
    """Both pools are closed, and the failure is raised."""
    closed = []
    close = BoundedPool.aclose

    async def fail(pool):
        closed.append(pool)
        await close(pool)
        raise OSError(f"close {len(closed)}")

    monkeypatch.setattr(BoundedPool, "aclose", fail)
    outcome = await attempt(**kernel_options(redis_url))
    outcome.assert_failed(StopError)
    assert 2 == len(closed)


async def test_it_says_that_it_needs_asyncio() -> None:
    """A start on trio is refused with the reason."""

    def elsewhere():
        return anyio.run(lambda: attempt(**kernel_options("redis://127.0.0.1:1")), backend="trio")

    outcome = await anyio.to_thread.run_sync(elsewhere)
    outcome.assert_problem("lifespan 'redis'", "redis-py runs on asyncio only")


async def test_it_is_a_good_neighbour(redis_url) -> None:
    """The component passes the kernel's checks of contributions."""
    await check_contribution(redis, overrides={RedisSettings: RedisSettings(url=redis_url)})


async def test_three_hundred_starts_leave_nothing(redis_url, open_redis) -> None:
    """No file, no thread, no task and no connection is left after 300 starts."""
    kernel = Kernel(**kernel_options(redis_url, client_name="cycle"), discover=False)

    def held():
        return len(os.listdir("/proc/self/fd")), threading.active_count(), len(asyncio.all_tasks())

    async with open_redis(redis_url, client_name="watcher") as watcher:

        async def connections():
            return [each["name"] for each in await watcher.client_list() if each["name"].startswith("cycle")]

        async def cycle():
            async with kernel.running() as resources:
                await resources[Redis].ping()

        await cycle()
        before = held()
        for _ in range(300):
            await cycle()
        assert before == held()
        with anyio.fail_after(2):
            while await connections():
                await anyio.sleep(0.01)


async def test_without_a_url_the_start_does_not_connect(monkeypatch) -> None:
    """Without a URL the start doesn't connect, and the client has the default address."""
    monkeypatch.delenv("REDIS_URL", raising=False)
    with capture_logs() as logs:
        async with run(contributions=[redis]) as running:
            assert running.resources[Redis] is not None
            assert 200 == (await running.client.get("/readyz")).status_code
    assert ["Redis isn't connected to before its first use"] == [
        log["event"] for log in logs if log["log_level"] == "info" and "Redis" in log["event"]
    ]


async def test_in_production_a_forgotten_url_is_noticed(monkeypatch) -> None:
    """In production the start connects to the default address."""
    monkeypatch.delenv("REDIS_URL", raising=False)
    looked = []

    async def see(client, settings):
        looked.append(str(settings.address))

    monkeypatch.setattr("bandmaster.contrib.redis.component.see_redis", see)
    async with run(contributions=[redis], settings=KernelSettings(environment="production")):
        assert ["127.0.0.1:6379, database 0"] == looked


async def test_a_client_of_ones_own(redis_url) -> None:
    """A client besides the component's is bounded, guarded and closed alike."""
    async with open_client(RedisSettings(url=redis_url, max_connections=1), "mine") as client:
        assert await client.ping()
        assert isinstance(client.connection_pool, BoundedPool)
    with pytest.raises(RedisClosedError, match="the Redis client 'mine'"):
        await client.ping()
