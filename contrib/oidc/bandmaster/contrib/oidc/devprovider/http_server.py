"""A small HTTP/1.1 server: one request for each connection, all of them bounded in number, size and time."""

from __future__ import annotations

from collections.abc import Callable

import anyio
import h11
from anyio.abc import ByteStream, Listener

from bandmaster.contrib.oidc.devprovider.messages import Request, Response
from bandmaster.kernel import get_logger

_MOST_CONNECTIONS = 32
_MOST_BYTES = 64 * 1024
"""The largest body of a request."""
_SECONDS = 10
"""The longest time that a connection is served."""
_CHUNK = 16 * 1024
_BROKEN = (anyio.BrokenResourceError, anyio.ClosedResourceError, h11.RemoteProtocolError)


async def serve_http(listener: Listener[ByteStream], answer: Callable[[Request], Response]) -> None:
    """Answer requests until cancelled. A failure of ``answer`` is logged, and answered with 500."""
    places = anyio.Semaphore(_MOST_CONNECTIONS)

    async def serve(stream: ByteStream) -> None:
        async with places, stream:
            with anyio.move_on_after(_SECONDS):
                try:
                    await _serve_request(stream, answer)
                except _BROKEN:
                    pass  # the browser has gone, or speaks no HTTP

    await listener.serve(serve)


async def _serve_request(stream: ByteStream, answer: Callable[[Request], Response]) -> None:
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=_CHUNK)
    request = await _read_request(stream, connection)
    if request is None:
        return
    try:
        data = _render_response(connection, request, answer(request))
    except Exception as error:  # noqa: BLE001  # one request's failure must not end the server
        get_logger("bandmaster.oidc").error("the provider for development failed", path=request.path, exception=error)
        data = _render_response(connection, request, Response(500))
    await stream.send(data)


def _render_response(connection: h11.Connection, request: Request, response: Response) -> bytes:
    headers = {**response.headers, "content-length": str(len(response.body)), "connection": "close"}
    sent = connection.send(h11.Response(status_code=response.status, headers=list(headers.items())))
    body = b"" if request.method == "HEAD" else response.body
    return (sent or b"") + (connection.send(h11.Data(data=body)) or b"")


async def _read_request(stream: ByteStream, connection: h11.Connection) -> Request | None:
    """Read a whole request; None if the connection ends before, or the body is too large."""
    head: h11.Request | None = None
    body = bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            try:
                connection.receive_data(await stream.receive(_CHUNK))
            except anyio.EndOfStream:
                connection.receive_data(b"")
        elif isinstance(event, h11.Request):
            head = event
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > _MOST_BYTES:
                return None
        elif isinstance(event, h11.EndOfMessage) and head is not None:
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}
            return Request(head.method.decode("latin-1"), head.target.decode("latin-1"), headers, bytes(body))
        else:
            return None
