"""Redis servers and clients for tests."""

from contextlib import ExitStack, asynccontextmanager

import pytest

from bandmaster.contrib.redis import RedisSettings
from bandmaster.contrib.redis.clients import open_clients
from bandmaster.contrib.redis.testing import redis_server
from bandmaster.kernel.testing import ServerUnavailable, skip_or_fail

PLAIN = ("--loglevel", "notice")
"""Options that change nothing, and mean a server that is started here."""


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture(scope="session")
def session_server(tmp_path_factory):
    """A server that is started on this machine, also where the environment names one."""
    with ExitStack() as stack:
        try:
            yield stack.enter_context(redis_server(tmp_path_factory.mktemp("local"), options=PLAIN))
        except ServerUnavailable as error:
            skip_or_fail(error)


@pytest.fixture
def local_server(session_server):
    """The session's server, emptied. Tests must not stop it."""
    for database in range(3):
        session_server.empty(database)
    return session_server


@pytest.fixture
def start_server(tmp_path):
    """Starts servers with options for one test, and ends them after the test."""
    with ExitStack() as stack:

        def start(*options):
            folder = tmp_path / f"server-{len(list(tmp_path.iterdir()))}"
            folder.mkdir()
            try:
                return stack.enter_context(redis_server(folder, options=options or PLAIN))
            except ServerUnavailable as error:
                skip_or_fail(error)

        yield start


@pytest.fixture
def own_server(start_server):
    """A server that the test may stop."""
    return start_server()


@pytest.fixture
def open_redis():
    """Opens the client of a URL without a kernel."""

    @asynccontextmanager
    async def open_redis(url, **options):
        # On a busy machine two hundred commands may take longer than the default of five seconds.
        patient = dict.fromkeys(("pool_timeout", "connect_timeout", "socket_timeout"), 60)
        settings = RedisSettings(url=url, **{"backoff_base": 0.001, "backoff_cap": 0.01, **patient, **options})
        async with open_clients(settings, "redis") as clients:
            yield clients.client

    return open_redis
