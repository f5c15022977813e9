"""The shared client: httpx2's own, with a deadline for each call and errors that are transient or permanent."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self

import httpx2

from bandmaster.contrib.http.call_log import hide_urls
from bandmaster.contrib.http.call_observers import CallObserver, CallObservers
from bandmaster.contrib.http.calls import DEADLINE, Calls
from bandmaster.contrib.http.cookies import NoCookies, refuse_cookies
from bandmaster.contrib.http.errors import ClientLabel, http_errors, url_errors
from bandmaster.contrib.http.forwarding import Forwarding
from bandmaster.contrib.http.pool import open_pool
from bandmaster.contrib.http.pool_transport import HttpPoolGauge, PoolTransport
from bandmaster.contrib.http.proxies import make_proxy_rules
from bandmaster.contrib.http.response import HttpEventSource
from bandmaster.contrib.http.retries import RetryPolicy
from bandmaster.contrib.http.settings import HttpSettings
from bandmaster.contrib.http.tls import build_tls
from bandmaster.contrib.http.transport import CallTransport

DEFAULT_MAX_EVENT_SIZE = 1 << 20
"""The most bytes of a server-sent event, as httpx2 has it."""


class HttpClient(httpx2.AsyncClient):
    """An ``httpx2.AsyncClient`` that many tasks share, from `open_client`.

    A call may pass ``extensions={"deadline": seconds, "retry": True}``. The client keeps no cookies. Its errors are
    `HttpUnavailableError`, `HttpRefusedError` and httpx2's own class at the same time.
    """

    def __init__(
        self,
        settings: HttpSettings,
        label: ClientLabel,
        transport: httpx2.AsyncBaseTransport,
        observers: Sequence[CallObserver] = (),
    ) -> None:
        self._calls = Calls(label, settings.deadline)
        self._label = label
        self._connections = transport
        super().__init__(
            base_url=settings.base_url or "",
            cookies=NoCookies(),
            timeout=make_timeout(settings),
            transport=CallTransport(
                transport,
                calls=self._calls,
                policy=RetryPolicy(
                    settings.retries, settings.backoff_base, settings.backoff_cap, settings.retry_after_cap
                ),
                forwarding=Forwarding(
                    settings.forward_hosts, settings.forward_baggage_hosts, CallObservers(label.name, observers)
                ),
                label=label,
            ),
            trust_env=False,
        )

    def gauges(self) -> tuple[HttpPoolGauge, ...]:
        """How full the client's pool is, for an exporter of metrics; nothing for the transport of a test."""
        return (self._connections.read_gauge(),) if isinstance(self._connections, PoolTransport) else ()

    def build_request(self, method: str, url: httpx2.URL | str, **options: Any) -> httpx2.Request:
        """Like httpx2's method.

        Raises:
            HttpRefusedError: the URL is malformed.
        """
        with url_errors():
            return super().build_request(method, url, **options)

    async def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        """Like httpx2's method, within the deadline of the call.

        Raises:
            HttpUnavailableError: another try may help.
            HttpRefusedError: another try changes nothing.
            ValueError: an extension of the request has a wrong value.
        """
        self._calls.begin(request)
        with http_errors(request, self._label), self._calls.limit(request):
            return await super().send(request, **options)

    async def aclose(self) -> None:
        """Do nothing: the application closes the client, which other parts use as well."""

    async def close_finally(self) -> None:
        """End the calls in flight, and close every connection. The transport of a test belongs to the test."""
        self._calls.close()
        await super().aclose()
        if isinstance(self._connections, PoolTransport):
            await self._connections.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self.aclose()

    @property
    def cookies(self) -> httpx2.Cookies:
        """Always empty."""
        return super().cookies

    @cookies.setter
    def cookies(self, cookies: object) -> None:
        refuse_cookies()

    @asynccontextmanager
    async def sse(self, url: httpx2.URL | str, **options: Any) -> AsyncIterator[httpx2.EventSource]:
        """Like httpx2's method. The events have no deadline unless the call has one: they don't end.

        Raises:
            HttpUnavailableError, HttpRefusedError: as for `send`; an answer that has no events is refused.
        """
        extensions = {DEADLINE: None, **(options.pop("extensions", None) or {})}
        size = options.pop("max_event_size", DEFAULT_MAX_EVENT_SIZE)
        async with super().sse(url, extensions=extensions, max_event_size=size, **options) as source:
            yield HttpEventSource(source.response, size, self._label)


@asynccontextmanager
async def open_client(
    settings: HttpSettings,
    name: str,
    *,
    transport: httpx2.AsyncBaseTransport | None = None,
    observers: Sequence[CallObserver] = (),
) -> AsyncIterator[HttpClient]:
    """A client besides the component's, until the block ends. Errors and log events name it by ``name``.

    ``transport`` is what a test has in place of connections, such as ``httpx2.MockTransport(answer)``: deadlines,
    repetitions and errors are the real ones. The test closes it. ``observers`` are told of each attempt of a call.

    Raises:
        HttpRefusedError: certificates can't be read.
    """
    label = make_label(settings, name)
    client = HttpClient(settings, label, transport or _make_transport(settings, label), observers)
    with hide_urls():
        try:
            yield client
        finally:
            await client.close_finally()


def make_timeout(settings: HttpSettings) -> httpx2.Timeout:
    """The time-outs of the phases of a call."""
    return httpx2.Timeout(
        connect=settings.connect_timeout,
        read=settings.read_timeout,
        write=settings.write_timeout,
        pool=settings.pool_timeout,
    )


def make_label(settings: HttpSettings, name: str) -> ClientLabel:
    """The name of a client, with the variables of its settings."""
    return ClientLabel(
        name,
        settings.max_connections,
        connections_variable=settings.variable("max_connections"),
        deadline_variable=settings.variable("deadline"),
        authority_variable=settings.variable("tls_ca_file"),
    )


def _make_transport(settings: HttpSettings, label: ClientLabel) -> PoolTransport:
    pool = open_pool(
        make_proxy_rules(settings),
        tls=build_tls(settings),
        max_connections=settings.max_connections,
        max_idle=settings.max_idle_connections,
        idle_timeout=settings.idle_timeout,
    )
    return PoolTransport(pool, label)
