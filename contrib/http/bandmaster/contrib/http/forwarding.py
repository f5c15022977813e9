"""Forward the request id and the trace of the current request to services that the settings name."""

from __future__ import annotations

import functools
import importlib.util

import httpx2

from bandmaster.contrib.http.hosts import matches_host

_TRACE_HEADERS = ("traceparent", "tracestate")
"""The headers of W3C Trace Context. Baggage isn't forwarded: applications put names and ids of users there."""


class Forwarding:
    """Adds headers to the requests for some hosts."""

    __slots__ = ("_hosts",)

    def __init__(self, hosts: tuple[str, ...]) -> None:
        self._hosts = hosts

    def add_headers(self, request: httpx2.Request) -> httpx2.Request:
        """The request with the headers that its host gets; headers that the caller has set stay unchanged.

        A new request: httpx2 copies the headers of the old one to the request that follows a redirect, to any host.
        """
        if not any(matches_host(pattern, request.url.host) for pattern in self._hosts):
            return request
        missing = {name: value for name, value in make_headers().items() if name not in request.headers}
        if not missing:
            return request
        return httpx2.Request(
            request.method,
            request.url,
            headers=httpx2.Headers([*request.headers.raw, *httpx2.Headers(missing).raw]),
            stream=request.stream,
            extensions=request.extensions,
        )


def make_headers() -> dict[str, str]:
    """The headers that say which request the code works for: ids from bandmaster-web, the trace from OpenTelemetry."""
    headers: dict[str, str] = {}
    if has_web():
        from bandmaster.contrib.web import current_context

        context = current_context()
        if context is not None:
            headers["x-request-id"] = context.request_id
            headers["x-correlation-id"] = context.correlation_id
    if has_opentelemetry():
        from opentelemetry import propagate

        fields: dict[str, str] = {}
        propagate.inject(fields)
        headers |= {name: fields[name] for name in _TRACE_HEADERS if name in fields}
    return headers


@functools.cache
def has_web() -> bool:
    """Whether bandmaster-web is installed, which knows the id of a request."""
    return _is_installed("bandmaster.contrib.web")


@functools.cache
def has_opentelemetry() -> bool:
    """Whether the API of OpenTelemetry is installed, by the application or a tracing library."""
    return _is_installed("opentelemetry.propagate")


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False
