"""The nine concerns as nested layers, written as documentation shows layers.

The layers repeat one another on purpose: the benchmark compares with code that people write.
"""

from __future__ import annotations

import contextvars
import os
import time

from concerns import LIMIT, ORIGINS, SECURITY_TEXT, discard, limit_body, refuse, render_line
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

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
            discard(
                render_line(
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
        await self.app(scope, limit_body(receive), send)


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
