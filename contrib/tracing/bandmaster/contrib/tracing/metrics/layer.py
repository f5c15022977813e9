"""The layer with the endpoint for Prometheus on the application's own port."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anyio
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from bandmaster.contrib.tracing.metrics.activation import is_scraped_by_application
from bandmaster.contrib.tracing.metrics.scrapes import ScrapeEndpoint
from bandmaster.contrib.tracing.metrics.settings import MetricsSettings
from bandmaster.kernel import MiddlewareBand, middleware

__all__ = ["MetricsLayer"]

_AT_ONCE = 2
"""Scrapes that are answered at once; further ones wait."""


@middleware(
    band=MiddlewareBand.OUTERMOST,
    priority=MiddlewareBand.OUTERMOST.priorities[0],
    name="metrics_endpoint",
    before=("tracing", "request_context", "access_log"),
    scopes={"http"},
    when=is_scraped_by_application,
)
class MetricsLayer:
    """Answers ``METRICS_APPLICATION_PATH`` to scrapes with the token of ``METRICS_TOKEN``.

    The layer stands outside of all others: scrapes are neither traced nor counted nor logged as requests.
    """

    def __new__(cls, app: ASGIApp, settings: MetricsSettings, endpoint: ScrapeEndpoint | None = None) -> Any:
        """The layer, or the app itself where there is no endpoint."""
        return app if endpoint is None or settings.application_path is None else super().__new__(cls)

    def __init__(self, app: ASGIApp, settings: MetricsSettings, endpoint: ScrapeEndpoint) -> None:
        self._app = app
        self._endpoint = endpoint
        self._path = settings.application_path
        # Threads of its own: handlers may use up those of anyio's limiter, and a scrape must be answered then.
        self._threads = anyio.CapacityLimiter(_AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a scrape, or pass the request on."""
        path: str = scope["path"]
        if path == self._path or path == f"{scope.get('root_path', '')}{self._path}":
            await self._answer(scope, send)
        else:
            await self._app(scope, receive, send)

    async def _answer(self, scope: Scope, send: Send) -> None:
        headers = Headers(scope=scope)
        if scope["method"] not in ("GET", "HEAD"):
            await _respond(scope, send, 405, b"", [(b"allow", b"GET, HEAD")])
        elif not self._endpoint.allows(headers.get("authorization")):
            await _respond(scope, send, 401, b"", [(b"www-authenticate", b"Bearer")])
        else:
            accept = headers.get("accept", "")
            text, content_type = await anyio.to_thread.run_sync(self._endpoint.scrape, accept, limiter=self._threads)
            await _respond(scope, send, 200, text, [(b"content-type", content_type.encode())])


async def _respond(scope: Scope, send: Send, status: int, body: bytes, headers: Sequence[tuple[bytes, bytes]]) -> None:
    more = [(b"content-length", str(len(body)).encode()), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": status, "headers": [*headers, *more]})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
