"""The tracing layer, compared with a span written by hand and with OpenTelemetry's own ASGI middleware.

The figure is the cost of a request with spans, less its cost without any. Every span is recorded unless the rate says
otherwise, and thrown away at its end, so that the export isn't measured. CPU time of the thread, in shuffled rounds, as
medians. Quote the ratios, never the times. `python benchmarks/bench_tracing.py [--rounds 31] [--requests 500]`
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import time
from collections.abc import Callable
from typing import Any

from measuring import make_scope, measure
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bandmaster.contrib.tracing import TracingSettings
from bandmaster.contrib.tracing.configuration import Sampling
from bandmaster.contrib.tracing.propagation.choice import make_propagator
from bandmaster.contrib.tracing.requests.layer import TracingLayer
from bandmaster.contrib.tracing.sampling import make_sampler
from bandmaster.kernel import Kernel, KernelSettings
from bandmaster.kernel.stack.build import BoundLayer, build

PROPAGATOR = TraceContextTextMapPropagator()
LAYER: Any = getattr(TracingLayer, "layer", TracingLayer)
MESSAGES = 50


class Endpoint:
    """Stands for the endpoint that a router would find."""


ENDPOINT = Endpoint()


class Route:
    path_format = "/items/{id}"
    path_regex = None
    endpoint = ENDPOINT
    methods = None


class Router:
    routes = (Route(),)


ROUTER = Router()


async def respond(scope: Scope, receive: Receive, send: Send) -> None:
    """Find a route and send a short response, as the smallest application does."""
    scope["endpoint"], scope["router"] = ENDPOINT, ROUTER
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})


def write_by_hand(app: ASGIApp, provider: TracerProvider) -> ASGIApp:
    """A span that somebody writes with the attributes of the conventions, and without anything that goes wrong."""
    tracer = provider.get_tracer("by hand")

    async def traced(scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        attributes = {
            "http.request.method": scope["method"],
            "url.path": scope["path"],
            "url.scheme": scope["scheme"],
            "server.address": headers[b"host"].decode(),
            "server.port": 80,
            "client.address": scope["client"][0],
            "network.protocol.version": scope["http_version"],
            "user_agent.original": headers[b"user-agent"].decode(),
        }
        parent = None
        if b"traceparent" in headers:
            parent = PROPAGATOR.extract({"traceparent": headers[b"traceparent"].decode()})
        with tracer.start_as_current_span("GET", parent, kind=SpanKind.SERVER, attributes=attributes) as span:

            async def observe(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.set_attribute("http.response.status_code", message["status"])
                await send(message)

            await app(scope, receive, observe)
            span.update_name("GET /items/{id}")
            span.set_attribute("http.route", "/items/{id}")

    return traced


def use_layer(app: ASGIApp, provider: TracerProvider, **settings: Any) -> ASGIApp:
    """The layer, with its defaults."""
    return LAYER(app, TracingSettings(**settings), provider, make_propagator("tracecontext,baggage"))


def use_middleware(app: ASGIApp, provider: TracerProvider) -> ASGIApp:
    """OpenTelemetry's own middleware, as its instrumentation of FastAPI uses it."""
    return OpenTelemetryMiddleware(app, tracer_provider=provider)


def switch_off(app: ASGIApp, _: TracerProvider) -> ASGIApp:
    """The stack of an application with the package and without a collector."""
    kernel = Kernel(contributions=[TracingLayer], discover=False, serves=True, settings=KernelSettings())
    return build([BoundLayer(layer.contribution, {}) for layer in kernel.plan.layers], app).http


def make_provider(rate: float, *, ours: bool) -> TracerProvider:
    sampler = make_sampler(Sampling(rate, follows_parent=True)) if ours else ParentBased(TraceIdRatioBased(rate))
    return TracerProvider(sampler=sampler, shutdown_on_exit=False)


WAYS: dict[str, Callable[[ASGIApp, TracerProvider], ASGIApp]] = {
    "by hand": write_by_hand,
    "layer": use_layer,
    "otel-asgi": use_middleware,
}


def compare_requests(rounds: int, requests: int) -> None:
    loop = asyncio.new_event_loop()
    cases = [(1.0, False), (1.0, True), (0.01, False)]
    for rate, has_caller in cases:

        def make() -> Scope:
            scope = make_scope()
            if not has_caller:  # noqa: B023  # called within this round of the loop
                scope["headers"] = [header for header in scope["headers"] if header[0] != b"traceparent"]
            return scope

        apps = {"bare": respond} | {
            name: wrap(respond, make_provider(rate, ours=name == "layer")) for name, wrap in WAYS.items()
        }
        apps["off"] = switch_off(respond, make_provider(rate, ours=True))
        times = run_rounds(apps, rounds, lambda app: measure(loop, app, requests, make))
        caller = "with" if has_caller else "without"
        print(
            f"requests {caller} a traceparent at a rate of {rate:g}, µs of CPU time above an application without spans"
        )
        own = {name: times[name] - times["bare"] for name in WAYS}
        for name, cost in own.items():
            by_hand, by_middleware = cost / own["by hand"], cost / own["otel-asgi"]
            print(f"  {name:10} {cost:7.1f}   {by_hand:5.2f} x by hand   {by_middleware:5.2f} x otel-asgi")
        print(f"  switched off: {times['off'] / times['bare']:.3f} x the bare application")
    loop.close()


def run_rounds(apps: dict[str, ASGIApp], rounds: int, run: Callable[[ASGIApp], float]) -> dict[str, float]:
    found: dict[str, list[float]] = {name: [] for name in apps}
    for number in range(rounds + 1):
        order = list(apps)
        random.shuffle(order)
        for name in order:
            took = run(apps[name])
            if number:  # the first round warms up
                found[name].append(took)
    return {name: statistics.median(values) for name, values in found.items()}


def compare_websockets(rounds: int) -> None:
    """A WebSocket with some messages: time, and the number of spans."""
    loop = asyncio.new_event_loop()

    async def echo(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        for _ in range(MESSAGES):
            await send({"type": "websocket.send", "text": (await receive())["text"]})
        await send({"type": "websocket.close"})

    counts: dict[str, int] = {}
    apps: dict[str, ASGIApp] = {"bare": echo}
    for name in ("layer", "otel-asgi"):
        provider = make_provider(1, ours=name == "layer")
        counts[name] = 0
        provider.add_span_processor(_Counter(counts, name))
        apps[name] = WAYS[name](echo, provider)

    def run(app: ASGIApp) -> float:
        async def converse() -> int:
            messages = iter([{"type": "websocket.connect"}, *[{"type": "websocket.receive", "text": "x"}] * MESSAGES])

            async def receive() -> Message:
                return dict(next(messages))

            async def send(message: Message) -> None:
                pass

            scope = {**make_scope(), "type": "websocket", "scheme": "ws", "subprotocols": []}
            began = time.thread_time_ns()
            await app(scope, receive, send)
            return time.thread_time_ns() - began

        return loop.run_until_complete(converse()) / 1000

    times = run_rounds(apps, rounds * 20, run)
    print(f"a WebSocket with {MESSAGES} messages, µs of CPU time above one without spans")
    for name in counts:
        spans = counts[name] / (rounds * 20 + 1)
        print(f"  {name:10} {times[name] - times['bare']:8.1f}   {spans:g} spans")
    loop.close()


class _Counter(SpanProcessor):
    """Counts spans at their ends."""

    def __init__(self, counts: dict[str, int], name: str) -> None:
        self._counts = counts
        self._name = name

    def on_end(self, span: Any) -> None:
        self._counts[self._name] += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--requests", type=int, default=500)
    options = parser.parse_args()
    compare_requests(options.rounds, options.requests)
    compare_websockets(options.rounds)


if __name__ == "__main__":
    main()
