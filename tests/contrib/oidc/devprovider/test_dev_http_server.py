"""The small HTTP server of the provider for development."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import httpx2
import pytest
from tests.logged import capture_logs

from bandmaster.contrib.oidc.devprovider.http_server import serve_http
from bandmaster.contrib.oidc.devprovider.messages import Request, Response

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def serving(answer) -> AsyncIterator[int]:
    """The port of a server for the time of the block."""
    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(serve_http, listener, answer)
        yield listener.extra(anyio.abc.SocketAttribute.local_port)
        tasks.cancel_scope.cancel()


def echo(request: Request) -> Response:
    """Answer with the parts of the request."""
    text = f"{request.method} {request.target} {request.headers.get('x-test')} {request.body.decode()}"
    return Response(201, {"x-kind": "echo"}, text.encode())


async def send_raw(port: int, data: bytes) -> bytes:
    """Send bytes, and return all bytes that come back."""
    received = b""
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(data)
        try:
            while True:
                received += await stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            return received


async def test_a_request_is_answered() -> None:
    """Method, target, headers and body arrive, and so does the response."""
    async with serving(echo) as port, httpx2.AsyncClient(trust_env=False) as client:
        response = await client.post(f"http://127.0.0.1:{port}/a?b=c", content=b"body", headers={"X-Test": "kept"})
    assert (201, "echo", "POST /a?b=c kept body") == (response.status_code, response.headers["x-kind"], response.text)


async def test_a_body_in_chunks_arrives_whole() -> None:
    """Clients may not know the length beforehand."""

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"piece"

    async with serving(echo) as port, httpx2.AsyncClient(trust_env=False) as client:
        response = await client.post(f"http://127.0.0.1:{port}/", content=pieces())
    assert response.text.endswith("piecepiecepiece")


async def test_many_connections_are_served() -> None:
    """Those that say nothing hold nobody up, below the limit."""
    async with serving(echo) as port, httpx2.AsyncClient(trust_env=False) as client:
        idle = [await anyio.connect_tcp("127.0.0.1", port) for _ in range(8)]
        statuses = []

        async def ask() -> None:
            statuses.append((await client.get(f"http://127.0.0.1:{port}/")).status_code)

        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(ask)
        for stream in idle:
            await stream.aclose()
    assert [201] * 20 == statuses


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\n" + b"x: y\r\n" * 10_000,
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\n" + b"x" * 100_000,
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nxxx",
    ],
)
async def test_bad_requests_end_their_connection_only(data: bytes) -> None:
    """Neither garbage nor a body that is too large reaches the provider, and the next request is served."""
    reached = []

    def answer(request: Request) -> Response:
        reached.append(request)
        return Response(200)

    async with serving(answer) as port:
        assert b"" == await send_raw(port, data)
        assert [] == reached
        assert b"200" in await send_raw(port, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")


async def test_a_response_that_cannot_be_sent_ends_one_request() -> None:
    """A header with other characters than HTTP has gives 500, and the server goes on."""
    answers = [Response(303, {"location": "http://localhost/ü"}), Response(204)]
    with capture_logs() as entries:
        async with serving(lambda _: answers.pop(0)) as port, httpx2.AsyncClient(trust_env=False) as client:
            statuses = [(await client.get(f"http://127.0.0.1:{port}/authorize")).status_code for _ in range(2)]
    assert [500, 204] == statuses
    assert ["the provider for development failed"] == [entry["event"] for entry in entries]


async def test_a_failure_is_logged_and_answered() -> None:
    """One request gets 500, and the log has the reason without the request's secrets."""

    def fail(_request: Request) -> Response:
        raise RuntimeError("broken")

    with capture_logs() as entries:
        async with serving(fail) as port, httpx2.AsyncClient(trust_env=False) as client:
            response = await client.get(f"http://127.0.0.1:{port}/token?code=hidden")
            again = await client.get(f"http://127.0.0.1:{port}/token")
    assert [500, 500] == [response.status_code, again.status_code]
    assert ["/token", "/token"] == [entry["path"] for entry in entries]
    assert "RuntimeError: broken" in entries[0]["exception"]
    assert "hidden" not in str(entries)
