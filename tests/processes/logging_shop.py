"""An application with failing requests, or with a failing start, for the tests of the log."""

import os
from collections.abc import AsyncIterator

import anyio
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
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


async def greet_late(socket):
    # Until the client has left.
    await anyio.sleep(0.5)
    await socket.accept()
    await socket.receive_text()


def app():
    routes = [Route("/", home), Route("/fail", fail), WebSocketRoute("/late", greet_late)]
    layers = [AccessLogLayer, ProblemsLayer, RequestContextLayer] if os.environ.get("LAYERS") else []
    handlers = [http_exception, transient_error, unhandled_error] if layers else []
    return create_app(Starlette(routes=routes), discover=False, contributions=[queue, *layers, *handlers])
