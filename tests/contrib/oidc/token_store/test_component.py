"""The token store as a component."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Sequence

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from bandmaster.contrib.oidc.access.bearer_auth import BearerAuth
from bandmaster.contrib.oidc.access.settings import AccessSettings
from bandmaster.contrib.oidc.errors import TokenStoreError
from bandmaster.contrib.oidc.principal import Principal
from bandmaster.contrib.oidc.redis_client import AuthRedisSettings, auth_redis
from bandmaster.contrib.oidc.revocations import RevocationList
from bandmaster.contrib.oidc.token_store.component import find_token_problems, token_store, token_store_redis
from bandmaster.contrib.oidc.token_store.memory import MemoryTokenStore
from bandmaster.contrib.oidc.token_store.redis_store import RedisTokenStore
from bandmaster.contrib.oidc.token_store.settings import TokenStoreSettings
from bandmaster.contrib.oidc.token_store.store import TokenStore
from bandmaster.contrib.oidc.verifier import TokenVerifier
from bandmaster.kernel import Kernel, KernelSettings, LifespanBand, Problem, lifespan
from bandmaster.kernel.testing import run

pytestmark = pytest.mark.anyio
PARTS = [token_store, token_store_redis, auth_redis]


@pytest.fixture(autouse=True)
def surroundings(monkeypatch):
    """No variable of this package is set."""
    for name in [name for name in os.environ if name.startswith(("AUTH_", "REDIS_"))]:
        monkeypatch.delenv(name)


@lifespan(band=LifespanBand.APPLICATION)
async def checking(lists: Sequence[RevocationList]) -> AsyncIterator[None]:
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


async def test_tokens_in_redis(redis_url):
    """The client is the one of sessions."""
    kernel = make_kernel(TokenStoreSettings(store="redis"), AuthRedisSettings(url=redis_url))
    assert ["auth_redis", "token_store_redis"] == list(kernel.plan.by_name)
    async with kernel.running() as resources:
        store = resources[TokenStore]
        assert isinstance(store, RedisTokenStore)
        assert 0 == await store.revoke_all("ada")


class KnownTokens:
    """Verifies tokens that are the ids of principals."""

    async def verify(self, token):
        return Principal(subject="ada", issuer="https://id.example", credential_id=token, issued_at=time.time() - 10)


async def whoami(request):
    return PlainTextResponse(request.state.principal.subject)


@pytest.mark.requirement("CA-43")
@pytest.mark.parametrize("without_revocations", ["refuse", "accept"])
async def test_the_layer_asks_the_store(own_redis, without_revocations):
    """A revoked token gets 401 at once; while Redis is away 503 or 200, as the settings say, and never 401."""
    given = {
        TokenStoreSettings: TokenStoreSettings(store="redis"),
        AuthRedisSettings: AuthRedisSettings(url=own_redis.url(0), retries=0, critical=False),
        AccessSettings: AccessSettings(without_revocations=without_revocations),
        TokenVerifier: KnownTokens(),
    }
    async with run(
        Starlette(routes=[Route("/", whoami)]), contributions=[*PARTS, BearerAuth], overrides=given
    ) as running:

        async def status(token):
            answer = await running.client.get("/", headers={"Authorization": f"Bearer {token}"})
            return answer.status_code

        store = running.resources[TokenStore]
        assert 200 == await status("one")
        await store.revoke("ada", "one")
        assert [401, 200] == [await status("one"), await status("two")]
        await store.revoke_all("ada", issuer="https://id.example")
        assert 401 == await status("two")
        own_redis.stop()
        assert (503 if without_revocations == "refuse" else 200) == await status("three")
        with pytest.raises(TokenStoreError):
            await store.revoke("ada", "three")


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
