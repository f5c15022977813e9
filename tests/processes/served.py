"""The application that the process tests serve; the variable SCENARIO selects its fault."""

import logging
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute

from bandmaster.kernel import Context, LifespanBand, create_app, lifespan

SCENARIO = os.environ.get("SCENARIO", "")
if os.environ.get("SERVER") != "launcher":
    # Other servers configure their own logs only.
    logging.getLogger("bandmaster").addHandler(logging.StreamHandler())
    logging.getLogger("bandmaster").setLevel(logging.INFO)
RELEASE = Path(os.environ["FACTS"]).with_name("release")
"""A file that the test makes, to let the requests to /held end."""


def fact(text):
    """Append one line in one system call, so that a killed process leaves no half line."""
    descriptor = os.open(os.environ["FACTS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{text}\n".encode())
    os.close(descriptor)


async def ignore_cancellation():
    while True:
        try:
            await anyio.sleep(60)
        except BaseException:  # no component should do this
            with anyio.CancelScope(shield=True):
                await anyio.sleep(60)


class Database:
    """The resource that streams use."""

    is_open = True

    def read(self):
        if not self.is_open:
            fact("a stream used a closed database")
        return b"row "


@lifespan(band=LifespanBand.PERSISTENCE, stop_timeout=1)
async def database() -> AsyncIterator[Database]:
    fact("start database")
    opened = Database()
    yield opened
    if SCENARIO == "slow rollback":
        await anyio.sleep(0.5)
    opened.is_open = False
    fact("stop database")


@lifespan(band=LifespanBand.SERVICES, start_timeout=1 if SCENARIO.startswith("block") else 60, stop_timeout=1)
async def service(context: Context):
    async def record_drain():
        fact("drain hook")

    context.on_drain(record_drain)
    fact("start service")
    match SCENARIO:
        case "start failure":
            raise RuntimeError("no luck today")
        case "hanging start" | "slow rollback":
            await anyio.sleep(60)
        case "blocking start":
            time.sleep(4)
        case "blocked start":
            time.sleep(60)
        case "stubborn start":
            await ignore_cancellation()
    if SCENARIO == "crash":
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(crash)
            yield
            tasks.cancel_scope.cancel()
    else:
        yield
    match SCENARIO:
        case "blocking stop for a while":
            time.sleep(2)
        case "stop failure":
            raise RuntimeError("no luck in the end")
        case "slow stop":
            fact("slow stop")
            await anyio.sleep(0.5)
        case "hanging stop":
            fact("hang")
            await anyio.sleep(60)
        case "stubborn stop":
            fact("hang")
            await ignore_cancellation()
        case "blocking stop":
            fact("hang")
            time.sleep(60)
    fact("stop service")


async def crash():
    crashing = host.state.crashing = anyio.Event()
    await crashing.wait()
    raise RuntimeError("died while serving")


async def trigger_crash(request):
    request.app.state.crashing.set()
    return PlainTextResponse("soon")


async def hello(request):
    return PlainTextResponse("hello")


async def held(request):
    fact("request began")
    try:
        while not RELEASE.exists():
            await anyio.sleep(0.02)
    except BaseException:
        fact("request cut")
        raise
    fact("request ended")
    return PlainTextResponse("done")


async def stream(request):
    async def chunks():
        for _ in range(200):
            yield b"."
            if request.state.drain.begun:
                yield b"bye"
                return
            with anyio.move_on_after(0.05):
                await request.state.drain.wait()

    return StreamingResponse(chunks(), media_type="text/plain")


async def endless(request):
    """A stream that knows nothing of the drain."""
    rows = request.state.resources[Database]

    async def chunks():
        try:
            while True:
                yield rows.read()
                await anyio.sleep(0.02)
        finally:
            fact("endless stream ended")

    return StreamingResponse(chunks(), media_type="text/plain")


async def download(request):
    """A stream that knows nothing of the drain either, but has an end."""

    async def chunks():
        while not RELEASE.exists():
            yield b"."
            await anyio.sleep(0.02)
        yield b"end"

    return StreamingResponse(chunks(), media_type="text/plain")


class Deaf:
    """A stream that never asks whether the client is there."""

    async def __call__(self, scope, receive, send):
        rows = scope["state"]["resources"][Database]
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
        try:
            while True:
                await send({"type": "http.response.body", "body": rows.read(), "more_body": True})
                await anyio.sleep(0.02)
        finally:
            await anyio.sleep(0)
            fact("deaf stream ended")


def feed(request):
    """An event stream of sse-starlette."""
    from sse_starlette import EventSourceResponse

    async def numbers():
        while True:
            yield {"data": "number"}
            await anyio.sleep(0.02)

    return EventSourceResponse(numbers())


def polite_feed(request):
    """An event stream of sse-starlette that says goodbye when the server is to exit."""
    from sse_starlette import EventSourceResponse

    exiting = anyio.Event()

    async def numbers():
        while not exiting.is_set():
            yield {"data": "number"}
            await anyio.sleep(0.02)
        yield {"data": "bye"}

    return EventSourceResponse(numbers(), shutdown_event=exiting, shutdown_grace_period=2)


async def kept(request):
    return PlainTextResponse("kept", headers={"Connection": "keep-alive"})


async def late_socket(websocket):
    fact("handshake began")
    while not RELEASE.exists():
        await anyio.sleep(0.02)
    await websocket.accept()
    async for _ in websocket.iter_text():
        pass


async def socket(websocket):
    await websocket.accept()
    await websocket.send_text("welcome")
    fact("socket opened")
    try:
        while True:
            await websocket.receive_text()
    except Exception:
        fact("socket closed")


host = Starlette(
    routes=[
        Route("/", hello),
        Route("/held", held),
        Route("/stream", stream),
        Route("/crash", trigger_crash),
        Route("/endless", endless),
        Route("/download", download),
        Route("/deaf", Deaf()),
        Route("/feed", feed),
        Route("/polite-feed", polite_feed),
        Route("/kept", kept),
        WebSocketRoute("/ws", socket),
        WebSocketRoute("/late", late_socket),
    ]
)
app = create_app(host, contributions=[database, service], discover=False)

if __name__ == "__main__":
    from bandmaster.kernel import end_process, serve

    end_process(serve(app))
