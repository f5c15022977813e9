"""The deadlines of calls, and the calls in flight when the client is closed."""

import math

import anyio
import httpx2
import pytest
from tests.contrib.http.services import reply, serving

from bandmaster.contrib.http import HttpClosedError, HttpDeadlineError
from bandmaster.kernel import PermanentError, TransientError

pytestmark = pytest.mark.anyio

SOON = 0.2
"""A deadline that passes during each of these tests."""


@pytest.fixture(autouse=True)
async def patience():
    """No call of these tests lasts as long as the time-outs of its phases."""
    with anyio.fail_after(60):
        yield


async def trickle(seen, stream):
    """An answer that never ends, and never lets a read time out."""
    await stream.send(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
    while True:
        await stream.send(b".")
        await anyio.sleep(0.01)


async def trickle_head(seen, stream):
    await stream.send(b"HTTP/1.1 200 OK\r\n")
    while True:
        await stream.send(b"x: y\r\n")
        await anyio.sleep(0.01)


async def stay_silent(seen, stream):
    await anyio.sleep_forever()


async def be_busy(seen, stream):
    return reply(503)


@pytest.mark.requirement("CA-63")
@pytest.mark.parametrize("answer", [trickle, trickle_head, stay_silent])
async def test_a_call_ends_at_its_deadline(client, answer) -> None:
    """A service that sends a byte now and then doesn't hold a call for longer."""
    async with serving(answer) as service, client(deadline=SOON, read_timeout=1000) as http:
        with pytest.raises(HttpDeadlineError, match=r"within the deadline of 0\.2 s") as raised:
            await http.get(service.url)
        assert isinstance(raised.value, TransientError)
        assert isinstance(raised.value, httpx2.TimeoutException)
        assert raised.value.request.url == service.url
        assert "HTTP_DEADLINE" in str(raised.value)
        assert 0 == http.gauges()[0].in_use


@pytest.mark.requirement("CA-63")
async def test_the_deadline_covers_all_attempts(client) -> None:
    """The attempt that is under way at the deadline is cancelled."""

    async def answer(seen, stream):
        await anyio.sleep(0.05)
        return reply(503)

    options = {"retries": 20, "backoff_base": 1e-6, "backoff_cap": 1e-6}
    async with serving(answer) as service, client(deadline=SOON, **options) as http:
        with pytest.raises(HttpDeadlineError, match="all attempts included"):
            await http.get(service.url)
        assert len(service.requests) < 6


@pytest.mark.requirement("CA-63")
async def test_the_deadline_covers_waiting_for_the_pool(client) -> None:
    """A call that gets no connection ends, too."""
    async with serving(stay_silent) as service:
        async with client(max_connections=1, pool_timeout=1000, read_timeout=1000) as http:
            async with anyio.create_task_group() as group:
                group.start_soon(end_quietly, http, service.url)
                while http.gauges()[0].in_use == 0:
                    await anyio.sleep(0.01)
                with pytest.raises(HttpDeadlineError):
                    await http.get(service.url, extensions={"deadline": SOON})
                group.cancel_scope.cancel()


async def end_quietly(http, url):
    await http.get(url)


@pytest.mark.requirement("CA-63")
async def test_the_deadline_covers_a_streamed_body(client) -> None:
    """The time that the caller takes between two chunks counts as well."""
    async with serving(trickle) as service, client(deadline=SOON) as http:
        async with http.stream("GET", service.url) as response:
            with pytest.raises(HttpDeadlineError):
                async for _ in response.aiter_bytes():
                    pass
        assert 0 == http.gauges()[0].in_use


@pytest.mark.requirement("CA-63")
async def test_a_call_has_a_deadline_of_its_own(client) -> None:
    """The extension counts more than the setting, and None means no deadline."""

    async def answer(seen, stream):
        await anyio.sleep(0.1)
        return reply()

    async with serving(answer) as service, client(deadline=0.01) as http:
        with pytest.raises(HttpDeadlineError, match=r"deadline of 0\.01 s"):
            await http.get(service.url)
        assert 200 == (await http.get(service.url, extensions={"deadline": 50})).status_code
        assert 200 == (await http.get(service.url, extensions={"deadline": None})).status_code
        given = {"deadline": 50}
        await http.get(service.url, extensions=given)
        assert {"deadline": 50} == given


async def test_a_request_that_is_sent_twice_has_the_whole_time_each_time(client) -> None:
    """The deadline counts from the moment at which the request is sent."""

    async def answer(seen, stream):
        return reply()

    async with serving(answer) as service, client() as http:
        request = http.build_request("GET", service.url, extensions={"deadline": 0.3})
        await http.send(request)
        await anyio.sleep(0.4)
        assert 200 == (await http.send(request)).status_code


@pytest.mark.parametrize("seconds", [0, -1, math.inf, math.nan, "5", True])
@pytest.mark.requirement("P-18")
async def test_a_deadline_is_a_number_of_seconds(client, seconds) -> None:
    """A wrong deadline is no deadline at all, so it is refused."""
    async with client() as http:
        with pytest.raises(ValueError, match="expected seconds above 0, or None, as 'deadline'"):
            await http.get("http://127.0.0.1:9", extensions={"deadline": seconds})


async def test_redirects_share_the_deadline(client) -> None:
    """A service that redirects for ever is stopped by the deadline before the number of redirects."""

    async def answer(seen, stream):
        await anyio.sleep(0.05)
        return reply(302, headers={"location": "/next"})

    async with serving(answer) as service, client(deadline=SOON) as http:
        with pytest.raises(HttpDeadlineError):
            await http.get(service.url, follow_redirects=True)


async def test_a_cancelled_call_is_cancelled(client) -> None:
    """The scope of the caller ends the call, and isn't taken for the deadline."""
    async with serving(stay_silent) as service, client() as http:
        with anyio.move_on_after(SOON) as scope:
            await http.get(service.url)
        assert scope.cancelled_caught
        assert 0 == http.gauges()[0].in_use


@pytest.mark.requirement("AU-14")
async def test_closing_ends_the_calls_in_flight(client) -> None:
    """Calls that wait for an answer, for the pool, for a body or for the next attempt end with an error."""
    ended = []

    async def call(http, url, **options):
        try:
            await http.get(url, **options)
        except HttpClosedError as error:
            ended.append(error)

    async def read(http, url):
        async with http.stream("GET", url) as response:
            try:
                await response.aread()
            except HttpClosedError as error:
                ended.append(error)

    options = {"max_connections": 2, "backoff_base": 50, "backoff_cap": 50, "deadline": None, "pool_timeout": 1000}
    async with serving(stay_silent) as silent, serving(trickle) as slow, serving(be_busy) as busy:
        async with anyio.create_task_group() as group:
            async with client(**options) as http:
                group.start_soon(call, http, busy.url)
                while not busy.requests:
                    await anyio.sleep(0.01)
                group.start_soon(call, http, silent.url)
                group.start_soon(read, http, slow.url)
                while not (silent.requests and slow.requests):
                    await anyio.sleep(0.01)
                group.start_soon(call, http, silent.url)
                await anyio.sleep(0.05)
        assert 4 == len(ended)
        assert 1 == len(silent.requests)
        assert "the HTTP client 'http' was closed with the application" in str(ended[0])
        assert isinstance(ended[0], PermanentError)
        assert 0 == http.gauges()[0].open
        assert http.is_closed
        with pytest.raises(HttpClosedError):
            await http.get(silent.url)
