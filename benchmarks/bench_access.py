"""The access log, compared with other ways to write a line for each request.

The figure is the cost of a request with the log, less its cost without a log: in the hook frame for this package's log,
in a lean layer for the others. Every line is written to the null device at once. CPU time of the thread, in shuffled
rounds, as medians. Quote the ratios, never the times. `python benchmarks/bench_access.py [--rounds 31]`
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import json
import logging
import random
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import structlog
from measuring import make_scope, measure
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.logging import AccessFormatter

from bandmaster.contrib.web import RequestContextLayer, WebSettings
from bandmaster.contrib.web.access_log.layer import AccessLogLayer
from bandmaster.kernel.process.log_formats import JsonFormatter
from bandmaster.kernel.stack.build import BoundLayer, build

try:
    import orjson
except ImportError:
    orjson = None

NULL = Path("/dev/null").open("w", encoding="utf-8")  # noqa: SIM115
HEADERS = [
    (b"host", b"api.example"),
    (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/142.0.0.0 Safari/537.36"),
    (b"accept", b"application/json"),
    (b"accept-encoding", b"gzip, deflate, br, zstd"),
]
CONTENT = b'{"hello": "world"}'


class Endpoint:
    """Stands for the endpoint that a router would find."""


ENDPOINT = Endpoint()


class Route:
    path_format = "/items/{id}"
    path_regex = None
    endpoint = ENDPOINT


class Router:
    routes = (Route(),)


ROUTER = Router()


async def plain(scope: Scope, receive: Receive, send: Send) -> None:
    scope["router"], scope["endpoint"] = ROUTER, ENDPOINT
    headers = [(b"content-type", b"application/json"), (b"content-length", b"18")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": CONTENT})


def bandmaster_log(form: str, **settings: Any) -> ASGIApp:
    chosen = {"settings": WebSettings(access_log=form, **settings)}
    layers = [BoundLayer(RequestContextLayer, {"settings": WebSettings()}), BoundLayer(AccessLogLayer, chosen)]
    with _standard_output():
        return build(layers, plain)


@contextmanager
def _standard_output():
    before, sys.stdout = sys.stdout, NULL
    try:
        yield
    finally:
        sys.stdout = before


Write = Callable[[Scope, int, float, int], None]


def lean(write: Write) -> ASGIApp:
    """The leanest layer that knows the fields of an access log."""

    async def layer(scope: Scope, receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        status = sent = 0

        def send_and_note(message: Message) -> Awaitable[None]:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
            elif message["type"] == "http.response.body":
                sent += len(message.get("body", b""))
            return send(message)

        try:
            await plain(scope, receive, send_and_note)
        finally:
            write(scope, status, time.perf_counter() - began, sent)

    return layer


def collect_fields(scope: Scope, status: int, duration: float, sent: int) -> dict[str, Any]:
    return {
        "method": scope["method"],
        "path": scope["raw_path"].decode("ascii"),
        "route": "/items/{id}",
        "status": status,
        "duration": duration,
        "bytes_sent": sent,
        "bytes_received": 0,
        "client": scope["client"][0],
        "http_version": scope["http_version"],
        "request_id": "019aa3d2b1c87f0e9d0b6f6a2d9c1e55",
    }


def make_logger(name: str, formatter: logging.Formatter) -> logging.Logger:
    logger = logging.getLogger(name)
    logger.propagate = False
    logger.setLevel(logging.INFO)
    handler = logging.StreamHandler(NULL)
    handler.setFormatter(formatter)
    logger.addHandler(handler)
    return logger


def standard_text() -> ASGIApp:
    log = make_logger("bench.text", logging.Formatter("%(asctime)s %(levelname)s %(message)s")).info

    def write(scope: Scope, status: int, duration: float, sent: int) -> None:
        log('%s "%s %s" %d %d %.6f', scope["client"][0], scope["method"], scope["path"], status, sent, duration)

    return lean(write)


def standard_json() -> ASGIApp:
    class Formatter(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            at = datetime.datetime.fromtimestamp(record.created, datetime.UTC).isoformat(timespec="milliseconds")
            return json.dumps({"time": at, "level": record.levelname, "event": record.getMessage(), **record.fields})

    log = make_logger("bench.json", Formatter()).info
    return lean(lambda *logged: log("request", extra={"fields": collect_fields(*logged)}))


def uvicorn() -> ASGIApp:
    """The work of uvicorn for each request with its default configuration."""
    text = '%(levelprefix)s %(client_addr)s - "%(request_line)s" %(status_code)s'
    log = make_logger("bench.uvicorn", AccessFormatter(fmt=text, use_colors=False)).info

    def write(scope: Scope, status: int, duration: float, sent: int) -> None:
        client = "{}:{}".format(*scope["client"])
        log('%s - "%s %s HTTP/%s" %d', client, scope["method"], scope["path"], scope["http_version"], status)

    return lean(write)


def structlog_log(*processors: Any, factory: Any) -> ASGIApp:
    stamps = (structlog.processors.add_log_level, structlog.processors.TimeStamper(fmt="iso", utc=True))
    log = structlog.wrap_logger(
        factory(),
        processors=[structlog.contextvars.merge_contextvars, *stamps, *processors],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=True,
    ).bind()
    return lean(lambda *logged: log.info("request", **collect_fields(*logged)))


def structlog_json() -> ASGIApp:
    return structlog_log(structlog.processors.JSONRenderer(), factory=structlog.PrintLoggerFactory(NULL))


def structlog_orjson() -> ASGIApp:
    assert orjson is not None
    renderer = structlog.processors.JSONRenderer(serializer=orjson.dumps)
    return structlog_log(renderer, factory=structlog.BytesLoggerFactory(NULL.buffer))


def base_http() -> ASGIApp:
    """The middleware that tutorials show."""
    log = make_logger("bench.base", logging.Formatter("%(asctime)s %(levelname)s %(message)s")).info

    class Logging(BaseHTTPMiddleware):
        async def dispatch(self, request, call_next):
            began = time.perf_counter()
            response = await call_next(request)
            log("%s %s %d %.6f", request.method, request.url.path, response.status_code, time.perf_counter() - began)
            return response

    return Logging(plain)


def through_logging() -> ASGIApp:
    """The package's own sink for the standard library's logging, with the launcher's JSON."""
    handler = logging.StreamHandler(NULL)
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger("bandmaster.web.access")
    logger.handlers, logger.propagate = [handler], False
    logger.setLevel(logging.INFO)
    return bandmaster_log("logging")


VARIANTS: Mapping[str, tuple[Callable[[], ASGIApp], str]] = {
    "no log, our frame": (lambda: bandmaster_log("off"), ""),
    "no log, a lean layer": (lambda: lean(lambda *logged: None), ""),
    "ours, JSON": (lambda: bandmaster_log("json"), "no log, our frame"),
    "ours, text": (lambda: bandmaster_log("text"), "no log, our frame"),
    "ours, logging JSON": (through_logging, "no log, our frame"),
    "ours, JSON, 1 % sampled": (lambda: bandmaster_log("json", access_log_sample=0.01), "no log, our frame"),
    "ours, JSON, excluded": (lambda: bandmaster_log("json", access_log_exclude=("/items/*",)), "no log, our frame"),
    "logging, text": (standard_text, "no log, a lean layer"),
    "logging, json.dumps": (standard_json, "no log, a lean layer"),
    "uvicorn's access log": (uvicorn, "no log, a lean layer"),
    "structlog, JSON": (structlog_json, "no log, a lean layer"),
    **({} if orjson is None else {"structlog, orjson": (structlog_orjson, "no log, a lean layer")}),
    "BaseHTTPMiddleware, text": (base_http, "no log, a lean layer"),
}


def make_request() -> Scope:
    place = {"path": "/items/7", "raw_path": b"/items/7", "client": ("203.0.113.7", 50000)}
    return {**make_scope(), **place, "headers": list(HEADERS)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--requests", type=int, default=200)
    arguments = parser.parse_args()
    apps = {name: make() for name, (make, _) in VARIANTS.items()}
    times: dict[str, list[float]] = {name: [] for name in VARIANTS}
    loop = asyncio.new_event_loop()
    for _ in range(arguments.rounds + 2):
        for name in random.sample(list(VARIANTS), len(VARIANTS)):
            times[name].append(measure(loop, apps[name], arguments.requests, make_request))
    loop.close()
    cost = {
        name: statistics.median(a - b for a, b in zip(times[name][2:], times[base][2:], strict=True))
        for name, (_, base) in VARIANTS.items()
        if base
    }
    print("| a line by | µs of CPU | to ours in JSON |\n|---|---|---|")
    for name, microseconds in sorted(cost.items(), key=lambda pair: pair[1]):
        print(f"| {name} | {microseconds:.2f} | {microseconds / cost['ours, JSON']:.2f} |")


if __name__ == "__main__":
    main()
