"""The application that the process tests serve; the variable SCENARIO selects its fault."""

import os
import time
from pathlib import Path

import anyio
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute

from bandmaster.kernel import Context, LifespanBand, create_app, lifespan

SCENARIO = os.environ.get("SCENARIO", "")
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


@lifespan(band=LifespanBand.PERSISTENCE, stop_timeout=1)
async def database():
    fact("start database")
    yield
    if SCENARIO == "slow rollback":
        await anyio.sleep(0.5)
    fact("stop database")


@lifespan(band=LifespanBand.SERVICES, start_timeout=60, stop_timeout=1)
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
        case "stop failure":
            raise RuntimeError("no luck in the end")
        case "slow stop":
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


async def socket(websocket):
    await websocket.accept()
    await websocket.send_text("welcome")
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
        WebSocketRoute("/ws", socket),
    ]
)
app = create_app(host, contributions=[database, service], discover=False)

if __name__ == "__main__":
    from bandmaster.kernel import end_process, serve

    end_process(serve(app))
