"""Hosts of every kind that raise an exception, with the web parts around them."""

from __future__ import annotations

from importlib.metadata import distribution
from typing import Any

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from bandmaster.contrib.web import ProblemError, WebSettings
from bandmaster.kernel import KernelSettings, TransientError, create_app
from bandmaster.kernel.testing import run

WEB = [point.load() for point in distribution("bandmaster-web").entry_points]
QUIET = WebSettings(access_log="off", cors_origins=("https://shop.example",))
SECRET = "hunter2"
ORIGIN = {"origin": "https://shop.example"}


class SoldOut(ProblemError):
    status_code = 409
    type = "https://example.com/problems/sold-out"
    title = "Sold out"


class ForeignError(Exception):
    left = 2


def transient(seconds: float | None) -> TransientError:
    error = TransientError(SECRET)
    error.retry_after = seconds
    return error


def build_host(kind: str, error: Exception) -> Any:
    """A host of one kind that raises this exception for every path."""

    async def endpoint(request: Request) -> PlainTextResponse:
        raise error

    async def bare(scope, receive, send) -> None:
        if scope["type"] == "lifespan":
            raise RuntimeError
        raise error

    if kind == "bare":
        return bare
    if kind == "fastapi":
        host = FastAPI()
        host.add_route("/", endpoint)
        return host
    return Starlette(routes=[Route("/", endpoint)])


def compose(host: Any, *parts: Any, debug: bool = False, without: tuple[str, ...] = ()) -> Any:
    return create_app(
        host,
        contributions=[*WEB, *parts],
        discover=False,
        disable=without,
        overrides={WebSettings: QUIET},
        settings=KernelSettings(debug=debug, retry_after=7),
    )


async def fetch(app: Any, path: str = "/", **headers: str) -> Any:
    """The response that the client gets, also if the exception goes on to the server."""
    async with run(app, raise_app_exceptions=False, timeout=60) as running:
        return await running.client.get(path, headers={**ORIGIN, **headers})


HOSTS = ("starlette", "fastapi", "bare")


def build_socket_host(kind: str, error: Exception, *, accepting: bool) -> Any:
    """A host of one kind that raises this exception for every WebSocket."""

    async def endpoint(websocket: WebSocket) -> None:
        if accepting:
            await websocket.accept()
        raise error

    async def bare(scope, receive, send) -> None:
        await endpoint(WebSocket(scope, receive, send))

    return bare if kind == "bare" else Starlette(routes=[WebSocketRoute("/", endpoint)])
