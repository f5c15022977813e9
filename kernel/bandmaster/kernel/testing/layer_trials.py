"""Requests that every layer must let through, and the host that answers them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from starlette.types import Receive, Scope, Send

from bandmaster.kernel.testing.connection import read_chunk
from bandmaster.kernel.testing.running import Running
from bandmaster.kernel.testing.websocket import WebSocketRefused


class HostError(Exception):
    """The error that the host raises at ``/fail``."""


async def host(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer, stream, fail or echo, by path."""
    if scope["type"] == "lifespan":
        raise NotImplementedError("no lifespan")
    if scope["type"] == "websocket":
        await _echo(receive, send)
        return
    if scope["path"] == "/fail":
        raise HostError("the application fails")
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"hello", "more_body": True})
    if scope["path"] == "/stream":
        while (await receive())["type"] != "http.disconnect":
            pass
        return
    await send({"type": "http.response.body", "body": b" world", "more_body": False})


async def _echo(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})


async def _try_request(running: Running) -> str:
    response = await running.client.get("/")
    encoded = "content-encoding" in response.headers
    changed = response.status_code == 200 and response.content != b"hello world" and not encoded
    return f"its body has become {response.content!r}" if changed else ""


async def _try_stream(running: Running) -> str:
    async with running.client.stream("GET", "/stream") as response:
        # A layer may delay a body that it compresses, but the client disconnects all the same.
        if response.status_code == 200 and "content-encoding" not in response.headers:
            await read_chunk(response)
    return ""


async def _try_error(running: Running) -> str:
    try:
        response = await running.client.get("/fail")
    except HostError:
        return ""
    return "" if response.status_code >= 400 else f"a {response.status_code} was made of it"


async def _try_websocket(running: Running) -> str:
    try:
        async with running.websocket("/") as socket:
            await socket.send_text("hello")
            answer = await socket.receive_text()
    except WebSocketRefused:
        return ""
    return "" if answer == "hello" else f"its message has become {answer!r}"


TRIALS: Mapping[str, Callable[[Running], Awaitable[str]]] = {
    "a request": _try_request,
    "a stream whose client leaves": _try_stream,
    "an error of the application": _try_error,
    "a WebSocket": _try_websocket,
}
"""The trials by the name of the traffic. Each returns what is wrong, or nothing."""
