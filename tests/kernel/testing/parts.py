"""Parts, and a host with one route for each kind of traffic, that the tests of the test kit run."""

import contextvars
from collections.abc import AsyncIterator

import anyio
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute

from bandmaster.kernel.contributions.bands import LifespanBand
from bandmaster.kernel.contributions.decorators import lifespan

VARIABLE = contextvars.ContextVar("variable", default="unset")


class Database:
    def __init__(self, url="real"):
        self.url = url
        self.open = True


class Cache:
    def __init__(self, database):
        self.database = database


@lifespan(band=LifespanBand.PERSISTENCE)
async def database() -> AsyncIterator[Database]:
    made = Database()
    await anyio.lowlevel.checkpoint()
    yield made
    await anyio.lowlevel.checkpoint()
    made.open = False


@lifespan(band=LifespanBand.SERVICES)
async def cache(database: Database) -> AsyncIterator[Cache]:
    await anyio.lowlevel.checkpoint()
    yield Cache(database)


async def show(request):
    body = await request.body()
    return JSONResponse(
        {
            "method": request.method,
            "path": request.url.path,
            "query": request.url.query,
            "headers": dict(request.headers),
            "body": body.decode(),
            "cookies": request.cookies,
            "state": sorted(request.state._state),
            "client": request.client.host,
            "url": str(request.url),
        }
    )


async def variable(request):
    before = VARIABLE.get()
    VARIABLE.set("set by a request")
    return PlainTextResponse(before)


async def database_url(request):
    return PlainTextResponse(request.state.resources[Database].url)


async def cookies(request):
    response = PlainTextResponse("ok")
    response.set_cookie("session", "abc")
    response.delete_cookie("old")
    return response


async def boom(request):
    raise LookupError("boom")


async def hang(request):
    await anyio.sleep_forever()


async def background(request):
    async def work():
        await anyio.sleep(0.01)
        request.app.state.done = True

    return PlainTextResponse("ok", background=BackgroundTask(work))


class RecordedStream(StreamingResponse):
    """A stream that closes its generator, which Starlette leaves to the collector, and records its end."""

    async def __call__(self, scope, receive, send):
        try:
            await super().__call__(scope, receive, send)
        finally:
            with anyio.CancelScope(shield=True):
                await self.body_iterator.aclose()
            scope["app"].state.seen.append("end")


async def stream(request):
    seen = request.app.state.seen = []

    async def chunks():
        for number in range(1000):
            seen.append(number)
            yield b"%d;" % number
            await anyio.sleep(0.001)

    return RecordedStream(chunks())


async def broken(request):
    async def chunks():
        yield b"some"
        raise LookupError("broken")

    return StreamingResponse(chunks(), media_type="text/plain")


async def upload(request):
    pieces = request.app.state.pieces = []
    async for piece in request.stream():
        pieces.append(piece)
    return PlainTextResponse("ok")


async def echo(socket):
    await socket.accept(subprotocol=(socket.scope["subprotocols"] or [None])[-1], headers=[(b"x-seen", b"yes")])
    socket.app.state.ended = None
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            socket.app.state.ended = (message["code"], message["reason"])
            return
        if message.get("text") == "close":
            await socket.close(4000, "as you wish")
        elif message.get("text") == "boom":
            raise LookupError("boom")
        elif message.get("text") == "return":
            return
        elif message.get("text") is not None:
            await socket.send_text(message["text"])
        else:
            await socket.send_bytes(message["bytes"])


async def refuse(socket):
    await socket.receive()
    await socket.close(4001, "no")


async def deny(socket):
    await socket.receive()
    await socket.send_denial_response(JSONResponse({"why": "not you"}, status_code=401))


async def greet(socket):
    await socket.accept()
    await socket.send_json({"hello": "you"})
    await socket.close()


async def lazy(socket):
    await socket.receive()


def host():
    methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
    app = Starlette(
        routes=[
            Route("/show", show, methods=methods),
            Route("/show/{rest:path}", show),
            Route("/variable", variable),
            Route("/database", database_url),
            Route("/cookies", cookies),
            Route("/boom", boom),
            Route("/hang", hang),
            Route("/background", background),
            Route("/stream", stream),
            Route("/broken", broken),
            Route("/upload", upload, methods=["POST"]),
            WebSocketRoute("/echo", echo),
            WebSocketRoute("/refuse", refuse),
            WebSocketRoute("/deny", deny),
            WebSocketRoute("/greet", greet),
            WebSocketRoute("/lazy", lazy),
            Mount("/sub", routes=[Route("/show", show)]),
        ]
    )
    return app
