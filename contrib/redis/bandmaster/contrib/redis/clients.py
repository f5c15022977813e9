"""The clients of one Redis, made of its settings and closed at their end."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff
from redis.maint_notifications import MaintNotificationsConfig

from bandmaster.contrib.redis.connections import (
    SentinelTCPConnection,
    SentinelTLSConnection,
    TCPConnection,
    TLSConnection,
    UnixConnection,
)
from bandmaster.contrib.redis.errors import RedisRefusedError
from bandmaster.contrib.redis.gate import Gate
from bandmaster.contrib.redis.pool import BoundedPool, SentinelPool
from bandmaster.contrib.redis.settings import RedisSettings
from bandmaster.kernel import PermanentError


@dataclass(frozen=True, slots=True)
class Clients:
    """The client that an application uses, and one that only asks how Redis is."""

    client: Redis
    probe: Redis


@asynccontextmanager
async def open_client(settings: RedisSettings, name: str) -> AsyncGenerator[Redis, None]:
    """One client until the block ends, for who needs more than the component's; it connects when it is first used.

    ``name`` is what errors call it. Those are `RedisUnavailableError`, `RedisRefusedError` and `RedisClosedError`.

    Raises:
        RedisRefusedError: certificates can't be read.
    """
    what = f"the Redis client {name!r} ({settings.address})"
    tls = _tls(settings) if settings.address.tls else None
    async with _client(settings, what, tls, _serving(settings)) as client:
        yield client


@asynccontextmanager
async def open_clients(settings: RedisSettings, name: str) -> AsyncGenerator[Clients, None]:
    """Both clients until the block ends; they connect when they are first used.

    Raises:
        RedisRefusedError: certificates can't be read.
    """
    what = f"the Redis client {name!r} ({settings.address})"
    tls = _tls(settings) if settings.address.tls else None
    async with AsyncExitStack() as stack:
        probe = await stack.enter_async_context(_client(settings, what, tls, _probing(settings)))
        client = await stack.enter_async_context(_client(settings, what, tls, _serving(settings)))
        yield Clients(client, probe)


class PatientRetry(Retry):
    """Tries again what may pass; redis-py's own would try a wrong password again as well."""

    async def call_with_retry(
        self,
        do: Callable[[], Awaitable[Any]],
        fail: Callable[..., Any],
        is_retryable: Callable[[Exception], bool] | None = None,
        with_failure_count: bool = False,
    ) -> Any:
        """As redis-py's."""

        def may_pass(error: Exception) -> bool:
            return not isinstance(error, PermanentError) and (is_retryable is None or is_retryable(error))

        return await super().call_with_retry(do, fail, may_pass, with_failure_count)


def _serving(settings: RedisSettings) -> Mapping[str, Any]:
    backoff = ExponentialWithJitterBackoff(base=settings.backoff_base, cap=settings.backoff_cap)
    return {
        "max_connections": settings.max_connections,
        "timeout": settings.pool_timeout,
        "socket_timeout": settings.socket_timeout,
        "health_check_interval": settings.health_check_interval,
        "retry": PatientRetry(backoff, settings.retries),
        "client_name": settings.client_name,
    }


def _probing(settings: RedisSettings) -> Mapping[str, Any]:
    return {
        "max_connections": 1,
        "timeout": settings.probe_timeout,
        "socket_timeout": settings.probe_timeout,
        "retry": PatientRetry(NoBackoff(), 0),
        "client_name": settings.client_name and f"{settings.client_name}-probe",
    }


@asynccontextmanager
async def _client(
    settings: RedisSettings, what: str, tls: ssl.SSLContext | None, manner: Mapping[str, Any]
) -> AsyncGenerator[Redis, None]:
    address, gate = settings.address, Gate(what)
    options: dict[str, Any] = {
        **manner,
        **_common(settings, tls),
        "what": what,
        "db": address.database,
        "username": address.username,
        "password": address.password,
    }
    async with AsyncExitStack() as stack:
        if address.by_sentinel:
            sentinels = Sentinel([])  # type: ignore[no-untyped-call]
            for host, port in address.hosts:
                asked = _sentinel_pool(settings, host, port, gate, tls)
                sentinels.sentinels.append(await stack.enter_async_context(_closing(asked)))
            kind = SentinelTCPConnection if tls is None else SentinelTLSConnection
            pool: BoundedPool = SentinelPool(
                service_name=address.service, sentinel_manager=sentinels, connection_class=kind, gate=gate, **options
            )
        elif address.path:
            pool = BoundedPool(connection_class=UnixConnection, path=address.path, gate=gate, **options)
        else:
            pool = BoundedPool(**_at(*address.hosts[0], tls), gate=gate, **options)
        yield await stack.enter_async_context(_closing(pool))


def _sentinel_pool(
    settings: RedisSettings, host: str, port: int, gate: Gate, tls: ssl.SSLContext | None
) -> BoundedPool:
    password = settings.sentinel_password
    return BoundedPool(
        **_at(host, port, tls),
        **_common(settings, tls),
        gate=gate,
        what=f"the sentinel {host}:{port}",
        max_connections=1,
        timeout=settings.connect_timeout,
        socket_timeout=settings.connect_timeout,
        username=settings.sentinel_username,
        password=None if password is None else password.get_secret_value(),
        # There are others to be asked.
        retry=PatientRetry(NoBackoff(), 0),
        client_name=settings.client_name,
    )


def _common(settings: RedisSettings, tls: ssl.SSLContext | None) -> Mapping[str, Any]:
    return {
        "socket_connect_timeout": settings.connect_timeout,
        # They are for Redis Enterprise. While they are on, redis-py hands out connections that have something unread.
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
        **({} if tls is None else {"tls": tls}),
    }


def _at(host: str, port: int, tls: ssl.SSLContext | None) -> Mapping[str, Any]:
    return {"connection_class": TCPConnection if tls is None else TLSConnection, "host": host, "port": port}


@asynccontextmanager
async def _closing(pool: BoundedPool) -> AsyncGenerator[Redis, None]:
    # Not Redis.from_pool: whoever writes `async with client:` would close the pool for all.
    client = Redis(connection_pool=pool)
    try:
        yield client
    finally:
        await client.aclose(close_connection_pool=True)


def _tls(settings: RedisSettings) -> ssl.SSLContext:
    fields = {"tls_ca_file": settings.tls_ca_file, "tls_cert_file": settings.tls_cert_file}
    named = ", ".join(f"{settings.variable(name)}={path}" for name, path in fields.items() if path is not None)
    try:
        tls = ssl.create_default_context(cafile=settings.tls_ca_file)
        tls.check_hostname = settings.tls_check_hostname
        if settings.tls_cert_file is not None:
            tls.load_cert_chain(settings.tls_cert_file, settings.tls_key_file)
    except OSError as error:
        raise RedisRefusedError(f"certificates for Redis can't be read ({named}): {error}") from error
    return tls
