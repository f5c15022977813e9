"""The access log's layer around applications, for its tests."""

from __future__ import annotations

from contextlib import suppress
from time import perf_counter

import httpx2
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from tests.asgi_cases import Rig

from bandmaster.contrib.web import WebSettings
from bandmaster.contrib.web.access_log.layer import AccessLogLayer
from bandmaster.contrib.web.access_log.records import AccessRecord
from bandmaster.contrib.web.access_log.sinks import AccessSink
from bandmaster.kernel import create_app
from bandmaster.kernel.stack.build import BoundLayer, build
from bandmaster.kernel.testing import run


class RecordList(list):
    """A sink that keeps the records."""

    def write(self, record: AccessRecord) -> None:
        self.append(record)


class FailingSink:
    """A sink that fails while it has an error."""

    def __init__(self) -> None:
        self.written = 0
        self.error: Exception | None = OSError("disk full")

    def write(self, record: AccessRecord) -> None:
        if self.error is not None:
            raise self.error
        self.written += 1


def make_settings(**values) -> WebSettings:
    # On a busy machine any request may take longer than the default of a second.
    return WebSettings(**{"access_log": "json", "access_log_slow": 60, **values})


def build_app(host, sink, *layers, **values):
    return create_app(
        host,
        contributions=[AccessLogLayer, *layers],
        discover=False,
        overrides={WebSettings: make_settings(**values), AccessSink: sink},
    )


def build_stack(host, sink, **values):
    """The layer alone around an application, and the layer itself."""
    built = build([BoundLayer(AccessLogLayer, {"settings": make_settings(**values), "sink": sink})], host)
    (layer,) = built.http.__self__.layers
    return built, layer


async def hello(request: Request) -> PlainTextResponse:
    return PlainTextResponse("hello")


def build_host(endpoint=hello, path="/", **options):
    return Starlette(routes=[Route(path, endpoint, **options)])


async def fetch_record(host, path="/", *, method="GET", layers=(), settings=None, **options):
    """The record of one request."""
    records = RecordList()
    async with run(build_app(host, records, *layers, **settings or {}), raise_app_exceptions=False) as running:
        with suppress(httpx2.RemoteProtocolError):
            await running.client.request(method, path, **options)
    (record,) = records
    return record


def block(seconds):
    """Block the event loop for this many seconds."""
    began = perf_counter()
    while perf_counter() < began + seconds:
        pass


async def bare(scope, receive, send):
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


async def answer_status(scope, receive, send):
    status = int(scope["path"][1:])
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def send_requests(built, count, path="/200"):
    for _ in range(count):
        await Rig(lambda app: built).http(answer_status, path=path).run()
