"""The nine concerns as layers in hook form."""

from __future__ import annotations

import os
import time

from concerns import ALLOWED, LIMIT, SECURITY, discard, render_line, render_problem
from starlette.types import ASGIApp

from bandmaster.kernel import Exchange, HeaderBlock, MiddlewareBand, MiddlewareContribution
from bandmaster.kernel.stack.build import BoundLayer, build


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
        discard(
            render_line(
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
            exchange.respond(500, [(b"content-type", b"application/problem+json")], render_problem(500))


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
            exchange.respond(413, [(b"content-type", b"application/problem+json")], render_problem(413))
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


def build_stack(app: ASGIApp, *layers: type) -> ASGIApp:
    bound = [
        BoundLayer(
            MiddlewareContribution(name=f"{layer.__name__}-{place}", layer=layer, band=MiddlewareBand.CONTEXT), {}
        )
        for place, layer in enumerate(layers)
    ]
    return build(bound, app).http
