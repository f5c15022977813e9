"""Services and proxies on loopback, whose behaviour a test scripts, on asyncio and trio."""

from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import anyio
from anyio.streams.buffered import BufferedByteReceiveStream
from anyio.streams.tls import TLSStream

GONE = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.IncompleteRead, OSError)


@dataclass
class Seen:
    """One request, as a service has seen it."""

    method: str
    target: str
    headers: dict
    body: bytes


@dataclass
class Service:
    """A server that has recorded its requests."""

    port: int
    scheme: str = "http"
    requests: list = field(default_factory=list)
    connections: int = 0

    @property
    def url(self):
        return f"{self.scheme}://127.0.0.1:{self.port}"

    @property
    def host(self):
        return f"127.0.0.1:{self.port}"


def reply(status=200, body=b"", headers=()):
    """The bytes of an answer."""
    lines = [
        f"HTTP/1.1 {status} Scripted",
        f"content-length: {len(body)}",
        *(f"{k}: {v}" for k, v in dict(headers).items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def read_request(stream):
    """The next request of a connection; None when the client has closed it."""
    buffered = stream if isinstance(stream, BufferedByteReceiveStream) else BufferedByteReceiveStream(stream)
    try:
        head = (await buffered.receive_until(b"\r\n\r\n", 65536)).decode()
    except GONE:
        return None
    first, *lines = head.split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    method, target, _ = first.split(" ")
    body = await buffered.receive_exactly(int(headers.get("content-length", 0)))
    return Seen(method, target, headers, body)


@asynccontextmanager
async def serving(answer, tls=None):
    """A service that answers with the result of ``await answer(seen, stream)``; None closes the connection."""
    made = None

    async def serve(stream):
        made.connections += 1
        buffered = BufferedByteReceiveStream(stream)
        while seen := await read_request(buffered):
            made.requests.append(seen)
            sent = await answer(seen, stream)
            if sent is None:
                return
            await stream.send(sent)

    async with listening(serve, tls) as port:
        made = Service(port, "http" if tls is None else "https")
        yield made


@asynccontextmanager
async def proxying(user=None):
    """A proxy that forwards requests for http:// and tunnels those for https://."""
    made = None

    async def serve(stream):
        made.connections += 1
        buffered = BufferedByteReceiveStream(stream)
        while seen := await read_request(buffered):
            made.requests.append(seen)
            if user is not None and seen.headers.get("proxy-authorization") != user:
                await stream.send(reply(407))
                return
            if seen.method == "CONNECT":
                await tunnel(stream, buffered, seen.target)
                return
            await stream.send(await forward(seen))

    async with listening(serve) as port:
        made = Service(port)
        yield made


async def forward(seen):
    place, _, path = seen.target.removeprefix("http://").partition("/")
    host, _, port = place.partition(":")
    lines = [f"{seen.method} /{path} HTTP/1.1", *(f"{name}: {value}" for name, value in seen.headers.items())]
    async with await anyio.connect_tcp(host, int(port)) as there:
        await there.send("\r\n".join([*lines, "", ""]).encode() + seen.body)
        buffered = BufferedByteReceiveStream(there)
        head = await buffered.receive_until(b"\r\n\r\n", 65536)
        length = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
        return head + b"\r\n\r\n" + await buffered.receive_exactly(int(length.partition(b":")[2]))


async def tunnel(stream, buffered, target):
    host, _, port = target.partition(":")
    async with await anyio.connect_tcp(host, int(port)) as there:
        await stream.send(b"HTTP/1.1 200 Connected\r\n\r\n")

        async def copy(source, sink, group):
            with suppress(*GONE):
                while True:
                    await sink.send(await source.receive())
            group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            group.start_soon(copy, buffered, there, group)
            group.start_soon(copy, there, stream, group)


@asynccontextmanager
async def listening(serve, tls=None):
    """A listener on loopback, until the block ends."""

    async def accept(stream):
        with suppress(*GONE):
            async with stream:
                if tls is not None:
                    stream = await TLSStream.wrap(stream, server_side=True, ssl_context=tls, standard_compatible=False)
                await serve(stream)

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, accept)
        try:
            yield listener.extra(anyio.abc.SocketAttribute.local_port)
        finally:
            group.cancel_scope.cancel()
