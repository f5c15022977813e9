"""The HTTP client as a component: opened at the start, closed at the stop."""

from __future__ import annotations

import importlib.util
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

import httpx2

from bandmaster.contrib.http.call_observers import CallObserver
from bandmaster.contrib.http.client import open_client
from bandmaster.contrib.http.errors import HttpRefusedError
from bandmaster.contrib.http.forwarding import has_opentelemetry, has_web
from bandmaster.contrib.http.proxies import make_proxy_rules
from bandmaster.contrib.http.settings import HttpSettings
from bandmaster.contrib.http.tls import build_tls
from bandmaster.kernel import Context, LifespanBand, LifespanContribution, Problem, lifespan, named_settings

BUDGET = "http"
"""The name of the budget for connections to other services."""


def connections(settings: HttpSettings) -> Mapping[str, int]:
    """The budget of a client with these settings."""
    return {BUDGET: settings.max_connections}


def find_start_problems(settings: HttpSettings) -> Iterator[Problem | str]:
    """The problems of settings with which a client can't be opened, and warnings of settings without an effect."""
    if settings.tls_ca_file or settings.tls_cert_file:
        try:
            build_tls(settings)
        except HttpRefusedError as error:
            yield Problem(f"{error}.")
    by_socks = any(url.startswith("socks") for url in make_proxy_rules(settings).urls)
    if by_socks and importlib.util.find_spec("socksio") is None:
        yield Problem(
            "A SOCKS proxy needs the package socksio.",
            f"Install it: pip install 'httpx2[socks]'. Or leave out the proxies that all programs share: "
            f"{settings.variable('environment_proxies')}=false.",
        )
    if settings.forward_hosts and not (has_web() or has_opentelemetry()):
        yield (
            f"{settings.variable('forward_hosts')} is set, and there is nothing to forward: request ids come from "
            "bandmaster-web, traces from OpenTelemetry, and neither is installed."
        )
    if settings.forward_baggage_hosts and not has_opentelemetry():
        yield (
            f"{settings.variable('forward_baggage_hosts')} is set, and there is nothing to forward: baggage comes from "
            "OpenTelemetry, which isn't installed."
        )


@lifespan(band=LifespanBand.PERSISTENCE, name="http", budget=connections, check=find_start_problems)
async def http(
    settings: HttpSettings, context: Context, observers: Sequence[CallObserver]
) -> AsyncIterator[httpx2.AsyncClient]:
    """An HTTP client that the whole application shares, with a bounded pool, deadlines and repetitions.

    The start connects to nothing, and there is no health check: the health of other services isn't that of this one.
    """
    async with open_client(settings, context.name, observers=observers) as client:
        yield client


def http_client(
    name: str, *, prefix: str | None = None, settings: type[HttpSettings] | None = None
) -> LifespanContribution:
    """Another HTTP client beside the shared one, with a pool of its own: ``Annotated[AsyncClient, Named(name)]``.

    A service that is slow then uses up no connections of other calls. The settings are those of `HttpSettings`, read
    from variables that begin with ``prefix``; the default for the name ``billing`` is ``BILLING_HTTP_``. A subclass of
    `HttpSettings` may be given instead, so that tests can override the settings by their type.

    Raises:
        ValueError: ``name`` can't name a component, or both ``prefix`` and ``settings`` are given.
    """
    if settings is not None and prefix is not None:
        raise ValueError("prefix: can't be given with settings, which have a prefix of their own")
    kind = settings or named_settings(HttpSettings, name, about=f"the HTTP client {name!r}", prefix=prefix)
    return http.named(name, settings=kind, description=f"The HTTP client {name!r}, with a pool of its own.")
