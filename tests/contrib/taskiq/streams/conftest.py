"""Workers of a queue, and servers of a test's own."""

from contextlib import ExitStack, asynccontextmanager

import pytest
from redis.asyncio import Redis
from tests.contrib.taskiq.streams.helpers import broker_of

from bandmaster.contrib.redis.testing import redis_server as serving
from bandmaster.kernel.testing import ServerUnavailable, skip_or_fail


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
def own_server(tmp_path):
    """A server that the test may stop and set."""
    with ExitStack() as stack:
        try:
            yield stack.enter_context(serving(tmp_path, options=["--appendonly", "yes", "--appendfsync", "always"]))
        except ServerUnavailable as error:
            skip_or_fail(error)


@pytest.fixture
def worker(redis_url):
    """Starts a broker of the test's queue, until the block ends."""

    @asynccontextmanager
    async def worker(consumer=None, *, url=redis_url, redis=None, **options):
        broker = broker_of(url, consumer, redis=redis, **options)
        await broker.startup()
        try:
            yield broker
        finally:
            await broker.shutdown()

    return worker


@pytest.fixture
def raw(redis_url):
    """A client of redis-py's own."""

    @asynccontextmanager
    async def raw(url=redis_url):
        client = Redis.from_url(url)
        try:
            yield client
        finally:
            await client.aclose()

    return raw
