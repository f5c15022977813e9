"""Documents fetched from real servers on this machine, some of them hostile."""

import gzip
import json
from contextlib import asynccontextmanager

import anyio
import httpx2
import pytest

from bandmaster.contrib.oidc import AuthUnavailableError, ProviderRefusedError
from bandmaster.contrib.oidc.issuers.documents import fetch_bytes, parse_document

pytestmark = pytest.mark.anyio

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
BODY = json.dumps({"keys": []}).encode()


@asynccontextmanager
async def server(answer):
    """A server whose ``answer`` is bytes or an async function of the connection, with the requests that it got."""
    requests = []

    async def handle(connection):
        async with connection:
            requests.append(await connection.receive())
            try:
                await (connection.send(answer) if isinstance(answer, bytes) else answer(connection))
            except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                pass  # the client has hung up

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, handle)
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        yield f"http://127.0.0.1:{port}/keys", requests
        tasks.cancel_scope.cancel()


async def fetch(url, *, max_bytes=10_000, seconds=30):
    async with httpx2.AsyncClient(trust_env=False) as client:
        return await fetch_bytes(client, url, max_bytes=max_bytes, seconds=seconds)


async def test_a_document_is_fetched() -> None:
    """The body arrives as it is, and nothing but JSON without compression is asked for."""
    async with server(HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY) as (url, requests):
        assert {"keys": []} == parse_document(await fetch(url), url)
    request = requests[0].lower()
    assert b"accept-encoding: identity\r\n" in request
    assert b"cookie" not in request
    assert b"authorization" not in request


@pytest.mark.requirement("AU-10")
async def test_a_redirect_is_not_followed() -> None:
    """The second server, which a redirect leads to, gets no request. The error names the remedy."""
    async with server(HEAD + b"\r\n") as (inside, inner):
        location = f"HTTP/1.1 302 Found\r\nLocation: {inside}\r\nContent-Length: 0\r\n\r\n".encode()
        async with server(location) as (url, _):
            with pytest.raises(ProviderRefusedError, match="redirects, and redirects aren't followed"):
                await fetch(url)
    assert [] == inner


# On trio the client library leaves a generator to the collector, of which trio warns.
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_an_endless_document_is_cut_off() -> None:
    """No more is read than the bound, however much the server sends."""

    async def stream(connection):
        await connection.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        while True:
            await connection.send(b"1000\r\n" + b" " * 4096 + b"\r\n")

    async with server(stream) as (url, _):
        with pytest.raises(ProviderRefusedError, match="more than 10000 bytes"):
            await fetch(url)


async def test_a_document_that_expands_is_refused() -> None:
    """A compressed body isn't asked for, and isn't decompressed."""
    bomb = gzip.compress(b" " * 10_000_000)
    answer = HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb) + bomb
    async with server(answer) as (url, _):
        with pytest.raises(ProviderRefusedError, match="is compressed"):
            await fetch(url, max_bytes=100_000_000)


async def test_a_document_that_trickles_is_given_up() -> None:
    """The time is for all of the document, not for each byte."""

    async def trickle(connection):
        await connection.send(HEAD + b"Content-Length: 1000\r\n\r\n")
        while True:
            await connection.send(b" ")
            await anyio.sleep(0.01)

    async with server(trickle) as (url, _):
        with pytest.raises(AuthUnavailableError, match=r"doesn't answer within 0\.3 s"):
            await fetch(url, seconds=0.3)


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", b"SSH-2.0-OpenSSH\r\n"])
async def test_a_broken_answer_is_an_outage(answer) -> None:
    """A connection that is closed too early, and another protocol, raise this package's error."""
    async with server(answer) as (url, _):
        with pytest.raises(AuthUnavailableError, match="can't be reached") as unavailable:
            await fetch(url)
    assert url in str(unavailable.value)


async def test_a_refused_connection_is_an_outage() -> None:
    """No server listens at the address."""
    async with server(b"") as (url, _):
        pass
    with pytest.raises(AuthUnavailableError, match="can't be reached"):
        await fetch(url)


async def test_a_plain_server_behind_https_is_an_outage() -> None:
    """A TLS error is told with the address, too."""
    async with server(b"HTTP/1.1 400 Bad Request\r\n\r\n") as (url, _):
        with pytest.raises(AuthUnavailableError, match="can't be reached"):
            await fetch(url.replace("http:", "https:"))
