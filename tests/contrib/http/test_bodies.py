"""Bodies up to a greatest size."""

import gzip

import httpx2
import pytest
from tests.contrib.http.services import reply, serving

from bandmaster.contrib.http import HttpBodyTooLargeError, read_limited
from bandmaster.kernel import PermanentError

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("size", [0, 1, 99, 100])
async def test_a_body_within_the_limit_is_returned(client, size) -> None:
    """The limit itself is allowed."""

    async def answer(seen, stream):
        return reply(body=b"x" * size)

    async with serving(answer) as service, client() as http:
        async with http.stream("GET", service.url) as response:
            assert b"x" * size == await read_limited(response, 100)
        await http.get(service.url)
        assert 1 == service.connections


@pytest.mark.parametrize("announced", [True, False])
async def test_a_larger_body_is_refused(client, announced) -> None:
    """Whether or not the service says the size; the rest isn't read."""

    async def answer(seen, stream):
        head = b"content-length: 1000000" if announced else b"connection: close"
        await stream.send(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n" + b"x" * 101)
        if announced:
            await stream.receive()  # until the client closes the connection

    async with serving(answer) as service, client() as http:
        async with http.stream("GET", service.url) as response:
            with pytest.raises(
                HttpBodyTooLargeError, match=r"the answer to GET http://127.0.0.1:\d+ is larger than 100"
            ):
                await read_limited(response, 100)
            assert response.is_closed
        assert 0 == http.gauges()[0].open
    assert issubclass(HttpBodyTooLargeError, PermanentError)


async def test_decoded_bytes_count(client) -> None:
    """A body of a few kilobytes that becomes a hundred megabytes is refused at the first of them."""
    bomb = gzip.compress(bytes(100_000_000))

    async def answer(seen, stream):
        return reply(body=bomb, headers={"content-encoding": "gzip"})

    async with serving(answer) as service, client() as http:
        async with http.stream("GET", service.url) as response:
            with pytest.raises(HttpBodyTooLargeError):
                await read_limited(response, 200_000)
            assert response.num_bytes_downloaded < len(bomb)


async def test_a_body_that_was_read_already(client) -> None:
    """The limit holds for answers without a stream, too."""
    async with client(transport=httpx2.MockTransport(lambda request: httpx2.Response(200, content=b"12345"))) as http:
        response = await http.get("https://api.example")
        assert b"12345" == await read_limited(response, 5)
        with pytest.raises(HttpBodyTooLargeError):
            await read_limited(response, 4)


@pytest.mark.parametrize("length", ["9" * 400, "-1", "x", "\u0661"])
async def test_a_strange_length_does_no_harm(client, length) -> None:
    """The bytes count, and a length that nobody can have is too large."""
    headers = httpx2.Headers({"content-length": length.encode()})
    answer = httpx2.Response(200, headers=headers, content=b"1")
    async with client(transport=httpx2.MockTransport(lambda request: answer)) as http:
        async with http.stream("GET", "https://api.example") as response:
            if length.startswith("9"):
                with pytest.raises(HttpBodyTooLargeError):
                    await read_limited(response, 10)
            else:
                assert b"1" == await read_limited(response, 10)


async def test_a_head_has_no_body(client) -> None:
    """The length in the answer to HEAD is that of a GET."""
    answer = httpx2.Response(200, headers={"content-length": "1000"})
    async with client(transport=httpx2.MockTransport(lambda request: answer)) as http:
        async with http.stream("HEAD", "https://api.example") as response:
            assert b"" == await read_limited(response, 10)


@pytest.mark.requirement("P-18")
async def test_a_limit_is_a_number_of_bytes() -> None:
    """A negative number is no limit."""
    with pytest.raises(ValueError, match="limit: expected a number of bytes, got -1"):
        await read_limited(httpx2.Response(200), -1)
