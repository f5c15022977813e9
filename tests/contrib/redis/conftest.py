"""Servers of a test's own, and what redis-py needs: it runs on asyncio only."""

from contextlib import asynccontextmanager

import pytest

from bandmaster.contrib.redis import RedisSettings
from bandmaster.contrib.redis.clients import open_clients
from bandmaster.contrib.redis.testing import redis_server
from bandmaster.kernel.testing import ServerUnavailable, skip_or_fail


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
def start_server(tmp_path):
    """Starts servers with options, which only this test uses; they are ended with it."""
    from contextlib import ExitStack

    with ExitStack() as stack:

        def start(*options):
            folder = tmp_path / f"server-{len(list(tmp_path.iterdir()))}"
            folder.mkdir()
            try:
                return stack.enter_context(redis_server(folder, options=options or ["--loglevel", "notice"]))
            except ServerUnavailable as error:
                skip_or_fail(error)

        yield start


@pytest.fixture
def own_server(start_server):
    """A server that the test may stop."""
    return start_server()


@pytest.fixture
def opened():
    """Opens the client of a URL, outside a kernel."""

    @asynccontextmanager
    async def opened(url, **options):
        settings = RedisSettings(url=url, **{"backoff_base": 0.001, "backoff_cap": 0.01, **options})
        async with open_clients(settings, "redis") as clients:
            yield clients.client

    return opened
