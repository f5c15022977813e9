"""The behaviour that all stores on the server have in common."""

from __future__ import annotations

from dataclasses import replace

import anyio
import pytest
from tests.contrib.oidc.sessions.conftest import make_session

pytestmark = pytest.mark.anyio
RICH = {
    "sid": "s-1",
    "scopes": frozenset({"openid", "shop:read"}),
    "claims": {"name": "Ada L\u00f6velace", "groups": ["a", "b"], "nested": {"n": 1.5, "none": None}},
    "access_token": "access-secret",
    "refresh_token": "refresh-secret",
    "id_token": "id-secret",
    "access_expires_at": 1234.5,
}


async def test_a_session_is_read_as_it_was_stored(store):
    """Every field comes back, and the handle is the id."""
    session = make_session(**RICH)
    assert session.id == await store.put(session)
    assert session == await store.get(session.id)
    assert store.is_server_side


async def test_what_nobody_stored_is_no_session(store):
    """An unknown handle, an empty one, and one that isn't even text in UTF-8 are no sessions."""
    await store.put(make_session())
    assert [None, None, None] == [await store.get(handle) for handle in ("unknown", "", "\ud800")]
    assert not await store.delete("unknown")


async def test_a_session_that_has_expired_is_none(store, clock):
    """The session ends at the expiry, also if nobody deletes the record."""
    session = make_session(expires_at=clock.now + 10, sid="s")
    await store.put(session)
    clock.now += 10
    assert await store.get(session.id) is None


async def test_a_deleted_session_is_gone(store):
    """Only the first deletion finds one."""
    session = make_session()
    await store.put(session)
    assert [True, False] == [await store.delete(session.id), await store.delete(session.id)]
    assert await store.get(session.id) is None


async def test_storing_again_changes_the_session(store):
    """The last put counts."""
    session = make_session(access_token="one")
    await store.put(session)
    await store.put(replace(session, access_token="two"))
    found = await store.get(session.id)
    assert found is not None and "two" == found.access_token
    assert 1 == await store.delete_by(session.issuer, subject=session.subject)


async def test_a_session_id_is_rotated_in_one_step(store):
    """The old id ends, and the new one is the same user's session."""
    old, new = make_session(), make_session(access_token="new")
    await store.put(old)
    assert new.id == await store.replace(old.id, new)
    assert (None, new) == (await store.get(old.id), await store.get(new.id))
    assert 1 == await store.delete_by(old.issuer, subject=old.subject)


async def test_a_refresh_replaces_the_tokens_of_a_session(store):
    """The id stays, and so does the place in the indexes."""
    session = make_session(sid="s", refresh_token="one")
    await store.put(session)
    assert session.id == await store.replace(session.id, replace(session, refresh_token="two"))
    found = await store.get(session.id)
    assert found is not None and "two" == found.refresh_token
    assert 1 == await store.delete_by(session.issuer, sid="s")


async def test_a_session_that_was_ended_meanwhile_is_not_replaced(store):
    """A refresh that ends after a logout doesn't bring the session back."""
    session = make_session()
    await store.put(session)
    await store.delete_by(session.issuer, subject=session.subject)
    assert await store.replace(session.id, replace(session, access_token="late")) is None
    assert await store.get(session.id) is None


@pytest.mark.requirement("CA-25")
async def test_a_logout_by_sid_ends_that_session_only(store):
    """Two browsers of one user have two sessions at the provider."""
    first, second = make_session(sid="s-1"), make_session(sid="s-2")
    for session in (first, second):
        await store.put(session)
    assert 1 == await store.delete_by(first.issuer, sid="s-1")
    assert (None, second) == (await store.get(first.id), await store.get(second.id))


@pytest.mark.requirement("CA-25")
async def test_a_logout_by_subject_ends_all_sessions_of_the_user(store):
    """With or without a sid; other users and other issuers keep theirs."""
    own = [make_session(sid=sid) for sid in ("s-1", "s-2", None)]
    others = [make_session(subject="bob"), make_session(issuer="https://other.example")]
    for session in (*own, *others):
        await store.put(session)
    assert 3 == await store.delete_by(own[0].issuer, subject="ada")
    assert [None] * 3 == [await store.get(session.id) for session in own]
    assert others == [await store.get(session.id) for session in others]
    assert 0 == await store.delete_by(own[0].issuer, subject="ada")


@pytest.mark.requirement("CA-25")
async def test_a_logout_by_both_ends_sessions_that_have_both(store):
    """A sid of another user isn't ended."""
    own, other = make_session(sid="s"), make_session(sid="s", subject="bob")
    for session in (own, other):
        await store.put(session)
    assert 1 == await store.delete_by(own.issuer, sid="s", subject="ada")
    assert (None, other) == (await store.get(own.id), await store.get(other.id))


async def test_issuer_and_value_are_told_apart(store):
    """No pair of issuer and subject looks like another one, wherever the border is."""
    session = make_session(issuer="a", subject="bc")
    await store.put(session)
    assert 0 == await store.delete_by("ab", subject="c")
    assert 0 == await store.delete_by("a", sid="bc")
    assert 1 == await store.delete_by("a", subject="bc")


async def test_a_logout_names_somebody(store):
    """Without sid and subject all sessions of the issuer would end."""
    await store.put(make_session())
    with pytest.raises(ValueError, match="sid, subject"):
        await store.delete_by("https://id.example")


async def test_one_caller_at_a_time_holds_a_lock(store):
    """The others wait, and each gets a turn."""
    session, inside, seen = make_session(), 0, []

    async def work(number):
        nonlocal inside
        async with store.lock(session.id):
            inside += 1
            assert 1 == inside
            await anyio.sleep(0)
            inside -= 1
        seen.append(number)

    async with anyio.create_task_group() as group:
        for number in range(10):
            group.start_soon(work, number)
    assert list(range(10)) == sorted(seen)


async def test_locks_of_two_sessions_are_independent(store):
    """A lock belongs to one session."""
    async with store.lock("one"), store.lock("other"):
        pass


async def test_a_lock_is_free_after_a_failure_or_a_cancellation(store):
    """The exception of the block is raised unchanged, and the next caller has the lock at once."""
    with pytest.raises(LookupError, match="mine"):
        async with store.lock("one"):
            raise LookupError("mine")
    with anyio.CancelScope() as scope:
        async with store.lock("one"):
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    with anyio.fail_after(5):
        async with store.lock("one"):
            pass


async def test_the_text_of_a_session_has_no_secret():
    """Neither id nor tokens are in the repr, which may be logged."""
    session = make_session(**RICH)
    for secret in (session.id, session.csrf_token, "access-secret", "refresh-secret", "id-secret"):
        assert secret not in f"{session!r} {session}"
    assert "'ada'" in repr(session)


@pytest.mark.parametrize("name", ["id", "provider", "issuer", "subject"])
def test_a_session_of_nobody_is_refused(name):
    """A blank name is a mistake of the caller."""
    with pytest.raises(ValueError, match=name):
        make_session(**{name: " "})


def test_ids_have_256_bits():
    """43 characters of 6 bits, and no two alike."""
    ids = {make_session().id for _ in range(100)}
    assert 100 == len(ids)
    assert {43} == {len(each) for each in ids}
