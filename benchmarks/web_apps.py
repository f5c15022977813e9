"""The applications that `bench_web.py` measures: bare frameworks, and one service with the same concerns in three ways."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Awaitable, Callable
from importlib.metadata import distribution

import bench_stack
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
NULL = open(os.devnull, "w")  # noqa: SIM115, PTH123  # where access logs go, for as long as this runs


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
    """Starlette whose responses have the headers that the nine concerns give them, known beforehand.

    What a server takes to check and write those is nobody's to save.
    """
    app = starlette()
    given = dict(bench_stack.REQUEST_HEADERS)
    headers = [
        *((name, os.urandom(16).hex().encode()) for name in (b"x-request-id", b"x-correlation-id")),
        (b"traceresponse", given[b"traceparent"]),
        (b"access-control-allow-origin", given[b"origin"]),
        (b"access-control-allow-credentials", b"true"),
        (b"vary", b"origin"),
        *bench_stack.SECURITY,
    ]

    async def headed(scope: Scope, receive: Receive, send: Send) -> None:
        def sending(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                message["headers"] += headers
            return send(message)

        await app(scope, receive, sending)

    return headed


# -- ours, as it is installed -----------------------------------------------------------------------------------------


def bandmaster(host: ASGIApp | None = None) -> ASGIApp:
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
    """The nine lean hooks of `bench_stack.py` in an application of ours, their lines to nowhere."""
    from bandmaster.kernel import MiddlewareBand, MiddlewareContribution, create_app

    layers = [
        MiddlewareContribution(name=f"at_{place}_{layer.__name__}", layer=layer, band=MiddlewareBand.CONTEXT)
        for place, layer in enumerate(bench_stack.HOOKS)
    ]
    return create_app(starlette(), contributions=layers, discover=False)


# -- the same concerns, nested as documentation shows it -----------------------------------------------------------------


class LogLayer(bench_stack.Layer):
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
                "request_id": bench_stack.request_id_var.get(),
            }
            NULL.write(json.dumps(record) + "\n")


def idiomatic(app: ASGIApp | None = None) -> ASGIApp:
    app = bench_stack.BodyLimitLayer(app or starlette())
    app = TrustedHostMiddleware(app, allowed_hosts=list(HOSTS))
    app = bench_stack.SecurityLayer(app)
    app = CORSMiddleware(app, allow_origins=list(ORIGINS), allow_methods=["*"], allow_headers=["*"])
    app = bench_stack.ErrorLayer(app)
    app = LogLayer(app)
    app = bench_stack.ContextLayer(app)
    return bench_stack.RequestIdLayer(app)


# -- the same concerns, from packages where there are some ------------------------------------------------------------------


def packages(app: ASGIApp | None = None) -> ASGIApp:
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

    class Logged(bench_stack.Layer):
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

    app = bench_stack.BodyLimitLayer(app or starlette())
    app = TrustedHostMiddleware(app, allowed_hosts=list(HOSTS))
    app = bench_stack.SecurityLayer(app)
    app = CORSMiddleware(app, allow_origins=list(ORIGINS), allow_methods=["*"], allow_headers=["*"])
    app = Logged(app)
    app = RawContextMiddleware(app, plugins=(plugins.RequestIdPlugin(), plugins.UserAgentPlugin()))
    return CorrelationIdMiddleware(app)


# -- bare frameworks -------------------------------------------------------------------------------------------------------


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
    "nine lean concerns, idiomatic": lambda: bench_stack.idiomatic(starlette()),
    "nine lean concerns, by hand in one function": lambda: bench_stack.by_hand(starlette()),
    "packages": packages,
    "FastAPI": fastapi,
    "bandmaster on FastAPI": lambda: bandmaster(fastapi()),
    "Litestar": litestar,
}

_name = os.environ.get("BENCH_APP")
if _name is not None:
    app = APPS[_name]()
