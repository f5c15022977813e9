"""Warn of a Redis that may evict sessions or revocations."""

from __future__ import annotations

from typing import Any

from redis.asyncio import Redis

from bandmaster.contrib.redis import redis_errors
from bandmaster.kernel import BandmasterError, get_logger


async def warn_of_eviction(client: Redis, kept: str) -> None:
    """Log a warning if the server evicts keys when the memory is full. ``kept`` names the keys that would be lost."""
    try:
        with redis_errors():
            memory: Any = await client.info("memory")
    except BandmasterError:
        return  # INFO is refused by some managed servers, and a Redis that isn't critical may be away
    policy = memory.get("maxmemory_policy", "noeviction")
    if memory.get("maxmemory") and policy != "noeviction":
        get_logger("bandmaster.oidc").warning(
            f"Redis evicts keys when its memory is full, and {kept} may be lost before their time",
            maxmemory_policy=policy,
            hint="give sessions and revoked tokens a Redis with maxmemory-policy noeviction: AUTH_REDIS_URL",
        )
