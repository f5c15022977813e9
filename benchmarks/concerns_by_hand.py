"""The nine concerns in one function: the lowest cost that any composition of parts can reach."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable

from concerns import ALLOWED, LIMIT, SECURITY, discard, limit_body, refuse, render_line
from concerns_as_layers import context_var
from starlette.types import ASGIApp, Message, Receive, Scope, Send


def by_hand(app: ASGIApp) -> ASGIApp:
    """One layer with all nine concerns, which nobody would want to maintain."""

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

        def send_with_headers(message: Message) -> Awaitable[None]:
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
                await refuse(send_with_headers, 413)
            else:
                await app(scope, limit_body(receive), send_with_headers)
        except Exception:
            if started:
                raise
            await refuse(send_with_headers, 500)
        finally:
            discard(
                render_line(
                    scope["method"], scope["path"], status, time.perf_counter() - began, request_id, tenant, trace_id
                )
            )
            context_var.reset(token)

    return all_nine
