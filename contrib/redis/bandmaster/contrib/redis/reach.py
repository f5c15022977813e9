"""Whether Redis is there, told so that whoever is on call knows what to do."""

from __future__ import annotations

import ssl

import anyio
from redis import exceptions as known
from redis.asyncio import Redis
from redis.asyncio.sentinel import MasterNotFoundError

from bandmaster.contrib.redis.errors import RedisRefusedError, RedisUnavailableError, redis_errors
from bandmaster.contrib.redis.settings import RedisSettings


def time_to_reach(settings: RedisSettings) -> float:
    """Seconds within which Redis is there or isn't: a connection, each sentinel before it, and an answer."""
    sentinels = len(settings.address.hosts) if settings.address.by_sentinel else 0
    return settings.connect_timeout * (1 + sentinels) + settings.probe_timeout


async def see_redis(probe: Redis, settings: RedisSettings) -> int | None:
    """Ask once whether it is there; the answer is how many clients it takes, where it tells that.

    Managed servers and users with few rights may not: ``INFO`` isn't for everybody.

    Raises:
        RedisUnavailableError: it can't be reached, or doesn't answer in time.
        RedisRefusedError: it is there, and refuses what the settings ask for.
    """
    seconds = time_to_reach(settings)
    try:
        with anyio.fail_after(seconds), redis_errors():
            await answer(probe)
            return await _most_clients(probe)
    except TimeoutError as error:
        raise RedisUnavailableError(f"Redis at {settings.address} has not answered within {seconds:g} s") from error
    except RedisRefusedError as error:
        raise RedisRefusedError(_refusal(error, settings)) from error
    except RedisUnavailableError as error:
        raise RedisUnavailableError(_absence(error, settings)) from error


async def answer(probe: Redis) -> None:
    """Ask whether it answers.

    Raises:
        RedisUnavailableError, RedisRefusedError: it doesn't, or not with what was asked for.
    """
    await probe.ping()


async def _most_clients(probe: Redis) -> int | None:
    try:
        told = (await probe.info("clients")).get("maxclients")
    except RedisRefusedError:
        return None
    return told if isinstance(told, int) and told > 0 else None


def _refusal(error: RedisRefusedError, settings: RedisSettings) -> str:
    address, url = settings.address, settings.variable("url")
    if isinstance(error, known.AuthenticationError):
        if address.password is None:
            return f"Redis at {address} asks for a password, and {url} has none: {error}"
        return f"Redis at {address} refuses the user or the password of {url}: {error}"
    if isinstance(error, known.ConnectionError) and isinstance(_reason(error), ssl.SSLError):
        return (
            f"Redis at {address} is not trusted, or doesn't speak TLS: {error}. An authority of one's own is named by "
            f"{settings.variable('tls_ca_file')}"
        )
    if isinstance(error, known.NoPermissionError) and "client|setname" in str(error):
        return f"Redis at {address} refuses: {error}. Allow it, or leave {settings.variable('client_name')} empty"
    return f"Redis at {address} refuses: {error}. Is {url} right?"


def _absence(error: RedisUnavailableError, settings: RedisSettings) -> str:
    if isinstance(error, MasterNotFoundError):
        return f"Redis is not to be found, {settings.address}: {error}"
    said = str(error).rstrip(".")
    return f"Redis at {settings.address} can't be used: {said}. Does it run, and is {settings.variable('url')} right?"


def _reason(error: BaseException) -> BaseException | None:
    """What lies under an error of a connection, which redis-py has made two exceptions of."""
    original = error.__cause__
    return None if original is None else original.__cause__ or original.__context__
