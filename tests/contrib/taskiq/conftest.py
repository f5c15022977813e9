"""Redis for tests of the task queue, which runs on asyncio only."""

from contextlib import ExitStack

import pytest
from tests.logged import capture_logs

from bandmaster.contrib.redis import RedisSettings, open_client
from bandmaster.contrib.redis.testing import redis_server as serving
from bandmaster.kernel.testing import ServerUnavailable, skip_or_fail


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
async def client(redis_url):
    """A client of the shared server."""
    async with open_client(RedisSettings(url=redis_url), "tests") as client:
        yield client


@pytest.fixture
def own_server(tmp_path):
    """A durable server that the test may stop and configure."""
    with ExitStack() as stack:
        try:
            yield stack.enter_context(serving(tmp_path, options=["--appendonly", "yes", "--appendfsync", "always"]))
        except ServerUnavailable as error:
            skip_or_fail(error)


@pytest.fixture
def logs():
    """The events that are logged during the test."""
    with capture_logs() as found:
        yield found
