"""The check at the start that Redis can be reached."""

import asyncio
import socket
import time
from contextlib import suppress

import anyio
import pytest

from bandmaster.contrib.redis import RedisRefusedError, RedisSettings, RedisUnavailableError, redis
from bandmaster.kernel import BudgetExceededError, KernelSettings, StartError
from bandmaster.kernel.testing import attempt, free_port

SECRET = "hunter2"
pytestmark = pytest.mark.anyio


async def start_failure(url, kernel=None, **options):
    settings = RedisSettings(url=url, **options)
    overrides = {RedisSettings: settings}
    outcome = await attempt(contributions=[redis], overrides=overrides, settings=kernel)
    error = outcome.assert_failed(StartError, "redis")
    assert SECRET not in f"{error} {outcome.cause} {outcome.cause!r} {outcome.cause.__cause__} {outcome.events}"
    return outcome.cause


@pytest.mark.requirement("CF-22")
async def test_a_server_that_is_not_there() -> None:
    """The start fails at once, with the address."""
    port = free_port()
    began = time.monotonic()
    cause = await start_failure(f"redis://:{SECRET}@127.0.0.1:{port}/2")
    assert isinstance(cause, RedisUnavailableError)
    assert f"Redis at 127.0.0.1:{port}, database 2 can't be used" in str(cause)
    assert str(cause).endswith(". Does it run, and is REDIS_URL right?")
    assert ".." not in str(cause)
    assert time.monotonic() - began < 2


@pytest.mark.requirement("CF-22")
async def test_a_server_that_does_not_answer() -> None:
    """The start fails in bounded time, whatever the timeouts of clients."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        began = time.monotonic()
        cause = await start_failure(
            f"redis://:{SECRET}@127.0.0.1:{port}", connect_timeout=0.2, probe_timeout=0.2, socket_timeout=60, retries=99
        )
    assert isinstance(cause, RedisUnavailableError)
    assert f"127.0.0.1:{port}, database 0" in str(cause)
    assert time.monotonic() - began < 2


async def test_a_server_that_answers_slowly() -> None:
    """The bound holds for all answers together."""
    gone = asyncio.Event()

    async def drip(reader, writer):
        with suppress(ConnectionError):  # who gives up may leave an answer unread, and then it is a reset
            while await reader.read(1000):
                await anyio.sleep(0.75)
                writer.write(b"+OK\r\n")
        writer.close()
        gone.set()

    async with await asyncio.start_server(drip, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        cause = await start_failure(f"redis://127.0.0.1:{port}", connect_timeout=1, probe_timeout=1)
        await asyncio.wait_for(gone.wait(), 10)
    assert isinstance(cause, RedisUnavailableError)
    assert f"Redis at 127.0.0.1:{port}, database 0 doesn't answer within 2 s" in str(cause)


async def test_an_unknown_host_name() -> None:
    """An unknown host name fails the start."""
    cause = await start_failure(f"redis://:{SECRET}@no-such-host.invalid:6379")
    assert isinstance(cause, RedisUnavailableError)
    assert "no-such-host.invalid:6379, database 0" in str(cause)


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (f"me:{SECRET}@", "refuses the user or the password of REDIS_URL"),
        (f":{SECRET}@", "refuses the user or the password of REDIS_URL"),
        ("", "asks for a password, and REDIS_URL has none"),
    ],
)
async def test_a_wrong_password(start_server, entry, reason) -> None:
    """The error is permanent, and shows no password."""
    server = start_server("--requirepass", "right")
    cause = await start_failure(f"redis://{entry}127.0.0.1:{server.port}")
    assert isinstance(cause, RedisRefusedError)
    assert f"Redis at 127.0.0.1:{server.port}, database 0 {reason}" in str(cause)


async def test_a_database_that_the_server_does_not_have(redis_server) -> None:
    """The error for a missing database is permanent."""
    cause = await start_failure(redis_server.url(9999))
    assert isinstance(cause, RedisRefusedError)
    assert "database 9999 refuses: DB index is out of range" in str(cause)


async def test_a_user_without_the_right_to_setname(start_server) -> None:
    """The error for a user without CLIENT SETNAME has the remedy."""
    server = start_server("--user", "few", "on", ">pw", "~*", "&*", "+@all", "-client")
    cause = await start_failure(f"redis://few:pw@127.0.0.1:{server.port}")
    assert isinstance(cause, RedisRefusedError)
    assert "leave REDIS_CLIENT_NAME empty" in str(cause)
    overrides = {RedisSettings: RedisSettings(url=f"redis://few:pw@127.0.0.1:{server.port}", client_name="")}
    (await attempt(contributions=[redis], overrides=overrides)).assert_clean()


async def test_a_server_without_room(start_server, open_redis) -> None:
    """A server at its limit of clients is a transient error."""
    server = start_server("--maxclients", "3")
    held = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(3)]
    try:
        cause = await start_failure(server.url())
    finally:
        for connection in held:
            connection.close()
    assert isinstance(cause, RedisUnavailableError)
    assert "max number of clients reached" in str(cause)


async def test_the_budget_is_compared_with_the_servers_limit(start_server) -> None:
    """The budget of all processes, health checks included, is compared with the server's limit."""
    server = start_server("--maxclients", "40")
    cause = await start_failure(server.url(), max_connections=20, kernel=KernelSettings(processes=2))
    assert isinstance(cause, BudgetExceededError)
    assert "may hold 42 of redis (21 in each of 2 processes), 105% of the 40 that the server allows" in str(cause)


@pytest.mark.parametrize(("limits", "kind"), [({}, None), ({"redis": 5}, BudgetExceededError)])
async def test_a_server_that_does_not_tell_its_limit(start_server, limits, kind) -> None:
    """Where INFO is refused, BANDMASTER_LIMITS counts, or nothing is compared."""
    server = start_server("--user", "few", "on", ">pw", "~*", "&*", "+@all", "-info")
    settings = RedisSettings(url=f"redis://few:pw@127.0.0.1:{server.port}")
    outcome = await attempt(
        contributions=[redis], overrides={RedisSettings: settings}, settings=KernelSettings(limits=limits)
    )
    assert kind is None or isinstance(outcome.cause, kind)
    assert (kind is None) == outcome.started
