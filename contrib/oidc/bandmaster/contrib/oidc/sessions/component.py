"""The component that provides the session store: in memory, in cookies, or in Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Annotated

from bandmaster.contrib.oidc.extras import REDIS, has_extra
from bandmaster.contrib.oidc.sessions.settings import SessionSettings
from bandmaster.contrib.oidc.sessions.store import SessionStore
from bandmaster.contrib.oidc.settings import AuthSettings
from bandmaster.contrib.oidc.several_processes import find_unshared, is_asked_for
from bandmaster.kernel import KernelSettings, LifespanBand, Named, Plan, Problem, leave_out_component, lifespan


def keeps_no_store(settings: SessionSettings, auth: AuthSettings) -> bool:
    """Whether sessions are kept in memory or in cookies, and there is a login: a provider has a client."""
    if settings.store == "memory" and "store" not in settings.model_fields_set:
        return any(provider.client_id is not None for provider in auth.providers)
    return settings.store in ("memory", "cookie")


def keeps_redis(settings: SessionSettings) -> bool:
    """Whether sessions are kept in Redis."""
    return settings.store == "redis"


def find_session_problems(
    settings: SessionSettings, auth: AuthSettings, kernel: KernelSettings, plan: Plan
) -> Iterator[Problem | str]:
    """The problems of sessions in memory that several processes should share, and of sessions that nobody uses."""
    if not is_asked_for(plan, SessionStore) and all(provider.client_id is None for provider in auth.providers):
        yield "AUTH_SESSION_STORE is set, but nobody logs in: no provider has a client (AUTH_CLIENT_ID)"
    if settings.store == "memory":
        yield from find_unshared(
            "sessions are in the memory of the process",
            "Set AUTH_SESSION_STORE to redis, sql or cookie.",
            kernel,
            plan,
            SessionStore,
        )


@lifespan(band=LifespanBand.SERVICES, name="session_store", when=keeps_no_store, check=find_session_problems)
async def session_store(settings: SessionSettings, auth: AuthSettings) -> AsyncIterator[SessionStore]:
    """Login sessions in memory or in cookies."""
    if settings.store == "cookie":
        from bandmaster.contrib.oidc.sessions.cipher import Cipher
        from bandmaster.contrib.oidc.sessions.cookie import PURPOSE, CookieSessionStore

        cipher = Cipher(settings.keys, PURPOSE)
        yield CookieSessionStore(cipher, limit=settings.cookie_limit, lock_wait=settings.lock_wait)
    else:
        from bandmaster.contrib.oidc.sessions.memory import MemorySessionStore

        yield MemorySessionStore(max_sessions=settings.max_sessions, lock_wait=settings.lock_wait)


if TYPE_CHECKING or has_extra("redis"):
    from redis.asyncio import Redis

    from bandmaster.contrib.oidc.redis_eviction import warn_of_eviction

    @lifespan(band=LifespanBand.SERVICES, name="session_store_redis", when=keeps_redis, check=find_session_problems)
    async def session_store_redis(
        settings: SessionSettings, auth: AuthSettings, client: Annotated[Redis, Named(REDIS)]
    ) -> AsyncIterator[SessionStore]:
        """Login sessions in Redis."""
        from bandmaster.contrib.oidc.sessions.cipher import Cipher
        from bandmaster.contrib.oidc.sessions.records import PURPOSE
        from bandmaster.contrib.oidc.sessions.redis_store import RedisSessionStore

        await warn_of_eviction(client, "sessions")
        yield RedisSessionStore(
            client,
            Cipher(settings.keys, PURPOSE),
            prefix=settings.redis_prefix,
            lease=settings.lock_lease,
            lock_wait=settings.lock_wait,
        )
else:
    session_store_redis = leave_out_component("session_store_redis", "redis")
