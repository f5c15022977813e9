"""Leases in Redis, for locks that processes share."""

from __future__ import annotations

from redis.asyncio import Redis
from redis.commands.core import AsyncScript

from bandmaster.contrib.oidc.store_errors import store_errors
from bandmaster.contrib.redis import redis_errors

# Each holder has a token of its own: a command that is sent again, because its answer was lost, finds the token and
# knows that the first try had succeeded.
_ACQUIRE = """
local found = redis.call('GET', KEYS[1])
if found and found ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""
_RENEW = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""
_RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""


class RedisLeases:
    """The `Leases` of a Redis, at ``<prefix><key>``."""

    def __init__(self, client: Redis, prefix: str) -> None:
        self._prefix = prefix
        self._acquire = client.register_script(_ACQUIRE)
        self._renew = client.register_script(_RENEW)
        self._release = client.register_script(_RELEASE)

    async def acquire(self, key: str, owner: str, seconds: float) -> bool:
        """See `Leases.acquire`."""
        return await self._run(self._acquire, key, owner, _to_milliseconds(seconds))

    async def renew(self, key: str, owner: str, seconds: float) -> bool:
        """See `Leases.renew`."""
        return await self._run(self._renew, key, owner, _to_milliseconds(seconds))

    async def release(self, key: str, owner: str) -> None:
        """See `Leases.release`."""
        await self._run(self._release, key, owner)

    async def _run(self, script: AsyncScript, key: str, *arguments: str | int) -> bool:
        with store_errors("the Redis of sessions"), redis_errors():
            return bool(await script(keys=[f"{self._prefix}{key}"], args=list(arguments)))


def _to_milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))
