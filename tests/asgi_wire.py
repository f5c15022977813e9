"""ASGI cases that a client can observe, against a server that serves `site` behind some layers.

A case is a function of a port on loopback. ``WIRE_CASES`` has all of them by name.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import anyio
import websockets.exceptions
import websockets.sync.client
from starlette.types import Receive, Scope, Send

from bandmaster.kernel.stack.exchange import current_exchange

PATIENCE = 60.0
"""Seconds until a response that never comes fails a case, on a machine that is busy."""
HEADERS = [(b"content-type", b"text/plain")]
heard: dict[str, object] = {}


async def site(scope: Scope, receive: Receive, send: Send) -> None:
    """An application with a path for each case, which reports its observations at /heard."""
    if scope["type"] == "lifespan":
        for kind in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{kind}.complete"})
    elif scope["type"] == "websocket":
        await _websocket(scope["path"], receive, send)
    else:
        await _http(scope["path"], receive, send)


async def _http(path: str, receive: Receive, send: Send) -> None:
    if path == "/boom":
        raise RuntimeError("boom")
    if path == "/bare":
        await send({"type": "http.response.start", "status": 204})
        await send({"type": "http.response.body"})
        return
    body = b""
    if path == "/echo":
        more = True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
    elif path == "/heard":
        body = json.dumps(heard).encode()
    elif path.startswith("/who"):
        await anyio.sleep(0.05)
        exchange = current_exchange()
        body = b"" if exchange is None else exchange.path.encode()
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    if path in ("/stream", "/late", "/leave"):
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
    if path == "/stream":
        while "stream" not in heard:
            await anyio.sleep(0.01)
    elif path == "/release":
        heard["stream"] = True
    elif path == "/late":
        raise RuntimeError("late")
    elif path == "/leave":
        while (await receive())["type"] != "http.disconnect":
            pass
        heard["leave"] = True
        return
    await send({"type": "http.response.body", "body": body or b"two"})
    if path == "/work":
        await anyio.sleep(0.05)
        heard["work"] = current_exchange() is not None


async def _websocket(path: str, receive: Receive, send: Send) -> None:
    await receive()
    if path == "/refuse":
        await send({"type": "websocket.close", "code": 3000})
        return
    await send({"type": "websocket.accept", "subprotocol": "chat", "headers": [(b"x-room", b"1")]})
    if path == "/crash":
        raise RuntimeError("crash")
    for _ in range(2):
        message = await receive()
        await send({**message, "type": "websocket.send"})
    await send({"type": "websocket.close", "code": 3001, "reason": "enough"})


@contextlib.contextmanager
def asking(port: int, path: str, method: str = "GET", body: object = None) -> Iterator[http.client.HTTPResponse]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    with contextlib.closing(connection):
        connection.request(method, path, body=body)
        yield connection.getresponse()


def wait_for_report(port: int, name: str) -> object:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        with asking(port, "/heard") as response:
            known = json.loads(response.read())
        if name in known:
            return known[name]
        time.sleep(0.02)
    raise AssertionError(f"the application never reported {name}")


def start_without_headers(port: int) -> None:
    """A response without headers arrives."""
    with asking(port, "/bare") as response:
        assert (response.status, response.read()) == (204, b"")


def own_list_untouched(port: int) -> None:
    """The application's one list of headers is the same for every request."""
    counts = set()
    for _ in range(3):
        with asking(port, "/") as response:
            assert response.read() == b"two"
            counts.add(len(response.getheaders()))
    assert len(counts) == 1


def first_chunk_at_once(port: int) -> None:
    """The first piece of a stream arrives while the application waits to send the second."""
    with asking(port, "/stream") as response:
        assert response.read(3) == b"one"
        with asking(port, "/release") as release:
            assert release.status == 200
        assert response.read() == b"two"


def exception_before_start(port: int) -> None:
    """An exception before the response is one 500."""
    with asking(port, "/boom") as response:
        assert response.status == 500
        response.read()


def exception_after_start(port: int) -> None:
    """A response that has begun is cut off."""
    with asking(port, "/late") as response, contextlib.suppress(http.client.IncompleteRead, ConnectionError):
        assert response.status == 200
        assert response.read() == b"one"


def client_disconnect(port: int) -> None:
    """The application is notified when a client disconnects during a stream."""
    with asking(port, "/leave") as response:
        assert response.read(3) == b"one"
    assert wait_for_report(port, "leave") is True


def background_work(port: int) -> None:
    """Background work is done after the response, in the context of the request."""
    with asking(port, "/work") as response:
        assert response.read() == b"two"
    assert wait_for_report(port, "work") is True


def request_body_in_pieces(port: int) -> None:
    """A body without a Content-Length arrives complete."""
    with asking(port, "/echo", "POST", iter([b"one", b"two" * 50_000])) as response:
        assert response.read() == b"one" + b"two" * 50_000


def contexts_apart(port: int) -> None:
    """Concurrent requests see their own exchange."""

    def visit(number: int) -> bytes:
        with asking(port, f"/who/{number}") as response:
            return response.read()

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(visit, range(16))) == [f"/who/{number}".encode() for number in range(16)]


def websocket_conversation(port: int) -> None:
    """Text and bytes come back, then the close with its code and reason."""
    with websockets.sync.client.connect(f"ws://127.0.0.1:{port}/chat", subprotocols=["chat"], proxy=None) as client:
        assert client.subprotocol == "chat"
        for message in ("hé", b"\x00\x01"):
            client.send(message)
            assert client.recv(PATIENCE) == message
        try:
            client.recv(PATIENCE)
        except websockets.exceptions.ConnectionClosed as closed:
            assert (closed.rcvd.code, closed.rcvd.reason) == (3001, "enough")


def websocket_refused(port: int) -> None:
    """A WebSocket that is closed before the accept gets 403."""
    try:
        with websockets.sync.client.connect(f"ws://127.0.0.1:{port}/refuse", proxy=None):
            raise AssertionError("it was accepted")
    except websockets.exceptions.InvalidStatus as refused:
        assert refused.response.status_code == 403


def websocket_exception(port: int) -> None:
    """A WebSocket whose handler fails ends in one of the ways of servers, and the server goes on."""
    with websockets.sync.client.connect(f"ws://127.0.0.1:{port}/crash", subprotocols=["chat"], proxy=None) as client:
        with contextlib.suppress(websockets.exceptions.ConnectionClosed):
            client.recv(PATIENCE)
            raise AssertionError("it went on")
    start_without_headers(port)


WIRE_CASES: dict[str, Callable[[int], None]] = {
    case.__name__: case
    for case in (
        start_without_headers,
        own_list_untouched,
        first_chunk_at_once,
        exception_before_start,
        exception_after_start,
        client_disconnect,
        background_work,
        request_body_in_pieces,
        contexts_apart,
        websocket_conversation,
        websocket_refused,
        websocket_exception,
    )
}
