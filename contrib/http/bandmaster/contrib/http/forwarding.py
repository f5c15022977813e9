"""Forward the request id and the trace of the current request to services that the settings name."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Mapping, Sequence

import httpx2

from bandmaster.contrib.http.call_observers import CallObservers, ObservedAttempt
from bandmaster.contrib.http.hosts import matches_host

_TRACE_HEADERS = ("traceparent", "tracestate")
"""The headers of W3C Trace Context."""


_BAGGAGE = "baggage"
"""The header of W3C Baggage, which has hosts of its own: applications put names and ids of users there."""


class Forwarding:
    """Adds headers to the requests for some hosts."""

    __slots__ = ("_baggage_hosts", "_hosts", "_observers")

    def __init__(self, hosts: tuple[str, ...], baggage_hosts: tuple[str, ...], observers: CallObservers) -> None:
        self._hosts = hosts
        self._baggage_hosts = baggage_hosts
        self._observers = observers

    def begin(self, request: httpx2.Request, resends: int) -> tuple[httpx2.Request, ObservedAttempt | None]:
        """Report an attempt to the observers, and add the headers that the request's host gets.

        Headers that the caller has set stay unchanged.
        """
        forwards, has_baggage = (
            any(matches_host(pattern, request.url.host) for pattern in hosts)
            for hosts in (self._hosts, self._baggage_hosts)
        )
        attempt = self._observers.begin(request, resends=resends, forwards_trace=forwards, forwards_baggage=has_baggage)
        headers = make_headers() if forwards else {}
        if not self._observers.carries_trace:
            names = (*(_TRACE_HEADERS if forwards else ()), *((_BAGGAGE,) if has_baggage else ()))
            headers |= make_trace_headers(names)
        if attempt is not None:
            headers |= attempt.headers
        return _add_headers(request, headers), attempt


def _add_headers(request: httpx2.Request, headers: Mapping[str, str]) -> httpx2.Request:
    """The request with the headers that it lacks.

    A new request: httpx2 copies the headers of the old one to the request that follows a redirect, to any host.
    """
    missing = {name: value for name, value in headers.items() if name not in request.headers}
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
    """The headers that say which request the code works for, by the ids of bandmaster-web."""
    if not has_web():
        return {}
    from bandmaster.contrib.web import current_context

    context = current_context()
    if context is None:
        return {}
    return {"x-request-id": context.request_id, "x-correlation-id": context.correlation_id}


def make_trace_headers(names: Sequence[str]) -> dict[str, str]:
    """Those of the headers that the global propagator of OpenTelemetry writes for the current trace."""
    if not names or not has_opentelemetry():
        return {}
    from opentelemetry import propagate

    fields: dict[str, str] = {}
    propagate.inject(fields)
    return {name: fields[name] for name in names if name in fields}


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
