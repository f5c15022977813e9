"""The nine concerns as nested closures that save all that nested layers can save."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable

from concerns import LIMIT, ORIGINS, SECURITY, discard, limit_body, refuse, render_line
from concerns_as_layers import context_var, request_id_var, tenant_var, trace_var
from starlette.types import ASGIApp, Message, Receive, Scope, Send


def find_header(scope: Scope, name: bytes) -> bytes | None:
    for known, value in scope["headers"]:
        if known == name:
            return value
    return None


def lean_request_id(app: ASGIApp) -> ASGIApp:
    async def layer(scope: Scope, receive: Receive, send: Send) -> None:
        given = find_header(scope, b"x-request-id")
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
        given = find_header(scope, b"x-correlation-id")
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
        tenant = find_header(scope, b"x-tenant")
        token = tenant_var.set(None if tenant is None else tenant.decode("latin-1"))
        try:
            await app(scope, receive, send)
        finally:
            tenant_var.reset(token)

    return layer


def lean_trace(app: ASGIApp) -> ASGIApp:
    async def layer(scope: Scope, receive: Receive, send: Send) -> None:
        parent = find_header(scope, b"traceparent")
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
        origin = find_header(scope, b"origin")
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
        length = find_header(scope, b"content-length")
        if length is not None and int(length) > LIMIT:
            await refuse(send, 413)
            return
        await app(scope, limit_body(receive), send)

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
