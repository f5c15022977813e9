"""A service with all web parts, for pages of other origins to call."""

from importlib.metadata import distribution

import anyio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from bandmaster.kernel import create_app

WEB = [point.load() for point in distribution("bandmaster-web").entry_points]


async def items(request: Request) -> Response:
    return JSONResponse({"method": request.method, "token": request.headers.get("x-token")})


async def broken(request: Request) -> Response:
    raise RuntimeError("a secret")


async def upload(request: Request) -> Response:
    return PlainTextResponse(str(len(await request.body())))


async def page(request: Request) -> Response:
    return PlainTextResponse("framed")


async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(text)
    await anyio.sleep(0)


app = create_app(
    Starlette(
        routes=[
            Route("/items", items, methods=["GET", "PUT", "DELETE"]),
            Route("/broken", broken),
            Route("/upload", upload, methods=["POST"]),
            Route("/page", page),
            WebSocketRoute("/echo", echo),
        ]
    ),
    contributions=WEB,
    discover=False,
)
