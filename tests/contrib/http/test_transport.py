"""Attempts of a call."""

import httpx2
import pytest
from tests.contrib.http.services import reply, serving
from tests.logged import capture_logs

from bandmaster.contrib.http import HttpDeadlineError, HttpPoolTimeoutError, HttpUnavailableError
from bandmaster.kernel import TransientError
from bandmaster.kernel.testing import free_port

pytestmark = pytest.mark.anyio

IDEMPOTENT = ["DELETE", "GET", "HEAD", "OPTIONS", "PUT", "QUERY", "TRACE"]


def script(*answers):
    """Answers in this order; the last one is repeated. An answer of None closes the connection without one."""
    rest = list(answers)

    async def answer(seen, stream):
        found = rest.pop(0) if len(rest) > 1 else rest[0]
        return found if found is None else reply(*found) if isinstance(found, tuple) else reply(found)

    return answer


@pytest.mark.requirement("CA-65")
@pytest.mark.parametrize("method", IDEMPOTENT)
@pytest.mark.parametrize("failure", [429, 502, 503, 504, None])
async def test_idempotent_calls_are_repeated(client, method, failure) -> None:
    """A busy service and a lost connection are tried again."""
    body = b"" if method == "HEAD" else b"served"
    async with serving(script(failure, (200, body))) as service, client() as http:
        answer = await http.request(method, service.url)
        assert (200, body) == (answer.status_code, answer.content)
        assert [method, method] == [seen.method for seen in service.requests]


@pytest.mark.requirement("CA-62")
@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_other_calls_are_not_repeated(client, method) -> None:
    """A POST whose connection is lost fails as a transient error, since the service may have done the work."""
    async with serving(script(None)) as service, client() as http:
        with pytest.raises(TransientError) as raised:
            await http.request(method, service.url, json={"amount": 1})
        assert isinstance(raised.value, httpx2.RemoteProtocolError)
        assert 1 == len(service.requests)
    async with serving(script(503)) as service, client() as http:
        assert 503 == (await http.request(method, service.url)).status_code
        assert 1 == len(service.requests)


@pytest.mark.requirement("CA-62")
async def test_a_marked_call_is_repeated_with_its_body(client) -> None:
    """The caller knows that the service recognises the repetition."""
    async with serving(script(None, 503, 201)) as service, client() as http:
        answer = await http.post(service.url, json={"amount": 1}, extensions={"retry": True})
        assert 201 == answer.status_code
        assert [b'{"amount":1}'] * 3 == [seen.body for seen in service.requests]


async def test_a_call_can_be_marked_to_be_sent_once(client) -> None:
    """The mark counts more than the method."""
    async with serving(script(503)) as service, client() as http:
        assert 503 == (await http.get(service.url, extensions={"retry": False})).status_code
        assert 1 == len(service.requests)


async def test_a_stream_is_sent_once(client) -> None:
    """A body that the first attempt has used up can't be repeated; a mark on such a call is refused."""

    async def parts():
        yield b"part"

    # With a length, since the service here reads no chunks.
    options = {"content": parts(), "headers": {"content-length": "4"}}
    async with serving(script(503)) as service, client() as http:
        assert 503 == (await http.put(service.url, **options)).status_code
        assert [b"part"] == [seen.body for seen in service.requests]
        with pytest.raises(ValueError, match="the body of the POST is a stream"):
            await http.post(service.url, content=parts(), extensions={"retry": True})
        with pytest.raises(ValueError, match="expected True or False as 'retry', got 3"):
            await http.get(service.url, extensions={"retry": 3})
        assert 1 == len(service.requests)


@pytest.mark.parametrize("status", [200, 301, 400, 404, 408, 500, 501])
async def test_other_statuses_are_answers(client, status) -> None:
    """Only errors that another attempt may mend are repeated."""
    async with serving(script(status)) as service, client() as http:
        assert status == (await http.get(service.url)).status_code
        assert 1 == len(service.requests)


async def test_the_last_answer_is_returned(client) -> None:
    """When all attempts have failed, the caller sees the status of the last one, with its body."""
    async with serving(script(503, 502, (504, b"away"))) as service, client(retries=2) as http:
        answer = await http.get(service.url)
        assert (504, b"away", 3) == (answer.status_code, answer.content, len(service.requests))


async def test_the_last_error_is_raised(client) -> None:
    """A service that nobody listens for is tried as often as the setting says."""
    with capture_logs("bandmaster.http") as logs:
        async with client(retries=3) as http:
            with pytest.raises(HttpUnavailableError, match="Connect"):
                await http.get(f"http://127.0.0.1:{free_port()}/path?key=hunter2")
    assert [1, 2, 3] == [log["attempts"] for log in logs]
    told = {key: logs[0][key] for key in ("event", "log_level", "client", "method", "host", "reason")}
    assert {
        "event": "HTTP call is repeated",
        "log_level": "info",
        "client": "http",
        "method": "GET",
        "host": "127.0.0.1",
        "reason": "ConnectError",
    } == told


@pytest.mark.requirement("CA-65")
async def test_retry_after_is_waited_for(client) -> None:
    """The pause is at least as long as the service asks."""

    async def answer(seen, stream):
        return reply(503, headers={"retry-after": "1"}) if len(service.requests) == 1 else reply()

    with capture_logs("bandmaster.http") as logs:
        async with serving(answer) as service, client() as http:
            assert 200 == (await http.get(service.url)).status_code
    assert [1.0] == [log["pause"] for log in logs]


@pytest.mark.requirement("CA-65")
@pytest.mark.parametrize("asked", ["11", "999999999999", "Fri, 31 Dec 9999 23:59:59 GMT"])
async def test_a_long_retry_after_is_left_to_the_caller(client, asked) -> None:
    """No service can hold a call by a number of its own: the answer is returned at once."""
    async with serving(script((429, b"", {"retry-after": asked}))) as service:
        async with client(retry_after_cap=10, deadline=None) as http:
            answer = await http.get(service.url)
            assert (429, asked, 1) == (answer.status_code, answer.headers["retry-after"], len(service.requests))


@pytest.mark.requirement("CA-65")
async def test_no_pause_outlasts_the_deadline(client) -> None:
    """A call that would end while it waits returns the answer that it has, or raises the error."""
    async with serving(script((503, b"", {"retry-after": "60"}))) as service:
        async with client(retry_after_cap=100, deadline=50) as http:
            assert 503 == (await http.get(service.url)).status_code
            assert 1 == len(service.requests)
    async with client(backoff_base=60, backoff_cap=60, deadline=29) as http:
        with pytest.raises(HttpUnavailableError) as raised:
            await http.get(f"http://127.0.0.1:{free_port()}")
        assert not isinstance(raised.value, HttpDeadlineError)


@pytest.mark.requirement("CA-62")
async def test_a_connection_that_is_closed_when_it_is_used_again(client) -> None:
    """The service closes an idle connection just as the next request arrives: a GET is repeated, and a POST is not."""
    lost = []

    async def cut(seen, stream):
        # The first request of a connection is answered, the second one finds it closed.
        lost.append(seen)
        return reply() if len(lost) != 2 else None

    async with serving(cut) as service, client(max_connections=1) as http:
        assert 200 == (await http.get(service.url)).status_code
        assert 200 == (await http.get(service.url)).status_code
        assert (2, 3) == (service.connections, len(service.requests))
    lost.clear()
    async with serving(cut) as service, client(max_connections=1) as http:
        assert 200 == (await http.get(service.url)).status_code
        with pytest.raises(TransientError):
            await http.post(service.url)
        assert 2 == len(service.requests)
        assert 200 == (await http.post(service.url)).status_code


@pytest.mark.requirement("CA-65")
async def test_a_full_pool_is_not_tried_again(client) -> None:
    """Waiting again would make a full pool fuller."""
    with capture_logs("bandmaster.http") as logs:
        async with serving(script(200)) as service, client(max_connections=1, pool_timeout=0.01) as http:
            async with http.stream("GET", service.url):
                with pytest.raises(HttpPoolTimeoutError):
                    await http.get(service.url)
    assert ["HTTP connection pool is full"] == [log["event"] for log in logs]


async def test_a_body_that_breaks_off_is_an_error(client) -> None:
    """The body has begun to reach the caller, so that nothing is repeated."""

    async def answer(seen, stream):
        await stream.send(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")

    async with serving(answer) as service, client() as http:
        with pytest.raises(HttpUnavailableError) as raised:
            await http.get(service.url)
        assert isinstance(raised.value, httpx2.RemoteProtocolError)
        async with http.stream("GET", service.url) as response:
            with pytest.raises(HttpUnavailableError):
                await response.aread()
        assert 2 == len(service.requests)
