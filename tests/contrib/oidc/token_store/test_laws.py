"""The laws of token stores, for both kinds: P-06 and P-07."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.contrib.oidc.token_store.conftest import make_principal, make_token

from bandmaster.contrib.oidc.token_store.memory import MemoryTokenStore
from bandmaster.contrib.oidc.token_store.redis_store import RedisTokenStore
from bandmaster.contrib.redis import RedisSettings, open_client


@pytest.mark.requirement("P-06")
@settings(max_examples=150)
@given(size=st.integers(1, 12), users=st.lists(st.sampled_from("abc"), min_size=1, max_size=40))
def test_p06_the_newest_tokens_are_kept(size, users):
    """P-06: after N + M tokens exactly N are left, and the M that were stored first are gone."""

    async def check():
        store = MemoryTokenStore(max_tokens=size)
        tokens = [make_token(f"t-{number}", user) for number, user in enumerate(users)]
        for token in tokens:
            await store.store(token)
        assert min(size, len(tokens)) == len(store)
        kept = [token for token in tokens if await store.get(token.user_id, token.jti) is not None]
        assert tokens[-size:] == kept
        listed = [token for user in set(users) for token in await store.list_tokens(user)]
        assert {token.jti for token in kept} == {token.jti for token in listed}

    anyio.run(check)


@st.composite
def histories(draw):
    """Tokens of one user, some of them revoked before, among tokens of others."""
    own = draw(st.lists(st.tuples(st.booleans(), st.integers(-60, 3000)), max_size=12))
    return own, draw(st.integers(0, 4))


async def check_revocation(store, own, others):
    user, other = f"ada-{uuid4()}", f"bob-{uuid4()}"
    # The age may be negative: the provider's clock is ahead.
    mine = [make_token(f"t-{number}", user, age=age) for number, (_, age) in enumerate(own)]
    theirs = [make_token(f"t-{number}", other) for number in range(others)]
    for token in (*mine, *theirs):
        await store.store(token)
    for token, (revoked, _) in zip(mine, own, strict=True):
        if revoked:
            assert await store.revoke(user, token.jti)
    valid = sum(not revoked for revoked, _ in own)
    assert valid == await store.revoke_all(user)
    assert 0 == await store.revoke_all(user)
    assert [replace(token, revoked=True) for token in mine] == [await store.get(user, token.jti) for token in mine]
    assert theirs == [await store.get(other, token.jti) for token in theirs]
    for token in mine:
        assert await store.is_revoked(make_principal(token.jti, user, issued_at=token.created_at.timestamp()))
    for token in theirs:
        assert not await store.is_revoked(make_principal(token.jti, other, issued_at=token.created_at.timestamp()))


@pytest.mark.requirement("P-07")
@settings(max_examples=150)
@given(history=histories())
def test_p07_all_tokens_of_a_user_are_revoked_in_memory(history):
    """P-07: revoking all K valid tokens of a user returns K, and touches nobody else's."""
    anyio.run(check_revocation, MemoryTokenStore(), *history)


@pytest.mark.requirement("P-07")
def test_p07_all_tokens_of_a_user_are_revoked_in_redis(redis_url):
    """P-07, in Redis."""

    @settings(max_examples=100)
    @given(history=histories())
    def check(history):
        async def run():
            async with open_client(RedisSettings(url=redis_url), "tokens") as client:
                await check_revocation(RedisTokenStore(client), *history)

        anyio.run(run)

    check()


@pytest.mark.requirement("P-07")
def test_p07_revoking_all_is_atomic(redis_url):
    """P-07: of callers that revoke and store at once, the counts add up to the tokens, each of them counted once."""

    async def run():
        async with open_client(RedisSettings(url=redis_url), "tokens") as client:
            store = RedisTokenStore(client)
            counts = []

            async def revoke_all():
                counts.append(await store.revoke_all("ada"))

            async def revoke(number):
                counts.append(await store.revoke("ada", f"t-{number}"))

            for number in range(200):
                await store.store(make_token(f"t-{number}"))
            async with anyio.create_task_group() as group:
                for number in range(5):
                    group.start_soon(revoke, number)
                    group.start_soon(revoke_all)
            assert 200 == sum(counts)
            tokens = await store.list_tokens("ada")
            assert 200 == len(tokens) == sum(token.revoked for token in tokens)

    anyio.run(run)
