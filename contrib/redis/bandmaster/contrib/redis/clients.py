"""The clients of one Redis, built from settings and closed at the end of a block."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff
from redis.maint_notifications import MaintNotificationsConfig

from bandmaster.contrib.redis.close_guard import CloseGuard
from bandmaster.contrib.redis.command_observers import ClientPlace, CommandObserver
from bandmaster.contrib.redis.connections import (
    SentinelTCPConnection,
    SentinelTLSConnection,
    TCPConnection,
    TLSConnection,
    UnixConnection,
)
from bandmaster.contrib.redis.errors import RedisRefusedError
from bandmaster.contrib.redis.observed_client import Observation, make_client
from bandmaster.contrib.redis.pool import BoundedPool, SentinelPool
from bandmaster.contrib.redis.settings import RedisSettings
from bandmaster.kernel import PermanentError


@dataclass(frozen=True, slots=True)
class Clients:
    """The application's client, and the client of the health check."""

    client: Redis
    probe: Redis


@asynccontextmanager
async def open_client(
    settings: RedisSettings, name: str, *, observers: Sequence[CommandObserver] = ()
) -> AsyncGenerator[Redis, None]:
    """A client besides the component's, until the block ends. The client connects at the first command.

    Errors name the client by ``name``. Commands raise `RedisUnavailableError`, `RedisRefusedError` and
    `RedisClosedError`. ``observers`` are told of each command.

    Raises:
        RedisRefusedError: certificates can't be read.
    """
    observation = _make_observation(settings, name, observers)
    async with _open(settings, _Connecting.of(settings, name), _serving_options(settings), observation) as client:
        yield client


@asynccontextmanager
async def open_clients(
    settings: RedisSettings, name: str, *, observers: Sequence[CommandObserver] = ()
) -> AsyncGenerator[Clients, None]:
    """Both clients, until the block ends. They connect at their first command. ``observers`` see the application's.

    Raises:
        RedisRefusedError: certificates can't be read.
    """
    connecting, observation = _Connecting.of(settings, name), _make_observation(settings, name, observers)
    async with (
        _open(settings, connecting, _probing_options(settings)) as probe,
        _open(settings, connecting, _serving_options(settings), observation) as client,
    ):
        yield Clients(client, probe)


class PatientRetry(Retry):
    """Retries transient errors only; redis-py's own class would retry a wrong password as well."""

    async def call_with_retry(
        self,
        do: Callable[[], Awaitable[Any]],
        fail: Callable[..., Any],
        is_retryable: Callable[[Exception], bool] | None = None,
        with_failure_count: bool = False,
    ) -> Any:
        """Like redis-py's method, without retries of permanent errors."""

        def is_transient(error: Exception) -> bool:
            return not isinstance(error, PermanentError) and (is_retryable is None or is_retryable(error))

        return await super().call_with_retry(do, fail, is_transient, with_failure_count)


def _make_observation(settings: RedisSettings, name: str, observers: Sequence[CommandObserver]) -> Observation | None:
    """Reports the commands of a client; None without observers."""
    if not observers:
        return None
    address = settings.address
    host, port = (address.path, None) if address.path else address.hosts[0]
    return Observation(ClientPlace(name, address.database, host, port), observers)


def _serving_options(settings: RedisSettings) -> Mapping[str, Any]:
    backoff = ExponentialWithJitterBackoff(base=settings.backoff_base, cap=settings.backoff_cap)
    return {
        "max_connections": settings.max_connections,
        "timeout": settings.pool_timeout,
        "socket_timeout": settings.socket_timeout,
        "health_check_interval": settings.health_check_interval,
        "retry": PatientRetry(backoff, settings.retries),
        "client_name": settings.client_name,
    }


def _probing_options(settings: RedisSettings) -> Mapping[str, Any]:
    return {
        "max_connections": 1,
        "timeout": settings.probe_timeout,
        "socket_timeout": settings.probe_timeout,
        "retry": PatientRetry(NoBackoff(), 0),
        "client_name": settings.client_name and f"{settings.client_name}-probe",
    }


@dataclass(frozen=True, slots=True)
class _Connecting:
    """The options that all pools of a client share: the client's description for errors, and the TLS context."""

    label: str
    tls: ssl.SSLContext | None

    @classmethod
    def of(cls, settings: RedisSettings, name: str) -> _Connecting:
        tls = build_tls(settings) if settings.address.tls else None
        return cls(f"the Redis client {name!r} ({settings.address})", tls)


@asynccontextmanager
async def _open(
    settings: RedisSettings,
    connecting: _Connecting,
    pool_options: Mapping[str, Any],
    observation: Observation | None = None,
) -> AsyncGenerator[Redis, None]:
    address, guard, tls = settings.address, CloseGuard(connecting.label), connecting.tls
    options: dict[str, Any] = {
        **pool_options,
        **_common_options(settings, tls),
        "guard": guard,
        "label": connecting.label,
        "db": address.database,
        "username": address.username,
        "password": address.password,
    }
    async with AsyncExitStack() as stack:
        if address.by_sentinel:
            sentinels = Sentinel([])  # type: ignore[no-untyped-call]
            for host, port in address.hosts:
                pool = _build_sentinel_pool(settings, host, port, guard, tls)
                sentinels.sentinels.append(await stack.enter_async_context(_close_at_end(pool)))
            kind = SentinelTCPConnection if tls is None else SentinelTLSConnection
            pool = SentinelPool(
                service_name=address.service, sentinel_manager=sentinels, connection_class=kind, **options
            )
        elif address.path:
            pool = BoundedPool(connection_class=UnixConnection, path=address.path, **options)
        else:
            pool = BoundedPool(**_place_options(*address.hosts[0], tls), **options)
        yield await stack.enter_async_context(_close_at_end(pool, observation))


def _build_sentinel_pool(
    settings: RedisSettings, host: str, port: int, guard: CloseGuard, tls: ssl.SSLContext | None
) -> BoundedPool:
    password = settings.sentinel_password
    return BoundedPool(
        **_place_options(host, port, tls),
        **_common_options(settings, tls),
        guard=guard,
        label=f"the sentinel {host}:{port}",
        max_connections=1,
        timeout=settings.connect_timeout,
        socket_timeout=settings.connect_timeout,
        username=settings.sentinel_username,
        password=None if password is None else password.get_secret_value(),
        # The next sentinel is asked instead of this one again.
        retry=PatientRetry(NoBackoff(), 0),
        client_name=settings.client_name,
    )


def _common_options(settings: RedisSettings, tls: ssl.SSLContext | None) -> Mapping[str, Any]:
    return {
        "socket_connect_timeout": settings.connect_timeout,
        # Notifications of Redis Enterprise. With them redis-py hands out connections that have unread answers.
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
        **({} if tls is None else {"tls": tls}),
    }


def _place_options(host: str, port: int, tls: ssl.SSLContext | None) -> Mapping[str, Any]:
    return {"connection_class": TCPConnection if tls is None else TLSConnection, "host": host, "port": port}


@asynccontextmanager
async def _close_at_end(pool: BoundedPool, observation: Observation | None = None) -> AsyncGenerator[Redis, None]:
    # Not Redis.from_pool: with that a user's `async with client:` would close the pool for all users.
    client = make_client(pool, observation)
    try:
        yield client
    finally:
        await client.aclose(close_connection_pool=True)


def build_tls(settings: RedisSettings) -> ssl.SSLContext:
    """The context of TLS connections, with the certificates that the settings name.

    Raises:
        RedisRefusedError: a certificate can't be read.
    """
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
