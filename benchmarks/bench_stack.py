"""The request stack against the same nine concerns written as nested layers, and the cost of one more of each.

CPU time of the thread, rounds shuffled, medians, no server: applications are awaited in a row. Quote the ratios, never
the times. `python benchmarks/bench_stack.py [--rounds 15] [--requests 300]`
"""

from __future__ import annotations

import argparse
import asyncio
import contextvars
import gc
import json
import os
import random
import statistics
import time
from collections.abc import Awaitable, Callable
from types import FunctionType

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bandmaster.kernel.contributions.bands import MiddlewareBand
from bandmaster.kernel.contributions.model import MiddlewareContribution
from bandmaster.kernel.stack.build import BoundLayer, build
from bandmaster.kernel.stack.exchange import Exchange
from bandmaster.kernel.stack.headers import HeaderBlock

LIMIT = 1_000_000
CHUNKS = 101
ORIGINS = frozenset((b"https://shop.example", b"https://admin.example"))
ALLOWED = {
    origin: ((b"access-control-allow-origin", origin), (b"access-control-allow-credentials", b"true"))
    for origin in ORIGINS
}
SECURITY = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"strict-transport-security", b"max-age=31536000"),
)
SECURITY_TEXT = tuple((name.decode(), value.decode()) for name, value in SECURITY)
# What a browser sends with a cross-origin fetch.
REQUEST_HEADERS = [
    (b"host", b"api.example"),
    (b"connection", b"keep-alive"),
    (b"sec-ch-ua-platform", b'"Linux"'),
    (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/142.0.0.0 Safari/537.36"),
    (b"accept", b"application/json"),
    (b"sec-ch-ua", b'"Chromium";v="142"'),
    (b"sec-ch-ua-mobile", b"?0"),
    (b"traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
    (b"x-tenant", b"acme"),
    (b"origin", b"https://shop.example"),
    (b"sec-fetch-site", b"cross-site"),
    (b"sec-fetch-mode", b"cors"),
    (b"sec-fetch-dest", b"empty"),
    (b"referer", b"https://shop.example/"),
    (b"accept-encoding", b"gzip, deflate, br, zstd"),
    (b"accept-language", b"en-GB,en;q=0.9"),
]
CONTENT = b'{"hello": "world"}'


def sink(line: str) -> None:
    """Where log lines go."""


def line(
    method: str,
    path: str,
    status: int | None,
    duration: float,
    request_id: str | None,
    tenant: str | None,
    trace_id: str | None,
) -> str:
    """One line of JSON, made as cheaply as it can be made: its cost is the same for all."""
    return _LINE % (
        _escaped(method),
        _escaped(path),
        status,
        duration,
        _escaped(request_id or ""),
        _escaped(tenant or ""),
        _escaped(trace_id or ""),
    )


_escaped = json.encoder.encode_basestring_ascii
_LINE = (
    '{"event": "request", "method": %s, "path": %s, "status": %d, "duration": %.6f, '
    '"request_id": %s, "tenant": %s, "trace_id": %s}'
)


def problem(status: int) -> bytes:
    return b'{"type": "about:blank", "status": %d}' % status


async def refuse(send: Send, status: int) -> None:
    headers = [(b"content-type", b"application/problem+json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": problem(status)})


def limited(receive: Receive) -> Receive:
    received = 0

    async def receive_wrapper() -> Message:
        nonlocal received
        message = await receive()
        if message["type"] == "http.request":
            received += len(message.get("body", b""))
            if received > LIMIT:
                raise ValueError("body too large")
        return message

    return receive_wrapper


# Applications ---------------------------------------------------------------------------------------------------------


async def plain(scope: Scope, receive: Receive, send: Send) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", b"18")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": CONTENT})


async def streaming(scope: Scope, receive: Receive, send: Send) -> None:
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for _ in range(CHUNKS - 1):
        await send({"type": "http.response.body", "body": CONTENT, "more_body": True})
    await send({"type": "http.response.body", "body": CONTENT, "more_body": False})


def own(app: ASGIApp) -> ASGIApp:
    """The same application in code of its own, since the interpreter adapts code to whom it calls."""
    return FunctionType(app.__code__.replace(), app.__globals__)  # type: ignore[attr-defined]


# Nine concerns as hooks -----------------------------------------------------------------------------------------------


class RequestIdHooks:
    def on_request(self, exchange: Exchange) -> None:
        given = exchange.header(b"x-request-id")
        exchange.data["request_id"] = given.decode("latin-1") if given is not None else os.urandom(16).hex()

    def on_response_start(self, exchange: Exchange) -> None:
        exchange.set_header(b"x-request-id", exchange.data["request_id"].encode("latin-1"))


class ContextHooks:
    def on_request(self, exchange: Exchange) -> None:
        given = exchange.header(b"x-correlation-id")
        exchange.data["correlation_id"] = exchange.data["request_id"] if given is None else given.decode("latin-1")

    def on_response_start(self, exchange: Exchange) -> None:
        exchange.set_header(b"x-correlation-id", exchange.data["correlation_id"].encode("latin-1"))


class TenantHooks:
    def on_request(self, exchange: Exchange) -> None:
        tenant = exchange.header(b"x-tenant")
        exchange.data["tenant"] = None if tenant is None else tenant.decode("latin-1")


class TraceHooks:
    def on_request(self, exchange: Exchange) -> None:
        parent = exchange.header(b"traceparent")
        if parent is not None:
            _, exchange.data["trace_id"], exchange.data["parent_id"], _ = parent.decode("latin-1").split("-")

    def on_response_start(self, exchange: Exchange) -> None:
        parent = exchange.header(b"traceparent")
        if parent is not None:
            exchange.set_header(b"traceresponse", parent)


class LogHooks:
    def on_end(self, exchange: Exchange) -> None:
        data = exchange.data
        sink(
            line(
                exchange.method,
                exchange.path,
                exchange.status,
                (exchange.finished or time.perf_counter()) - exchange.began,
                data["request_id"],
                data["tenant"],
                data["trace_id"],
            )
        )


class ErrorHooks:
    def on_error(self, exchange: Exchange, error: Exception) -> None:
        if not exchange.started:
            exchange.respond(500, [(b"content-type", b"application/problem+json")], problem(500))


class CorsHooks:
    allowed = {origin: HeaderBlock(pairs) for origin, pairs in ALLOWED.items()}  # noqa: RUF012

    def on_response_start(self, exchange: Exchange) -> None:
        origin = exchange.header(b"origin")
        if origin is not None:
            allowed = self.allowed.get(origin)
            if allowed is not None:
                exchange.set_headers(allowed)
            exchange.vary(b"origin")


class SecurityHooks:
    block = HeaderBlock(SECURITY)

    def on_response_start(self, exchange: Exchange) -> None:
        exchange.default_headers(self.block)


class BodyLimitHooks:
    def on_request(self, exchange: Exchange) -> None:
        length = exchange.content_length
        if length is not None and length > LIMIT:
            exchange.respond(413, [(b"content-type", b"application/problem+json")], problem(413))
        exchange.limit_body(LIMIT)


HOOKS = (
    RequestIdHooks,
    ContextHooks,
    TenantHooks,
    TraceHooks,
    LogHooks,
    ErrorHooks,
    CorsHooks,
    SecurityHooks,
    BodyLimitHooks,
)


class OneMore:
    def on_request(self, exchange: Exchange) -> None:
        pass


def stack(app: ASGIApp, *layers: type) -> ASGIApp:
    bound = [
        BoundLayer(
            MiddlewareContribution(name=f"{layer.__name__}-{place}", layer=layer, band=MiddlewareBand.CONTEXT), {}
        )
        for place, layer in enumerate(layers)
    ]
    return build(bound, app).http


# The same concerns as documentation shows layers ----------------------------------------------------------------------

request_id_var: contextvars.ContextVar[str | None] = contextvars.ContextVar("request_id", default=None)
context_var: contextvars.ContextVar[dict[str, str] | None] = contextvars.ContextVar("context", default=None)
tenant_var: contextvars.ContextVar[str | None] = contextvars.ContextVar("tenant", default=None)
trace_var: contextvars.ContextVar[str | None] = contextvars.ContextVar("trace", default=None)


class Layer:
    def __init__(self, app: ASGIApp) -> None:
        self.app = app


class RequestIdLayer(Layer):
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        request_id = Headers(scope=scope).get("x-request-id") or os.urandom(16).hex()
        token = request_id_var.set(request_id)

        async def send_wrapper(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["x-request-id"] = request_id
            await send(message)

        try:
            await self.app(scope, receive, send_wrapper)
        finally:
            request_id_var.reset(token)


class ContextLayer(Layer):
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        correlation_id = Headers(scope=scope).get("x-correlation-id") or request_id_var.get() or ""
        token = context_var.set({"correlation_id": correlation_id})

        async def send_wrapper(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["x-correlation-id"] = correlation_id
            await send(message)

        try:
            await self.app(scope, receive, send_wrapper)
        finally:
            context_var.reset(token)


class TenantLayer(Layer):
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        token = tenant_var.set(Headers(scope=scope).get("x-tenant"))
        try:
            await self.app(scope, receive, send)
        finally:
            tenant_var.reset(token)


class TraceLayer(Layer):
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        parent = Headers(scope=scope).get("traceparent")
        trace_id = None
        if parent is not None:
            _, trace_id, _parent_id, _ = parent.split("-")
        token = trace_var.set(trace_id)

        async def send_wrapper(message: Message) -> None:
            if message["type"] == "http.response.start" and parent is not None:
                MutableHeaders(scope=message)["traceresponse"] = parent
            await send(message)

        try:
            await self.app(scope, receive, send_wrapper)
        finally:
            trace_var.reset(token)


class LogLayer(Layer):
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
            sink(
                line(
                    scope["method"],
                    scope["path"],
                    status,
                    time.perf_counter() - began,
                    request_id_var.get(),
                    tenant_var.get(),
                    trace_var.get(),
                )
            )


class ErrorLayer(Layer):
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False

        async def send_wrapper(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
            await send(message)

        try:
            await self.app(scope, receive, send_wrapper)
        except Exception:
            if started:
                raise
            await refuse(send, 500)


class CorsLayer(Layer):
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        origin = Headers(scope=scope).get("origin")
        if origin is None:
            await self.app(scope, receive, send)
            return

        async def send_wrapper(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if origin.encode() in ORIGINS:
                    headers["access-control-allow-origin"] = origin
                    headers["access-control-allow-credentials"] = "true"
                headers.add_vary_header("origin")
            await send(message)

        await self.app(scope, receive, send_wrapper)


class SecurityLayer(Layer):
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_wrapper(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_TEXT:
                    headers.setdefault(name, value)
            await send(message)

        await self.app(scope, receive, send_wrapper)


class BodyLimitLayer(Layer):
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        length = Headers(scope=scope).get("content-length")
        if length is not None and int(length) > LIMIT:
            await refuse(send, 413)
            return
        await self.app(scope, limited(receive), send)


LAYERS = (
    RequestIdLayer,
    ContextLayer,
    TenantLayer,
    TraceLayer,
    LogLayer,
    ErrorLayer,
    CorsLayer,
    SecurityLayer,
    BodyLimitLayer,
)


def idiomatic(app: ASGIApp) -> ASGIApp:
    for layer in reversed(LAYERS):
        app = layer(app)
    return app


# The same concerns as closures that save what can be saved ------------------------------------------------------------


def find(scope: Scope, name: bytes) -> bytes | None:
    for known, value in scope["headers"]:
        if known == name:
            return value
    return None


def lean_request_id(app: ASGIApp) -> ASGIApp:
    async def layer(scope: Scope, receive: Receive, send: Send) -> None:
        given = find(scope, b"x-request-id")
        request_id = given.decode("latin-1") if given is not None else os.urandom(16).hex()
        token = request_id_var.set(request_id)

        def send_wrapper(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                message["headers"].append((b"x-request-id", request_id.encode("latin-1")))
            return send(message)

        try:
            await app(scope, receive, send_wrapper)
        finally:
            request_id_var.reset(token)

    return layer


def lean_context(app: ASGIApp) -> ASGIApp:
    async def layer(scope: Scope, receive: Receive, send: Send) -> None:
        given = find(scope, b"x-correlation-id")
        correlation_id = (request_id_var.get() or "") if given is None else given.decode("latin-1")
        token = context_var.set({"correlation_id": correlation_id})

        def send_wrapper(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                message["headers"].append((b"x-correlation-id", correlation_id.encode("latin-1")))
            return send(message)

        try:
            await app(scope, receive, send_wrapper)
        finally:
            context_var.reset(token)

    return layer


def lean_tenant(app: ASGIApp) -> ASGIApp:
    async def layer(scope: Scope, receive: Receive, send: Send) -> None:
        tenant = find(scope, b"x-tenant")
        token = tenant_var.set(None if tenant is None else tenant.decode("latin-1"))
        try:
            await app(scope, receive, send)
        finally:
            tenant_var.reset(token)

    return layer


def lean_trace(app: ASGIApp) -> ASGIApp:
    async def layer(scope: Scope, receive: Receive, send: Send) -> None:
        parent = find(scope, b"traceparent")
        trace_id = None
        if parent is not None:
            _, trace_id, _parent_id, _ = parent.decode("latin-1").split("-")
        token = trace_var.set(trace_id)

        def send_wrapper(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start" and parent is not None:
                message["headers"].append((b"traceresponse", parent))
            return send(message)

        try:
            await app(scope, receive, send_wrapper)
        finally:
            trace_var.reset(token)

    return layer


def lean_log(app: ASGIApp) -> ASGIApp:
    async def layer(scope: Scope, receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        status = 500

        def send_wrapper(message: Message) -> Awaitable[None]:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            return send(message)

        try:
            await app(scope, receive, send_wrapper)
        finally:
            sink(
                line(
                    scope["method"],
                    scope["path"],
                    status,
                    time.perf_counter() - began,
                    request_id_var.get(),
                    tenant_var.get(),
                    trace_var.get(),
                )
            )

    return layer


def lean_errors(app: ASGIApp) -> ASGIApp:
    async def layer(scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        def send_wrapper(message: Message) -> Awaitable[None]:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
            return send(message)

        try:
            await app(scope, receive, send_wrapper)
        except Exception:
            if started:
                raise
            await refuse(send, 500)

    return layer


def lean_cors(app: ASGIApp) -> ASGIApp:
    async def layer(scope: Scope, receive: Receive, send: Send) -> None:
        origin = find(scope, b"origin")
        if origin is None:
            await app(scope, receive, send)
            return

        def send_wrapper(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                if origin in ORIGINS:
                    message["headers"] += (
                        (b"access-control-allow-origin", origin),
                        (b"access-control-allow-credentials", b"true"),
                    )
                message["headers"].append((b"vary", b"origin"))
            return send(message)

        await app(scope, receive, send_wrapper)

    return layer


def lean_security(app: ASGIApp) -> ASGIApp:
    async def layer(scope: Scope, receive: Receive, send: Send) -> None:
        def send_wrapper(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                headers = message["headers"]
                there = {name for name, _ in headers}
                headers += [pair for pair in SECURITY if pair[0] not in there]
            return send(message)

        await app(scope, receive, send_wrapper)

    return layer


def lean_body_limit(app: ASGIApp) -> ASGIApp:
    async def layer(scope: Scope, receive: Receive, send: Send) -> None:
        length = find(scope, b"content-length")
        if length is not None and int(length) > LIMIT:
            await refuse(send, 413)
            return
        await app(scope, limited(receive), send)

    return layer


LEAN = (
    lean_request_id,
    lean_context,
    lean_tenant,
    lean_trace,
    lean_log,
    lean_errors,
    lean_cors,
    lean_security,
    lean_body_limit,
)


def lean(app: ASGIApp) -> ASGIApp:
    for layer in reversed(LEAN):
        app = layer(app)
    return app


# The same concerns in one function, as nobody would want to keep it ---------------------------------------------------


def by_hand(app: ASGIApp) -> ASGIApp:
    """What no composition of parts can do better: the floor."""

    async def all_nine(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        began = time.perf_counter()
        header = dict(scope["headers"]).get
        given = header(b"x-request-id")
        request_id = given.decode("latin-1") if given is not None else os.urandom(16).hex()
        given = header(b"x-correlation-id")
        correlation_id = request_id if given is None else given.decode("latin-1")
        given = header(b"x-tenant")
        tenant = None if given is None else given.decode("latin-1")
        parent = header(b"traceparent")
        trace_id = None
        if parent is not None:
            _, trace_id, _parent_id, _ = parent.decode("latin-1").split("-")
        origin = header(b"origin")
        token = context_var.set({"request_id": request_id, "correlation_id": correlation_id})
        status = 500
        started = False

        def sending(message: Message) -> Awaitable[None]:
            nonlocal status, started
            if message["type"] == "http.response.start":
                started = True
                status = message["status"]
                headers = [
                    *message.get("headers", ()),
                    (b"x-request-id", request_id.encode("latin-1")),
                    (b"x-correlation-id", correlation_id.encode("latin-1")),
                ]
                if parent is not None:
                    headers.append((b"traceresponse", parent))
                if origin is not None:
                    headers += ALLOWED.get(origin, ())
                    headers.append((b"vary", b"origin"))
                there = {name for name, _ in headers}
                headers += [pair for pair in SECURITY if pair[0] not in there]
                message = {**message, "headers": headers}
            return send(message)

        try:
            length = header(b"content-length")
            if length is not None and int(length) > LIMIT:
                await refuse(sending, 413)
            else:
                await app(scope, limited(receive), sending)
        except Exception:
            if started:
                raise
            await refuse(sending, 500)
        finally:
            sink(
                line(scope["method"], scope["path"], status, time.perf_counter() - began, request_id, tenant, trace_id)
            )
            context_var.reset(token)

    return all_nine


# Layers that do nothing -----------------------------------------------------------------------------------------------


def closure(app: ASGIApp) -> ASGIApp:
    async def layer(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, send)

    return layer


def closures(app: ASGIApp, count: int) -> ASGIApp:
    for _ in range(count):
        app = closure(app)
    return app


class NoDispatch(BaseHTTPMiddleware):
    async def dispatch(self, request, call_next):
        return await call_next(request)


def base_http(app: ASGIApp) -> ASGIApp:
    for _ in range(9):
        app = NoDispatch(app)
    return app


# Measuring ------------------------------------------------------------------------------------------------------------


def scope() -> Scope:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "GET",
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8000),
        "headers": list(REQUEST_HEADERS),
        "extensions": {},
        "state": {},
    }


async def receive() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


async def send(message: Message) -> None:
    pass


def measure(loop: asyncio.AbstractEventLoop, app: ASGIApp, requests: int, make: Callable[[], Scope] = scope) -> float:
    """Microseconds of CPU time for one request."""
    scopes = [make() for _ in range(requests)]

    async def batch() -> int:
        began = time.thread_time_ns()
        for one in scopes:
            await app(one, receive, send)
        return time.thread_time_ns() - began

    return loop.run_until_complete(batch()) / requests / 1000


def cyclic_objects(app: ASGIApp, requests: int = 100) -> float:
    """How many objects of each request only the garbage collector can free."""

    def run() -> None:
        for _ in range(requests):
            try:
                app(scope(), receive, send).send(None)  # type: ignore[attr-defined]
            except StopIteration:
                pass

    run()
    gc.collect()
    gc.disable()
    try:
        run()
        return gc.collect() / requests
    finally:
        gc.enable()


VARIANTS: dict[str, tuple[Callable[[], ASGIApp], float]] = {
    # The share of the requests that a round makes with it: the dear ones need fewer to be measured as well.
    "raw": (lambda: own(plain), 1),
    "fused": (lambda: stack(own(plain), *HOOKS), 1),
    "lean": (lambda: lean(own(plain)), 1),
    "idiomatic": (lambda: idiomatic(own(plain)), 1),
    "by hand": (lambda: by_hand(own(plain)), 1),
    "9 BaseHTTPMiddleware": (lambda: base_http(own(plain)), 0.02),
    "10 closures": (lambda: closures(own(plain), 10), 2),
    "1 hook": (lambda: stack(own(plain), OneMore), 2),
    "11 hooks": (lambda: stack(own(plain), *[OneMore] * 11), 2),
    "raw stream": (lambda: own(streaming), 0.2),
    "fused stream": (lambda: stack(own(streaming), *HOOKS), 0.2),
    "lean stream": (lambda: lean(own(streaming)), 0.2),
    "idiomatic stream": (lambda: idiomatic(own(streaming)), 0.2),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--requests", type=int, default=300)
    arguments = parser.parse_args()
    apps = {name: make() for name, (make, _) in VARIANTS.items()}
    times: dict[str, list[float]] = {name: [] for name in VARIANTS}
    loop = asyncio.new_event_loop()
    for _ in range(arguments.rounds):
        for name in random.sample(list(VARIANTS), len(VARIANTS)):
            times[name].append(measure(loop, apps[name], max(1, int(arguments.requests * VARIANTS[name][1]))))
    loop.close()
    took = {name: statistics.median(rounds) for name, rounds in times.items()}

    def ratio(one: str, other: str) -> float:
        # Of each round by itself: what else the machine did meanwhile fell on both.
        return statistics.median(a / b for a, b in zip(times[one], times[other], strict=True))

    layer = (took["10 closures"] - took["raw"]) / 10
    hook = (took["11 hooks"] - took["1 hook"]) / 10
    rows = [
        ("nine concerns, fused / idiomatic", ratio("fused", "idiomatic"), "≤ 0.30"),
        ("nine concerns, lean closures / idiomatic", ratio("lean", "idiomatic"), ""),
        ("nine concerns, by hand in one function / idiomatic", ratio("by hand", "idiomatic"), ""),
        ("9 BaseHTTPMiddleware that do nothing / idiomatic", ratio("9 BaseHTTPMiddleware", "idiomatic"), ""),
        ("one more hook / closure layer", hook / layer, "≤ 0.5"),
        (f"{CHUNKS}-chunk stream, fused / raw", ratio("fused stream", "raw stream"), "≤ 2.5"),
        (f"{CHUNKS}-chunk stream, lean closures / raw", ratio("lean stream", "raw stream"), ""),
        (f"{CHUNKS}-chunk stream, idiomatic / raw", ratio("idiomatic stream", "raw stream"), ""),
        ("cyclic objects per request", cyclic_objects(apps["fused"]), "0"),
    ]
    print("| | measured | target |\n|---|---|---|")
    for what, figure, target in rows:
        print(f"| {what} | {figure:.3g} | {target} |")
    print("\n| | µs of CPU |\n|---|---|")
    for name, microseconds in took.items():
        print(f"| {name} | {microseconds:.2f} |")


if __name__ == "__main__":
    main()
