"""The component that provides the token store: in memory, or in Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Annotated

from bandmaster.contrib.oidc.extras import REDIS, has_extra
from bandmaster.contrib.oidc.revocations import RevocationList
from bandmaster.contrib.oidc.several_processes import find_unshared, is_asked_for
from bandmaster.contrib.oidc.token_store.settings import TokenStoreSettings
from bandmaster.contrib.oidc.token_store.store import TokenStore
from bandmaster.kernel import KernelSettings, LifespanBand, Named, Plan, Problem, leave_out_component, lifespan


def keeps_memory(settings: TokenStoreSettings) -> bool:
    """Whether revoked tokens are kept in memory."""
    return settings.store == "memory"


def keeps_redis(settings: TokenStoreSettings) -> bool:
    """Whether revoked tokens are kept in Redis."""
    return settings.store == "redis"


def find_token_problems(settings: TokenStoreSettings, kernel: KernelSettings, plan: Plan) -> Iterator[Problem | str]:
    """The problems of revocations in memory that several processes should share, or that nobody asks about."""
    if not is_asked_for(plan, TokenStore, RevocationList):
        yield "AUTH_TOKEN_STORE is set, but no part of the plan asks whether tokens are revoked"
    if settings.store == "memory":
        yield from find_unshared(
            "revoked tokens are in the memory of the process",
            "Set AUTH_TOKEN_STORE to redis.",
            kernel,
            plan,
            TokenStore,
            RevocationList,
        )


@lifespan(
    band=LifespanBand.SERVICES,
    name="token_store",
    provides=RevocationList,
    when=keeps_memory,
    check=find_token_problems,
)
async def token_store(settings: TokenStoreSettings) -> AsyncIterator[TokenStore]:
    """Revoked tokens in memory."""
    from bandmaster.contrib.oidc.token_store.memory import MemoryTokenStore

    yield MemoryTokenStore(
        max_tokens=settings.max_tokens, longest_life=settings.longest_life, clock_skew=settings.clock_skew
    )


if TYPE_CHECKING or has_extra("redis"):
    from redis.asyncio import Redis

    from bandmaster.contrib.oidc.redis_eviction import warn_of_eviction

    @lifespan(
        band=LifespanBand.SERVICES,
        name="token_store_redis",
        provides=RevocationList,
        when=keeps_redis,
        check=find_token_problems,
    )
    async def token_store_redis(
        settings: TokenStoreSettings, client: Annotated[Redis, Named(REDIS)]
    ) -> AsyncIterator[TokenStore]:
        """Revoked tokens in Redis."""
        from bandmaster.contrib.oidc.token_store.redis_store import RedisTokenStore

        await warn_of_eviction(client, "revocations")
        yield RedisTokenStore(
            client,
            prefix=settings.redis_prefix,
            longest_life=settings.longest_life,
            clock_skew=settings.clock_skew,
        )
else:
    token_store_redis = leave_out_component("token_store_redis", "redis")
