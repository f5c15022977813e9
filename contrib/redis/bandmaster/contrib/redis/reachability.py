"""Check that Redis can be reached, with errors that name the address and the setting to change."""

from __future__ import annotations

import ssl

import anyio
from redis import exceptions as known
from redis.asyncio import Redis
from redis.asyncio.sentinel import MasterNotFoundError

from bandmaster.contrib.redis.errors import RedisRefusedError, RedisUnavailableError, redis_errors
from bandmaster.contrib.redis.settings import RedisSettings


def time_to_reach(settings: RedisSettings) -> float:
    """The bound of `see_redis`, in seconds: each sentinel, a connection, and an answer."""
    sentinels = len(settings.address.hosts) if settings.address.by_sentinel else 0
    return settings.connect_timeout * (1 + sentinels) + settings.probe_timeout


async def see_redis(probe: Redis, settings: RedisSettings) -> int | None:
    """Check once that Redis can be reached; returns the most clients that the server accepts.

    The result is None where the server refuses ``INFO``, as managed servers and users with few rights do.

    Raises:
        RedisUnavailableError: Redis can't be reached, or doesn't answer in time.
        RedisRefusedError: Redis refuses the user, the password, the certificate or the database of the settings.
    """
    seconds = time_to_reach(settings)
    try:
        with anyio.fail_after(seconds), redis_errors():
            await answer(probe)
            return await _read_client_limit(probe)
    except TimeoutError as error:
        raise RedisUnavailableError(f"Redis at {settings.address} doesn't answer within {seconds:g} s") from error
    except RedisRefusedError as error:
        raise RedisRefusedError(_describe_refusal(error, settings)) from error
    except RedisUnavailableError as error:
        raise RedisUnavailableError(_describe_absence(error, settings)) from error


async def answer(probe: Redis) -> None:
    """Have Redis answer a ``PING``.

    Raises:
        RedisUnavailableError, RedisRefusedError: Redis doesn't answer, or refuses.
    """
    await probe.ping()


async def _read_client_limit(probe: Redis) -> int | None:
    try:
        limit = (await probe.info("clients")).get("maxclients")
    except RedisRefusedError:
        return None
    return limit if isinstance(limit, int) and limit > 0 else None


def _describe_refusal(error: RedisRefusedError, settings: RedisSettings) -> str:
    address, url = settings.address, settings.variable("url")
    if isinstance(error, known.AuthenticationError):
        if address.password is None:
            return f"Redis at {address} asks for a password, and {url} has none: {error}"
        return f"Redis at {address} refuses the user or the password of {url}: {error}"
    if isinstance(error, known.ConnectionError) and isinstance(_find_root(error), ssl.SSLError):
        return (
            f"Redis at {address} is not trusted, or doesn't speak TLS: {error}. Name an authority of your own by "
            f"{settings.variable('tls_ca_file')}"
        )
    if isinstance(error, known.NoPermissionError) and "client|setname" in str(error):
        return f"Redis at {address} refuses: {error}. Allow it, or leave {settings.variable('client_name')} empty"
    return f"Redis at {address} refuses: {error}. Is {url} right?"


def _describe_absence(error: RedisUnavailableError, settings: RedisSettings) -> str:
    if isinstance(error, MasterNotFoundError):
        return f"Redis can't be found, {settings.address}: {error}"
    reason = str(error).rstrip(".")
    return f"Redis at {settings.address} can't be used: {reason}. Does it run, and is {settings.variable('url')} right?"


def _find_root(error: BaseException) -> BaseException | None:
    """The system's error below a connection error, which redis-py and this package have wrapped once each."""
    original = error.__cause__
    return None if original is None else original.__cause__ or original.__context__
