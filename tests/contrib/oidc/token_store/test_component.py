"""The token store as a component."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import pytest

from bandmaster.contrib.oidc.redis_client import AuthRedisSettings, auth_redis
from bandmaster.contrib.oidc.token_store.component import find_token_problems, token_store, token_store_redis
from bandmaster.contrib.oidc.token_store.memory import MemoryTokenStore
from bandmaster.contrib.oidc.token_store.outages import AcceptingTokenStore
from bandmaster.contrib.oidc.token_store.redis_store import RedisTokenStore
from bandmaster.contrib.oidc.token_store.settings import TokenStoreSettings
from bandmaster.contrib.oidc.token_store.store import TokenStore
from bandmaster.kernel import Kernel, KernelSettings, LifespanBand, Problem, lifespan

pytestmark = pytest.mark.anyio
PARTS = [token_store, token_store_redis, auth_redis]


@pytest.fixture(autouse=True)
def surroundings(monkeypatch):
    """No variable of this package is set."""
    for name in [name for name in os.environ if name.startswith(("AUTH_", "REDIS_"))]:
        monkeypatch.delenv(name)


@lifespan(band=LifespanBand.APPLICATION)
async def checking(store: TokenStore) -> AsyncIterator[None]:
    yield


def make_kernel(*settings, parts=(), **options):
    overrides = {type(one): one for one in settings}
    return Kernel(contributions=[*PARTS, *parts], discover=False, overrides=overrides, **options)


def test_without_settings_there_is_no_store():
    """Tokens hold until they expire then."""
    assert [] == list(make_kernel().plan.by_name)


async def test_tokens_in_memory(monkeypatch):
    """One variable is enough."""
    monkeypatch.setenv("AUTH_TOKEN_STORE", "memory")
    monkeypatch.setenv("AUTH_TOKEN_STORE_MAX_TOKENS", "7")
    async with make_kernel().running() as resources:
        store = resources[TokenStore]
    assert isinstance(store, MemoryTokenStore)
    assert 7 == store._max


@pytest.mark.parametrize(("on_outage", "kind"), [("refuse", RedisTokenStore), ("accept", AcceptingTokenStore)])
async def test_tokens_in_redis(redis_url, on_outage, kind):
    """The client is the one of sessions."""
    kernel = make_kernel(TokenStoreSettings(store="redis", on_outage=on_outage), AuthRedisSettings(url=redis_url))
    assert ["auth_redis", "token_store_redis"] == list(kernel.plan.by_name)
    async with kernel.running() as resources:
        store = resources[TokenStore]
        assert isinstance(store, kind)
        assert 0 == await store.revoke_all("ada")


def test_revocations_in_memory_are_told_where_processes_should_share_them():
    """A token that one process has revoked is accepted by the others."""

    def find(**options):
        kernel = make_kernel(TokenStoreSettings(store="memory"), parts=[checking], settings=KernelSettings(**options))
        return list(find_token_problems(TokenStoreSettings(store="memory"), kernel.settings, kernel.plan))

    assert [] == find()
    (found,) = find(environment="production")
    assert isinstance(found, str) and "lost when the process ends" in found
    (found,) = find(environment="production", processes=2)
    assert isinstance(found, Problem) and "Set AUTH_TOKEN_STORE to redis." == found.hint
    (found,) = find(processes=2)
    assert isinstance(found, str)


@pytest.mark.parametrize("store", ["memory", "redis"])
def test_a_store_that_nobody_asks_is_told(store):
    """Revoking a token would have no effect on requests."""
    settings = TokenStoreSettings(store=store)
    kernel = make_kernel(settings)
    assert ["AUTH_TOKEN_STORE is set, but no part of the plan asks whether tokens are revoked"] == list(
        find_token_problems(settings, kernel.settings, kernel.plan)
    )
    kernel = make_kernel(settings, parts=[checking])
    assert [] == list(find_token_problems(settings, kernel.settings, kernel.plan))
