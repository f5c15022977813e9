"""The Redis client as a component: checked at the start, probed while serving, closed at the stop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from functools import partial

from redis.asyncio import Redis

from bandmaster.contrib.redis.clients import build_tls, open_clients
from bandmaster.contrib.redis.command_observers import CommandObserver
from bandmaster.contrib.redis.errors import RedisRefusedError, RedisUnavailableError
from bandmaster.contrib.redis.reachability import answer, see_redis
from bandmaster.contrib.redis.settings import RedisSettings
from bandmaster.kernel import (
    Context,
    EventLoop,
    LifespanBand,
    LifespanContribution,
    Problem,
    get_logger,
    lifespan,
    named_settings,
)

BUDGET = "redis"
"""The name of the budget for connections to Redis."""


def connections(settings: RedisSettings) -> Mapping[str, int]:
    """The budget of a client with these settings."""
    return {BUDGET: settings.connections}


def find_start_problems(settings: RedisSettings, event_loop: EventLoop) -> Iterator[Problem | str]:
    """The problems of settings with which a start would fail before it connects."""
    if event_loop is EventLoop.TRIO:
        yield Problem("redis-py runs on asyncio only.", "Set BANDMASTER_SERVER_LOOP to asyncio or uvloop.")
    if settings.address.tls:
        try:
            build_tls(settings)
        except RedisRefusedError as error:
            yield Problem(f"{error}.")


@lifespan(band=LifespanBand.PERSISTENCE, name="redis", budget=connections, check=find_start_problems)
async def redis(
    settings: RedisSettings, context: Context, observers: Sequence[CommandObserver]
) -> AsyncIterator[Redis]:
    """A Redis client with a bounded pool and a health check of its own.

    Without a URL the start doesn't connect: this package may be installed only because another one depends on it. In
    production the start does connect, so that a forgotten setting is noticed. A Redis that isn't critical may be away.
    """
    _check_asyncio(context.name)
    async with open_clients(settings, context.name, observers=observers) as clients:
        if "url" in settings.model_fields_set or context.settings.is_production:
            allowed = await _see_redis_unless_away(clients.probe, settings, context.name)
            if allowed is not None or BUDGET in context.settings.limits:
                context.check_budget(BUDGET, allowed or 0)
            probe = partial(answer, clients.probe)
            context.add_probe(context.name, probe, critical=settings.critical, timeout=settings.probe_timeout)
        else:
            get_logger("bandmaster.redis").info(
                "Redis isn't connected to before its first use",
                address=str(settings.address),
                hint=f"set {settings.variable('url')}, or leave the client out: BANDMASTER_DISABLE={context.name}",
            )
        yield clients.client


async def _see_redis_unless_away(probe: Redis, settings: RedisSettings, name: str) -> int | None:
    """Like `see_redis`, but without a result if Redis is away and isn't critical: clients connect when it is back."""
    try:
        return await see_redis(probe, settings)
    except RedisUnavailableError as error:
        if settings.critical:
            raise
        get_logger("bandmaster.redis").warning(
            "Redis is away, and the start goes on without it",
            client=name,
            error=str(error),
            hint=f"the client connects when it is back; with {settings.variable('critical')}=true the start fails",
        )
        return None


def redis_component(
    name: str, *, prefix: str | None = None, settings: type[RedisSettings] | None = None
) -> LifespanContribution:
    """Another Redis client beside the first: ``Annotated[Redis, Named(name)]``.

    The settings are those of `RedisSettings`, read from variables that begin with ``prefix``; the default for the name
    ``cache`` is ``CACHE_REDIS_``. A subclass of `RedisSettings` may be given instead, so that tests can override the
    settings by their type.

    Raises:
        ValueError: ``name`` can't name a component, or both ``prefix`` and ``settings`` are given.
    """
    if settings is not None and prefix is not None:
        raise ValueError("prefix: can't be given with settings, which have a prefix of their own")
    kind = settings or named_settings(RedisSettings, name, about=f"the Redis client {name!r}", prefix=prefix)
    return redis.named(name, settings=kind, description=f"The Redis client {name!r}, with a pool of its own.")


def _check_asyncio(name: str) -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError as error:
        raise RedisRefusedError(
            f"the Redis client {name!r} needs asyncio, because redis-py runs on nothing else; run the server on asyncio"
        ) from error
