"""A plain client of httpx, for libraries that still ask for one; left out where httpx isn't installed."""

from __future__ import annotations

import importlib.util
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING

from bandmaster.contrib.http.component import BUDGET
from bandmaster.contrib.http.cookies import NoCookies
from bandmaster.contrib.http.proxies import make_proxy_rules
from bandmaster.contrib.http.settings import HttpSettings
from bandmaster.contrib.http.tls import build_tls
from bandmaster.kernel import LifespanBand, lifespan


def has_httpx() -> bool:
    """Whether httpx is installed, by the extra ``bandmaster-http[httpx]`` or by a library that needs it."""
    return importlib.util.find_spec("httpx") is not None


if TYPE_CHECKING or has_httpx():
    import httpx


def connections(settings: HttpSettings) -> Mapping[str, int]:
    """The budget of the client. httpx has a pool for direct connections, and another one for each proxy."""
    return {BUDGET: settings.max_connections * (1 + len(make_proxy_rules(settings).urls))}


@lifespan(band=LifespanBand.PERSISTENCE, name="httpx", budget=connections, when=has_httpx)
async def plain_httpx(settings: HttpSettings) -> AsyncIterator[httpx.AsyncClient]:
    """A plain ``httpx.AsyncClient`` with the limits and time-outs of ``HTTP_``, for libraries that ask for one.

    It has no deadline, no repetitions and httpx's own errors, and loses connections of its pool when calls are
    cancelled (httpcore issue 1093): in the end every call fails with a ``PoolTimeout``.
    """
    async with httpx.AsyncClient(
        base_url=settings.base_url or "",
        cookies=NoCookies(),
        verify=build_tls(settings),
        proxy=settings.proxy_url,
        trust_env=settings.environment_proxies,
        timeout=httpx.Timeout(
            connect=settings.connect_timeout,
            read=settings.read_timeout,
            write=settings.write_timeout,
            pool=settings.pool_timeout,
        ),
        limits=httpx.Limits(
            max_connections=settings.max_connections,
            max_keepalive_connections=settings.max_idle_connections,
            keepalive_expiry=settings.idle_timeout,
        ),
    ) as client:
        yield client
