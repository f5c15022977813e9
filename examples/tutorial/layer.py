"""Step 3: a layer of the request stack, for HTTP requests and WebSockets."""

from time import perf_counter

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from bandmaster.kernel import (
    Application,
    Exchange,
    MiddlewareBand,
    create_app,
    middleware,
)


@middleware(band=MiddlewareBand.OUTERMOST)
class Stopwatch:
    """Adds a header with the time until the response began."""

    def on_response_start(self, exchange: Exchange) -> None:
        milliseconds = (perf_counter() - exchange.began) * 1000
        exchange.set_header(b"x-took", b"%.1f ms" % milliseconds)


async def hello(request: Request) -> PlainTextResponse:
    return PlainTextResponse("Hello!")


async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(text)


def app() -> Application:
    host = Starlette(routes=[Route("/", hello), WebSocketRoute("/echo", echo)])
    return create_app(host, contributions=[Stopwatch])
