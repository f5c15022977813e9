"""An application whose requests log from everywhere, for the tests of the log under real servers."""

import asyncio
import logging
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import structlog
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute

from bandmaster.contrib.logging import access_events, redactor
from bandmaster.contrib.logging import logging as log_component
from bandmaster.contrib.web import (
    AccessLogLayer,
    ProblemsLayer,
    RequestContextLayer,
    bind,
    http_exception,
    keep_context,
    set_tenant,
    set_user,
    transient_error,
    unhandled_error,
)
from bandmaster.kernel import create_app

log = structlog.get_logger()
standard = logging.getLogger("shop.standard")


async def home(request):
    """Log with both libraries."""
    log.info("native event", order=7)
    standard.info("standard event")
    return PlainTextResponse("home")


async def fail(request):
    """Fail with a secret in a local variable and one in the message."""
    password = os.environ.get("PLANTED", "planted")  # noqa: F841  # what a traceback must not show
    raise LookupError(f"no such thing at postgresql://shop:{os.environ.get('PLANTED', 'planted')}@db/shop")


async def binds(request):
    """Bind from the handler, from a task, from a thread of asyncio and from one of a pool."""
    set_tenant("t-1")
    set_user("u-1")

    async def bind_in_task():
        bind(task=1)

    def bind_in_thread():
        bind(thread=2)
        log.info("in a thread")

    await asyncio.create_task(bind_in_task())
    await asyncio.to_thread(bind_in_thread)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(keep_context(bind), pool=3, api_key="planted").result()
    return PlainTextResponse("bound")


async def many(request):
    """Log a lot."""
    for number in range(int(request.query_params.get("count", "100"))):
        log.info("one of many", number=number, text="x" * int(request.query_params.get("size", "100")))
    return PlainTextResponse(str(threading.active_count()))


async def talk(socket):
    """Accept, and answer one message."""
    await socket.accept()
    await socket.send_text(await socket.receive_text())
    log.info("talked")
    await socket.close()


def app():
    """The application."""
    routes = [Route("/", home), Route("/fail", fail), Route("/binds/{number}", binds), Route("/many", many)]
    routes.append(Route("/metrics", home))
    routes.append(WebSocketRoute("/talk", talk))
    layers = [AccessLogLayer, ProblemsLayer, RequestContextLayer, http_exception, transient_error, unhandled_error]
    components = [] if os.environ.get("WITHOUT_LOG") else [redactor, log_component, access_events]
    return create_app(Starlette(routes=routes), discover=False, contributions=[*components, *layers])
