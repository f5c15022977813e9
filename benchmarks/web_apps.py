"""The applications of `bench_web.py`: bare frameworks, and one service with the same concerns in three forms."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Awaitable, Callable
from importlib.metadata import distribution

import concerns
import concerns_as_hooks
import concerns_as_layers
import concerns_by_hand
from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

ORIGINS = ("https://shop.example", "https://admin.example")
HOSTS = ("api.example", "127.0.0.1")
CHUNKS = 101
NULL = open(os.devnull, "w")  # noqa: SIM115, PTH123  # receives all access logs, and stays open


async def hello(request: Request) -> JSONResponse:
    return JSONResponse({"hello": "world"})


async def stream(request: Request) -> StreamingResponse:
    async def chunks():
        for _ in range(CHUNKS):
            yield b'{"hello": "world"}'

    return StreamingResponse(chunks())


async def cpu(request: Request) -> JSONResponse:
    return JSONResponse(time.process_time())


def starlette() -> Starlette:
    return Starlette(routes=[Route("/", hello), Route("/stream", stream), Route("/cpu", cpu)])


def with_headers() -> ASGIApp:
    """Starlette with the response headers of the nine concerns as constants.

    The difference to bare Starlette is the server's own cost of checking and writing these headers.
    """
    app = starlette()
    given = dict(concerns.REQUEST_HEADERS)
    headers = [
        *((name, os.urandom(16).hex().encode()) for name in (b"x-request-id", b"x-correlation-id")),
        (b"traceresponse", given[b"traceparent"]),
        (b"access-control-allow-origin", given[b"origin"]),
        (b"access-control-allow-credentials", b"true"),
        (b"vary", b"origin"),
        *concerns.SECURITY,
    ]

    async def add_headers(scope: Scope, receive: Receive, send: Send) -> None:
        def send_with_headers(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                message["headers"] += headers
            return send(message)

        await app(scope, receive, send_with_headers)

    return add_headers


def bandmaster(host: ASGIApp | None = None) -> ASGIApp:
    """A service with the web package as it is installed."""
    from bandmaster.contrib.web import WebSettings
    from bandmaster.kernel import create_app

    settings = WebSettings(cors_origins=ORIGINS, allowed_hosts=HOSTS, access_log="json")
    return create_app(
        host or starlette(),
        contributions=[point.load() for point in distribution("bandmaster-web").entry_points],
        discover=False,
        overrides={WebSettings: settings},
    )


def nine_concerns() -> ASGIApp:
    """The nine hook layers of `concerns_as_hooks.py` in a composed application. Their log lines are dropped."""
    from bandmaster.kernel import MiddlewareBand, MiddlewareContribution, create_app

    layers = [
        MiddlewareContribution(name=f"at_{place}_{layer.__name__}", layer=layer, band=MiddlewareBand.CONTEXT)
        for place, layer in enumerate(concerns_as_hooks.HOOKS)
    ]
    return create_app(starlette(), contributions=layers, discover=False)


class LogLayer(concerns_as_layers.Layer):
    """One line of JSON for each request, with the standard library's encoder."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.perf_counter()
        status = 500
        size = 0

        async def send_wrapper(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
            elif message["type"] == "http.response.body":
                size += len(message.get("body", b""))
            await send(message)

        try:
            await self.app(scope, receive, send_wrapper)
        finally:
            route = scope.get("route")
            record = {
                "event": "request",
                "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "method": scope["method"],
                "path": scope["path"],
                "route": getattr(route, "path", None),
                "status": status,
                "duration": time.perf_counter() - began,
                "bytes_sent": size,
                "client": scope["client"][0] if scope.get("client") else None,
                "request_id": concerns_as_layers.request_id_var.get(),
            }
            NULL.write(json.dumps(record) + "\n")


def idiomatic(app: ASGIApp | None = None) -> ASGIApp:
    """Nested layers with the same concerns, written as documentation shows layers."""
    app = concerns_as_layers.BodyLimitLayer(app or starlette())
    app = TrustedHostMiddleware(app, allowed_hosts=list(HOSTS))
    app = concerns_as_layers.SecurityLayer(app)
    app = CORSMiddleware(app, allow_origins=list(ORIGINS), allow_methods=["*"], allow_headers=["*"])
    app = concerns_as_layers.ErrorLayer(app)
    app = LogLayer(app)
    app = concerns_as_layers.ContextLayer(app)
    return concerns_as_layers.RequestIdLayer(app)


def packages(app: ASGIApp | None = None) -> ASGIApp:
    """Packages with the same concerns, where there are some."""
    import structlog
    from asgi_correlation_id import CorrelationIdMiddleware
    from asgi_correlation_id.context import correlation_id
    from starlette_context import plugins
    from starlette_context.middleware import RawContextMiddleware

    log = structlog.wrap_logger(
        structlog.WriteLogger(NULL),
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.JSONRenderer(),
        ],
    )

    class LogLayer(concerns_as_layers.Layer):
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await self.app(scope, receive, send)
                return
            began = time.perf_counter()
            status = 500

            async def send_wrapper(message: Message) -> None:
                nonlocal status
                if message["type"] == "http.response.start":
                    status = message["status"]
                await send(message)

            try:
                await self.app(scope, receive, send_wrapper)
            finally:
                log.info(
                    "request",
                    method=scope["method"],
                    path=scope["path"],
                    status=status,
                    duration=time.perf_counter() - began,
                    client=scope["client"][0] if scope.get("client") else None,
                    request_id=correlation_id.get(),
                )

    app = concerns_as_layers.BodyLimitLayer(app or starlette())
    app = TrustedHostMiddleware(app, allowed_hosts=list(HOSTS))
    app = concerns_as_layers.SecurityLayer(app)
    app = CORSMiddleware(app, allow_origins=list(ORIGINS), allow_methods=["*"], allow_headers=["*"])
    app = LogLayer(app)
    app = RawContextMiddleware(app, plugins=(plugins.RequestIdPlugin(), plugins.UserAgentPlugin()))
    return CorrelationIdMiddleware(app)


def fastapi() -> ASGIApp:
    from fastapi import FastAPI

    app = FastAPI()

    @app.get("/")
    async def hello() -> dict[str, str]:
        return {"hello": "world"}

    @app.get("/cpu")
    async def cpu() -> float:
        return time.process_time()

    return app


def litestar() -> ASGIApp:
    from litestar import Litestar, get

    @get("/")
    async def hello() -> dict[str, str]:
        return {"hello": "world"}

    @get("/cpu")
    async def cpu() -> float:
        return time.process_time()

    return Litestar([hello, cpu])


APPS: dict[str, Callable[[], ASGIApp]] = {
    "Starlette": starlette,
    "Starlette, with the headers of the nine": with_headers,
    "bandmaster": bandmaster,
    "idiomatic layers": idiomatic,
    "nine lean concerns, bandmaster": nine_concerns,
    "nine lean concerns, idiomatic": lambda: concerns_as_layers.idiomatic(starlette()),
    "nine lean concerns, by hand in one function": lambda: concerns_by_hand.by_hand(starlette()),
    "packages": packages,
    "FastAPI": fastapi,
    "bandmaster on FastAPI": lambda: bandmaster(fastapi()),
    "Litestar": litestar,
}

_name = os.environ.get("BENCH_APP")
if _name is not None:
    app = APPS[_name]()
