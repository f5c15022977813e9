"""The pool of connections."""

import random

import anyio
import anyio.lowlevel
import httpx2
import pytest
from tests.contrib.http.services import proxying, reply, serving
from tests.logged import capture_logs

from bandmaster.contrib.http import HttpPoolTimeoutError, HttpUnavailableError
from bandmaster.contrib.http.network import ClosingStream
from bandmaster.contrib.http.pool import PooledConnection
from bandmaster.kernel import TransientError

pytestmark = pytest.mark.anyio


async def answer(seen, stream):
    await anyio.sleep(random.random() * 0.004)
    return reply(body=b"served" * 100)


async def call_and_cancel(http, url, calls, dice, at_once):
    """Make calls, several at once, and cancel most of them after a random number of turns of the loop, or soon.

    Turns of the loop reach every step of a call, however busy the machine is. Returns how many calls have succeeded.
    """
    succeeded = 0

    async def cancel_later(scope):
        if dice.random() < 0.5:
            await anyio.sleep(dice.random() * 0.02)
        else:
            for _ in range(dice.randrange(60)):
                await anyio.lowlevel.checkpoint()
        scope.cancel()

    async def call(share):
        nonlocal succeeded
        for _ in range(share):
            async with anyio.create_task_group() as group:
                if dice.random() < 0.95:
                    group.start_soon(cancel_later, group.cancel_scope)
                await http.get(url)
                succeeded += 1
                group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        for _ in range(at_once):
            group.start_soon(call, calls // at_once)
    return succeeded


@pytest.mark.requirement("CA-60")
async def test_ten_thousand_cancelled_calls_leave_the_pool_whole(client, anyio_backend_name) -> None:
    """Deadlines of callers and clients that go away cost the pool no connection. A tenth is enough on trio."""
    dice, calls = random.Random(7), 10_000 if anyio_backend_name == "asyncio" else 1_000
    async with serving(answer) as service:
        async with client(max_connections=5, pool_timeout=60, deadline=None) as http:
            succeeded = await call_and_cancel(http, service.url, calls, dice, 20)
            assert 0 < succeeded < calls
            assert 0 == http.gauges()[0].in_use
            # Five calls at once prove that each of the five places is free.
            async with anyio.create_task_group() as group:
                for _ in range(5):
                    group.start_soon(check_served, http, service.url)
            assert 0 == http.gauges()[0].in_use


async def check_served(http, url):
    assert 200 == (await http.get(url, timeout=httpx2.Timeout(50))).status_code


@pytest.mark.requirement("CA-60")
@pytest.mark.parametrize("by_proxy", [False, True])
async def test_calls_that_are_cancelled_while_tls_begins(client, authority, by_proxy) -> None:
    """httpx2 itself loses a place for each call that is cancelled between CONNECT and the end of the handshake."""
    dice = random.Random(7)
    async with serving(answer, authority.context) as service, proxying() as proxy:
        options = {"proxy_url": proxy.url} if by_proxy else {}
        async with client(max_connections=5, tls_ca_file=authority.file, pool_timeout=60, **options) as http:
            assert 0 < await call_and_cancel(http, service.url, 400, dice, 10)
            assert 0 == http.gauges()[0].in_use
            async with anyio.create_task_group() as group:
                for _ in range(5):
                    group.start_soon(check_served, http, service.url)


@pytest.mark.parametrize("by_proxy", [False, True])
async def test_untrusted_services_use_up_no_connections(client, authority, by_proxy) -> None:
    """A handshake that fails gives its place back."""
    async with serving(answer, authority.context) as service, proxying() as proxy:
        options = {"proxy_url": proxy.url} if by_proxy else {}
        async with client(max_connections=2, pool_timeout=5, **options) as http:
            for _ in range(5):
                with pytest.raises(httpx2.ConnectError) as raised:
                    await http.get(service.url)
                assert "certificate" in str(raised.value)
                assert not isinstance(raised.value, TransientError)
            assert 0 == http.gauges()[0].open


@pytest.mark.requirement("CA-66")
async def test_a_full_pool_is_told_apart(client) -> None:
    """The error, the log and the gauge say that the client's own pool is full, and name the setting."""

    async def stay_silent(seen, stream):
        await anyio.sleep_forever()

    async with serving(stay_silent) as service, client("billing", max_connections=1, pool_timeout=0.05) as http:
        async with anyio.create_task_group() as group:
            group.start_soon(http.get, service.url)
            while not service.requests:
                await anyio.sleep(0.01)
            with capture_logs("bandmaster.http") as logs, pytest.raises(HttpPoolTimeoutError) as raised:
                await http.get("http://other.example/path?key=hunter2")
            gauge = http.gauges()[0]
            group.cancel_scope.cancel()
    assert isinstance(raised.value, httpx2.PoolTimeout)
    assert isinstance(raised.value, HttpUnavailableError)
    assert (
        "GET http://other.example by the HTTP client 'billing': all 1 connections of the pool are in use, and none "
        "became free within 0.05 s; answers that aren't closed hold one each. Raise HTTP_MAX_CONNECTIONS, or give slow "
        "services a client of their own" == str(raised.value)
    )
    assert ("billing", 1, 1, 1, 1) == (gauge.client, gauge.limit, gauge.open, gauge.in_use, gauge.timeouts)
    (told,) = logs
    assert ("HTTP connection pool is full", "warning") == (told["event"], told["log_level"])
    assert ("billing", "other.example", 1, 1) == (told["client"], told["host"], told["limit"], told["in_use"])


@pytest.mark.requirement("CA-66")
async def test_a_stuck_service_delays_no_other_client(client) -> None:
    """Each client has a pool of its own."""

    async def stay_silent(seen, stream):
        await anyio.sleep_forever()

    async with serving(stay_silent) as stuck, serving(answer) as healthy:
        async with (
            client(max_connections=1) as one,
            client(max_connections=1) as two,
            anyio.create_task_group() as group,
        ):
            group.start_soon(one.get, stuck.url)
            while not stuck.requests:
                await anyio.sleep(0.01)
            assert 200 == (await two.get(healthy.url)).status_code
            group.cancel_scope.cancel()


@pytest.mark.requirement("CF-06", "AU-4")
async def test_calls_share_connections(client) -> None:
    """Calls in a row use one connection, and many at once no more than the pool has."""
    async with serving(answer) as service, client(max_connections=3, pool_timeout=60) as http:
        for _ in range(10):
            await http.get(service.url)
        assert 1 == service.connections
        async with anyio.create_task_group() as group:
            for _ in range(30):
                group.start_soon(http.get, service.url)
        assert service.connections <= 3
        assert 3 == http.gauges()[0].open


def test_httpcore2_still_has_the_names_that_this_package_touches() -> None:
    """A new version that asks connections for more, or has errors without a namesake in httpx2, fails here."""
    import httpcore2

    own = {name for name in vars(httpcore2.AsyncConnectionInterface) if not name.startswith("_")}
    assert own | {"handle_async_request"} == {name for name in vars(PooledConnection) if not name.startswith("_")}
    own = {name for name in vars(httpcore2.AsyncNetworkStream) if not name.startswith("_")}
    assert own == {name for name in vars(ClosingStream) if not name.startswith("_")}
    errors = {name for name in httpcore2.__all__ if isinstance(getattr(httpcore2, name), type)}
    errors = {name for name in errors if issubclass(getattr(httpcore2, name), Exception)} - {"ConnectionNotAvailable"}
    assert len(errors) > 10
    for name in errors:
        assert "httpcore2" == getattr(httpcore2, name).__module__
        assert issubclass(getattr(httpx2, name), httpx2.TransportError)
