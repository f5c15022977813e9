"""The metrics of pools and queues, with real pools."""

import anyio
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from sqlalchemy import text
from tests.logged import capture_logs

from bandmaster.contrib.persistence import DatabaseManager, DatabaseSettings
from bandmaster.contrib.redis import RedisSettings, open_client
from bandmaster.contrib.redis.testing import redis_server
from bandmaster.contrib.taskiq import Depth
from bandmaster.contrib.tracing.metrics.observed.pools import PoolMetrics, find_pools
from bandmaster.contrib.tracing.metrics.observed.queues import QueueMetrics
from bandmaster.kernel import Key, Resources, TransientError
from bandmaster.kernel.testing import ServerUnavailable, skip_or_fail

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
def reader():
    return InMemoryMetricReader()


@pytest.fixture
def meter(reader):
    return MeterProvider([reader], shutdown_on_exit=False).get_meter("test")


def read(reader):
    data = reader.get_metrics_data()
    return {
        (one.name, *(value for _, value in sorted(point.attributes.items()))): point.value
        for resource in (data.resource_metrics if data else ())
        for scope in resource.scope_metrics
        for one in scope.metrics
        for point in one.data.data_points
    }


async def test_the_pool_of_a_database(reader, meter, tmp_path) -> None:
    """A connection that is in use is counted as used, and later as idle."""
    manager = DatabaseManager(
        DatabaseSettings(url=f"sqlite+aiosqlite:///{tmp_path}/shop.db", pool_size=3, max_overflow=2)
    )
    metrics = PoolMetrics()
    metrics.register(meter)
    try:
        metrics.watch(find_pools(Resources({Key(DatabaseManager): manager})))
        async with manager.session() as session:
            await session.execute(text("SELECT 1"))
            found = read(reader)
            assert 1 == found["db.client.connection.count", "database/async", "used"]
            assert 5 == found["db.client.connection.max", "database/async"]
        assert 0 == read(reader)["db.client.connection.count", "database/async", "used"]
        assert 1 == read(reader)["db.client.connection.count", "database/async", "idle"]
    finally:
        await manager.dispose()
    metrics.watch(())
    assert {} == read(reader)


async def test_the_pool_of_a_redis_client(reader, meter, tmp_path) -> None:
    """The connections of a client are counted, those who wait for one as well, and against the budget."""
    from redis.asyncio import Redis

    metrics = PoolMetrics()
    metrics.register(meter)
    try:
        with redis_server(tmp_path) as server:
            settings = RedisSettings(url=server.url(0), max_connections=1, pool_timeout=20)
            async with open_client(settings, "cache") as client:
                metrics.watch(find_pools(Resources({Key(Redis, "cache"): client})))
                connection = await client.connection_pool.get_connection()
                async with anyio.create_task_group() as waiting:
                    waiting.start_soon(client.ping)
                    await anyio.wait_all_tasks_blocked()
                    found = read(reader)
                    await client.connection_pool.release(connection)
                assert 1 == found["db.client.connection.count", "cache", "used"]
                assert 1 == found["db.client.connection.pending_requests", "cache"]
                assert 1 == found["db.client.connection.max", "cache"]
                assert 1 == found["bandmaster.budget.used", "redis"]
                found = read(reader)
                assert 0 == found["db.client.connection.count", "cache", "used"]
                assert 0 == found["db.client.connection.pending_requests", "cache"]
    except ServerUnavailable as error:
        skip_or_fail(error)


def test_without_pools_there_is_nothing() -> None:
    """An application without databases and Redis clients has no gauges of pools."""
    assert [] == find_pools(Resources())


async def test_the_depth_of_a_queue(reader, meter) -> None:
    """The last reading is given; a failed reading leaves gaps and not an old number."""
    answers = iter(
        [Depth(waiting=3, held=2, delayed=1, dead=4, oldest=12.5), TransientError("away"), RuntimeError(), OSError()]
    )

    async def depth():
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    queue = QueueMetrics("tasks", depth, interval=3600)
    queue.register(meter)
    assert {} == read(reader)
    await queue.read()
    found = read(reader)
    assert {"waiting": 3, "held": 2, "delayed": 1, "dead": 4} == {
        name[2]: value for name, value in found.items() if name[0] == "bandmaster.queue.messages"
    }
    assert 12.5 == found["bandmaster.queue.oldest", "tasks"]
    with capture_logs() as logs:
        for _ in range(3):
            await queue.read()
            assert {} == read(reader)
    assert ["the queue's depth can't be read"] == [one["event"] for one in logs]
