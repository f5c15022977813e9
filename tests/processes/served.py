"""The application that the process tests serve; the variable SCENARIO says what goes wrong with it."""

import os
import time

import anyio
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute

from bandmaster.kernel import Context, LifespanBand, create_app, lifespan

SCENARIO = os.environ.get("SCENARIO", "")


def fact(text):
    """One line, written whole whatever the process does next."""
    descriptor = os.open(os.environ["FACTS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{text}\n".encode())
    os.close(descriptor)


async def ignore_cancellation():
    while True:
        try:
            await anyio.sleep(60)
        except BaseException:  # what no component should do
            with anyio.CancelScope(shield=True):
                await anyio.sleep(60)


@lifespan(band=LifespanBand.PERSISTENCE, stop_timeout=1)
async def database():
    fact("start database")
    yield
    fact("stop database")


@lifespan(band=LifespanBand.SERVICES, start_timeout=60, stop_timeout=1)
async def service(context: Context):
    async def told():
        fact("drain hook")

    context.on_drain(told)
    fact("start service")
    match SCENARIO:
        case "start failure":
            raise RuntimeError("no luck today")
        case "hanging start":
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


async def please_crash(request):
    request.app.state.crashing.set()
    return PlainTextResponse("soon")


async def hello(request):
    return PlainTextResponse("hello")


async def slow(request):
    seconds = float(request.query_params.get("seconds", "1.5"))
    fact("slow began")
    try:
        await anyio.sleep(seconds)
    except BaseException:
        fact("slow cut")
        raise
    fact("slow ended")
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
        fact("socket over")


host = Starlette(
    routes=[
        Route("/", hello),
        Route("/slow", slow),
        Route("/stream", stream),
        Route("/crash", please_crash),
        WebSocketRoute("/ws", socket),
    ]
)
app = create_app(host, contributions=[database, service], discover=False)

if __name__ == "__main__":
    from bandmaster.kernel import end_process, serve

    end_process(serve(app))
