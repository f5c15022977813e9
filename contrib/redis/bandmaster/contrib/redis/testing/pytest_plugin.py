"""Fixtures for pytest, which load the helpers when a test asks for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from bandmaster.contrib.redis.testing.server import RedisServer


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis server for the session; without one the test is skipped, or fails where services are required."""
    from bandmaster.contrib.redis.testing.server import redis_server
    from bandmaster.kernel.testing import ServerUnavailable, skip_or_fail

    with ExitStack() as stack:
        try:
            server = stack.enter_context(redis_server(tmp_path_factory.mktemp("redis")))
        except ServerUnavailable as error:
            skip_or_fail(error)
        yield server


@pytest.fixture
def redis_url(request: pytest.FixtureRequest, redis_server: RedisServer) -> str:
    """The URL of an empty database of this test alone."""
    database = redis_server.database
    if redis_server.process is None:
        # Workers of pytest-xdist share a server that the environment names, so each uses its own database.
        worker = getattr(request.config, "workerinput", {}).get("workerid", "gw0")
        database += int(worker.removeprefix("gw"))
    redis_server.empty(database)
    return redis_server.url(database)
