"""Brokers and clients of the tests' queue."""

from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis
from tests.contrib.taskiq.streams.helpers import broker_of


@pytest.fixture
def worker(redis_url):
    """Start a broker of the test's queue until the block ends."""

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
    """Open a client of redis-py until the block ends."""

    @asynccontextmanager
    async def raw(url=redis_url):
        client = Redis.from_url(url)
        try:
            yield client
        finally:
            await client.aclose()

    return raw
