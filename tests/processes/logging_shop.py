"""An application with failing requests, or with a failing start, for the tests of the log."""

import os
from collections.abc import AsyncIterator

import anyio
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute

from bandmaster.contrib.web import (
    AccessLogLayer,
    ProblemsLayer,
    RequestContextLayer,
    http_exception,
    transient_error,
    unhandled_error,
)
from bandmaster.kernel import LifespanBand, TransientError, create_app, lifespan


class Queue: ...


@lifespan(band=LifespanBand.MESSAGING)
async def queue() -> AsyncIterator[Queue]:
    """A queue that can't be reached, or has a fault in the code, if the environment says so."""
    match os.environ.get("FAULT"):
        case "operator":
            raise TransientError("the queue can't be reached: is QUEUE_URL right?")
        case "programmer":
            raise LookupError("no such queue")
    yield Queue()


async def home(request):
    return PlainTextResponse("home")


async def fail(request):
    raise LookupError("no such thing")


async def stream(request):
    async def generate():
        while True:
            yield b"more"
            await anyio.sleep(0.05)

    return StreamingResponse(generate())


class BreaksOff:
    """An app that leaves out the end of its response."""

    async def __call__(self, scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"some", "more_body": True})


async def greet_late(socket):
    # Until the client has left.
    await anyio.sleep(0.5)
    await socket.accept()
    await socket.receive_text()


def app():
    routes = [Route("/", home), Route("/fail", fail), WebSocketRoute("/late", greet_late)]
    routes += [Route("/stream", stream), Route("/breaks", BreaksOff())]
    layers = [AccessLogLayer, ProblemsLayer, RequestContextLayer] if os.environ.get("LAYERS") else []
    handlers = [http_exception, transient_error, unhandled_error] if layers else []
    return create_app(Starlette(routes=routes), discover=False, contributions=[queue, *layers, *handlers])
