"""The behaviour that both token stores have in common."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from tests.contrib.oidc.token_store.conftest import make_principal, make_token

from bandmaster.contrib.oidc.errors import TokenStoreError

pytestmark = pytest.mark.anyio


async def test_a_token_is_read_as_it_was_stored(store):
    """Every field comes back, and None for an unknown token."""
    token = make_token(issuer="https://id.example")
    await store.store(token)
    assert token == await store.get("ada", "t")
    assert [None, None] == [await store.get("ada", "other"), await store.get("bob", "t")]
    assert (token,) == await store.list_tokens("ada")
    assert () == await store.list_tokens("bob")


async def test_a_token_is_gone_at_its_expiry(store, clock):
    """The token is neither found nor listed, and no revocation counts one."""
    token = make_token(life=60)
    await store.store(token)
    clock.now = token.expires_at.timestamp()
    assert () == await store.list_tokens("ada")
    assert 0 == await store.revoke_all("ada")
    await store.store(token)  # has expired meanwhile
    assert () == await store.list_tokens("ada")


async def test_a_revoked_token_is_revoked(store):
    """The first call revokes, and the second has nothing to do."""
    token = make_token()
    await store.store(token)
    principal = make_principal(issued_at=token.created_at.timestamp())
    assert not await store.is_revoked(principal)
    assert [True, False] == [await store.revoke("ada", "t"), await store.revoke("ada", "t")]
    assert await store.is_revoked(principal)
    assert replace(token, revoked=True) == await store.get("ada", "t")


async def test_a_token_that_was_never_stored_can_be_revoked(store, clock):
    """Until the expiry, or for the longest life of a token; no list has one."""
    assert await store.revoke("ada", "t", expires_at=datetime.now(UTC) + timedelta(seconds=60))
    assert not await store.revoke("ada", "t")
    assert await store.revoke("ada", "u")
    assert await store.is_revoked(make_principal("t", issued_at=clock.now - 10))
    assert await store.is_revoked(make_principal("u", issued_at=clock.now - 10))
    assert not await store.is_revoked(make_principal("v", issued_at=clock.now - 10))
    assert not await store.is_revoked(make_principal("t", "bob", issued_at=clock.now - 10))
    assert (None, ()) == (await store.get("ada", "t"), await store.list_tokens("ada"))


async def test_a_token_stored_again_stays_revoked(store):
    """A request that was under way during the revocation stores the token late."""
    token = make_token()
    await store.revoke("ada", "t")
    await store.store(token)
    assert replace(token, revoked=True) == await store.get("ada", "t")


async def test_a_token_that_is_stored_as_revoked_is(store):
    """An import of another store's tokens."""
    token = make_token(revoked=True)
    await store.store(token)
    assert token == await store.get("ada", "t")
    assert await store.is_revoked(make_principal(issued_at=token.created_at.timestamp()))


async def test_revoking_all_includes_tokens_that_were_never_stored(store, clock):
    """Those that were issued until then; also those that don't say when. Later ones hold."""
    assert 0 == await store.revoke_all("ada")
    assert await store.is_revoked(make_principal("unseen", issued_at=clock.now - 5))
    assert await store.is_revoked(make_principal("unseen", issued_at=clock.now))
    assert await store.is_revoked(make_principal("unseen", issued_at=None))
    assert not await store.is_revoked(make_principal("unseen", issued_at=clock.now + 1))
    assert not await store.is_revoked(make_principal("unseen", "bob", issued_at=clock.now - 5))


async def test_a_late_store_is_revoked_with_all_others(store, clock):
    """A token that was issued before all were revoked, and stored afterwards."""
    token = make_token()
    await store.revoke_all("ada")
    await store.store(token)
    assert replace(token, revoked=True) == await store.get("ada", "t")
    assert 0 == await store.revoke_all("ada")


async def test_an_issuer_restricts_a_revocation(store, clock):
    """Subjects are unique within an issuer only."""
    here, there = make_token("h", issuer="https://a.example"), make_token("t", issuer="https://b.example")
    await store.store(here)
    await store.store(there)
    assert 1 == await store.revoke_all("ada", issuer="https://a.example")
    assert await store.is_revoked(make_principal("x", issuer="https://a.example", issued_at=clock.now - 5))
    assert not await store.is_revoked(make_principal("x", issuer="https://b.example", issued_at=clock.now - 5))
    assert [True, False] == [token.revoked for token in (await store.get("ada", "h"), await store.get("ada", "t"))]
    assert 1 == await store.revoke_all("ada")


async def test_a_second_revocation_reaches_later_tokens(store, clock):
    """The time until which tokens are revoked only grows."""
    await store.revoke_all("ada")
    clock.now += 100
    await store.revoke_all("ada")
    assert await store.is_revoked(make_principal("x", issued_at=clock.now - 50))
    clock.now -= 80  # the clock was set back
    await store.revoke_all("ada")
    assert await store.is_revoked(make_principal("x", issued_at=clock.now + 50))


async def test_clocks_of_providers_may_be_ahead(kind, open_tokens, clock):
    """As far as the settings say."""
    store = open_tokens(kind, clock_skew=30)
    await store.revoke_all("ada")
    assert await store.is_revoked(make_principal("x", issued_at=clock.now + 29))
    assert not await store.is_revoked(make_principal("x", issued_at=clock.now + 31))


async def test_a_token_without_an_id_is_revoked_with_all_others(store, clock):
    """Not every provider gives tokens a jti."""
    principal = make_principal(None, issued_at=clock.now - 5)
    assert not await store.is_revoked(principal)
    await store.revoke_all("ada")
    assert await store.is_revoked(principal)


@pytest.mark.parametrize("what", ["session", "api_key", "bypass"])
async def test_only_tokens_are_revoked_here(store, clock, what):
    """Sessions and API keys have stores of their own, and ids of their own."""
    await store.revoke("ada", "t")
    await store.revoke_all("ada")
    assert not await store.is_revoked(make_principal("t", kind=what, issued_at=clock.now - 5))


async def test_any_text_is_an_id(store):
    """Braces, colons, blanks, line ends, and half of a surrogate pair, which JSON may hold."""
    for text in ("{a}", "a:b", "idx", "ep", " x ", "a\nb\0", "\u00e9\U0001f600", "\ud800", "x" * 2000):
        token = make_token(text, text, issuer=text)
        await store.store(token)
        assert token == await store.get(text, text)
        assert not await store.is_revoked(make_principal(text, text, issuer=text, issued_at=1))
        assert 1 == await store.revoke_all(text, issuer=text)
        assert await store.is_revoked(make_principal(text, text, issuer=text, issued_at=1))


async def test_a_revocation_outlives_its_token(kind, open_tokens, clock):
    """A revocation of all is kept until the last stored token has expired, however short the longest life is."""
    store = open_tokens(kind, longest_life=60)
    await store.store(make_token(life=100_000))
    await store.revoke_all("ada")
    clock.now += 3600
    assert await store.is_revoked(make_principal("t", issued_at=clock.now - 3700))
    assert await store.is_revoked(make_principal("unseen", issued_at=clock.now - 3700))


async def test_a_full_memory_refuses_revocations_rather_than_forget_one(open_tokens, clock):
    """The caller learns that the token is still valid; those that have ended make room."""
    store = open_tokens("memory", max_tokens=2)
    soon = datetime.fromtimestamp(clock.now + 10, UTC)
    await store.revoke("ada", "a", expires_at=soon)
    await store.revoke("ada", "b")
    with pytest.raises(TokenStoreError, match="AUTH_TOKEN_STORE_MAX_TOKENS"):
        await store.revoke("ada", "c")
    assert not await store.is_revoked(make_principal("c", issued_at=1))
    clock.now += 11
    assert await store.revoke("ada", "c")
    assert await store.is_revoked(make_principal("b", issued_at=1))
    for user in ("x", "y"):
        await store.revoke_all(user)
    with pytest.raises(TokenStoreError, match="keeps 2 revocations"):
        await store.revoke_all("z")


async def test_a_newer_token_removes_no_revocation(open_tokens):
    """The registry of tokens is bounded apart, so that an evicted token stays revoked."""
    store = open_tokens("memory", max_tokens=2)
    await store.store(make_token("old"))
    await store.revoke("ada", "old")
    for number in range(5):
        await store.store(make_token(f"t-{number}"))
    assert await store.get("ada", "old") is None
    assert await store.is_revoked(make_principal("old", issued_at=1))
