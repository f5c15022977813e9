"""Measure the CPU time of ASGI applications without a server."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable

from concerns import REQUEST_HEADERS
from starlette.types import ASGIApp, Message, Scope


def make_scope() -> Scope:
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


def measure(
    loop: asyncio.AbstractEventLoop, app: ASGIApp, requests: int, make: Callable[[], Scope] = make_scope
) -> float:
    """Microseconds of CPU time for one request."""
    scopes = [make() for _ in range(requests)]

    async def batch() -> int:
        began = time.thread_time_ns()
        for one in scopes:
            await app(one, receive, send)
        return time.thread_time_ns() - began

    return loop.run_until_complete(batch()) / requests / 1000


def cyclic_objects(app: ASGIApp, requests: int = 100) -> float:
    """The number of objects of a request that only the garbage collector can free."""

    def run() -> None:
        for _ in range(requests):
            try:
                app(make_scope(), receive, send).send(None)  # type: ignore[attr-defined]
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
