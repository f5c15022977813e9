"""The Redis of sessions and of revoked tokens: a client of its own, apart from the application's cache."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from bandmaster.contrib.oidc.extras import REDIS, has_extra
from bandmaster.contrib.oidc.sessions.settings import SessionSettings
from bandmaster.contrib.oidc.token_store.settings import TokenStoreSettings
from bandmaster.kernel import EventLoop, LifespanContribution, Plan, Problem, leave_out_component


def uses_redis(sessions: SessionSettings, tokens: TokenStoreSettings) -> bool:
    """Whether sessions or revoked tokens are kept in Redis."""
    return "redis" in (sessions.store, tokens.store)


if TYPE_CHECKING or has_extra("redis"):
    from bandmaster.contrib.redis import RedisSettings, redis_component, same_database

    class AuthRedisSettings(RedisSettings):
        """The Redis of sessions and revoked tokens, read from variables that begin with ``AUTH_REDIS_``."""

        model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(env_prefix="AUTH_REDIS_")

        url: str = Field(
            default="redis://127.0.0.1:6379/2",
            repr=False,
            description="The Redis of sessions and revoked tokens, written as REDIS_URL is. One that evicts keys logs "
            "users out, and forgets revocations.",
        )

    def find_redis_problems(settings: AuthRedisSettings, plan: Plan, event_loop: EventLoop) -> Iterator[Problem | str]:
        """The problems of the client, and a warning for each cache that uses the same database."""
        if _plain.check is not None:
            yield from _plain.check(settings, event_loop)
        for read in plan.settings.values():
            if not isinstance(read, RedisSettings) or isinstance(read, AuthRedisSettings):
                continue
            if same_database(settings.url, read.url):
                yield (
                    f"{settings.variable('url')} and {read.variable('url')} name the same Redis database "
                    f"({settings.address}): evicting or flushing one removes sessions or revocations; give each a "
                    "database of its own"
                )

    _plain: LifespanContribution = redis_component(REDIS, settings=AuthRedisSettings)
    auth_redis = replace(
        _plain,
        when=uses_redis,
        check=find_redis_problems,
        description="The Redis of sessions and revoked tokens, with a pool of its own.",
    )
else:
    auth_redis = leave_out_component(REDIS, "redis")
