"""Sessions in encrypted cookies."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.contrib.oidc.sessions.conftest import make_cipher, make_session

from bandmaster.contrib.oidc.errors import SessionTooLargeError
from bandmaster.contrib.oidc.sessions.cookie import PURPOSE, CookieSessionStore
from bandmaster.contrib.oidc.sessions.records import PURPOSE as OF_STORES

pytestmark = pytest.mark.anyio
FINITE = st.floats(allow_nan=False, allow_infinity=False)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    """Cookies work on both event loops."""
    return request.param


@pytest.fixture
def store(clock):
    return CookieSessionStore(make_cipher(PURPOSE), clock=clock)


async def test_a_cookie_is_the_session(store):
    """The browser sends the unchanged session back, in characters that a cookie may have (RFC 6265, 4.1.1)."""
    session = make_session(sid="s", scopes={"a"}, claims={"name": "\u00e9"}, access_token="access", id_token="id")
    handle = await store.put(session)
    assert re.fullmatch(r"[A-Za-z0-9_.-]+", handle)
    assert session == await store.get(handle)
    assert not store.is_server_side


async def test_a_cookie_shows_nothing_and_no_two_are_alike(store):
    """Neither the id nor a token is readable, and the same session has another text each time."""
    session = make_session(access_token="access-secret")
    first, second = await store.put(session), await store.put(session)
    assert first != second
    assert "secret" not in first


@pytest.mark.requirement("CA-40")
async def test_a_cookie_holds_no_refresh_token(store):
    """A late response would put a used one back into the browser."""
    found = await store.get(await store.put(make_session(refresh_token="refresh", access_token="access")))
    assert found is not None
    assert (None, "access") == (found.refresh_token, found.access_token)


@pytest.mark.requirement("CA-23")
async def test_a_session_above_the_limit_is_refused(store):
    """The error has the size, and names the largest part; no cookie is made that the browser would drop."""
    session = make_session(claims={"groups": ["g" * 20] * 150}, access_token="t" * 600)
    with pytest.raises(SessionTooLargeError, match=r"claims \d+, access token 600.*AUTH_SESSION_STORE") as caught:
        await store.put(session)
    assert caught.value.limit == 3900 < caught.value.size
    assert "gggg" not in str(caught.value)


@pytest.mark.requirement("CA-23")
async def test_the_limit_is_exact(clock):
    """A session of just as many bytes is stored and read."""
    session = make_session(access_token="t" * 500)
    size = len(await CookieSessionStore(make_cipher(PURPOSE), clock=clock).put(session))
    exact = CookieSessionStore(make_cipher(PURPOSE), limit=size, clock=clock)
    assert session == await exact.get(await exact.put(session))
    with pytest.raises(SessionTooLargeError):
        await CookieSessionStore(make_cipher(PURPOSE), limit=size - 1, clock=clock).put(session)


async def test_a_changed_cookie_is_no_session(store, logs):
    """Each changed character is noticed, and nothing is logged: anybody can send a cookie."""
    handle = await store.put(make_session())
    for place in range(0, len(handle), 7):
        other = "A" if handle[place] != "A" else "B"
        changed = f"{handle[:place]}{other}{handle[place + 1 :]}"
        # The last character of base64url may have bits that mean nothing.
        assert place == len(handle) - 1 or await store.get(changed) is None
    for junk in ("", ".", "first.", "first.AAAA", "first.\u00e9", "first.=", "none.AAAA", "x" * 100_000, "first.A\n"):
        assert await store.get(junk) is None
    assert [] == logs


async def test_a_record_of_a_store_is_no_cookie(clock):
    """Keys are derived for each purpose: a record that somebody reads in Redis is no cookie."""
    record = await CookieSessionStore(make_cipher(OF_STORES), clock=clock).put(make_session())
    assert await CookieSessionStore(make_cipher(PURPOSE), clock=clock).get(record) is None


async def test_an_expired_cookie_is_no_session(store, clock):
    """Whatever the browser keeps."""
    handle = await store.put(make_session(expires_at=clock.now + 1))
    clock.now += 1
    assert await store.get(handle) is None
    assert await store.replace(handle, make_session()) is None


async def test_nothing_else_ends_a_cookie(store):
    """A logout finds no session, and a copy of the cookie stays valid, as the docs say."""
    session = make_session(sid="s")
    handle = await store.put(session)
    assert (False, 0) == (await store.delete(handle), await store.delete_by(session.issuer, sid="s"))
    with pytest.raises(ValueError, match="sid, subject"):
        await store.delete_by(session.issuer)
    assert session == await store.get(handle)


async def test_a_cookie_is_replaced(store):
    """A rotation gives another handle."""
    old, new = make_session(), make_session()
    handle = await store.replace(await store.put(old), new)
    assert handle is not None and new == await store.get(handle)


async def test_a_lock_holds_in_the_process(store):
    """Requests of one process take turns."""
    async with store.lock("s"):
        pass


@given(
    values=st.fixed_dictionaries(
        {
            "subject": st.text(min_size=1).filter(str.strip),
            "sid": st.none() | st.text(),
            "scopes": st.frozensets(st.text(max_size=5), max_size=3),
            "claims": st.dictionaries(
                st.text(max_size=5),
                st.recursive(
                    st.none()
                    | st.booleans()
                    | st.integers()
                    | st.floats(allow_nan=False, allow_infinity=False)
                    | st.text(),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
                    max_leaves=5,
                ),
                max_size=3,
            ),
            "access_expires_at": st.none() | st.floats(0, 1e11),
        }
    )
)
def test_every_session_survives_a_cookie(values):
    """Whatever JSON can express, and any text, comes back equal."""
    from bandmaster.contrib.oidc.sessions.records import dump_session, load_session

    session = make_session(**values)
    assert session == load_session(dump_session(session))
    assert session == replace(session)
