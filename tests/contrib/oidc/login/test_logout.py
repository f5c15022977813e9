"""Logging out: here first, then at the provider; and at the provider's wish."""

import pytest
from pydantic import SecretStr
from tests.contrib.oidc.clock import Clock
from tests.contrib.oidc.login.openid_provider import OpenIDProvider
from tests.contrib.oidc.login.shop import APP, open_shop
from tests.contrib.oidc.login.stores import UnreliableStore
from tests.logged import capture_logs

from bandmaster.contrib.oidc.errors import AuthUnavailableError
from bandmaster.contrib.oidc.sessions.cipher import Cipher
from bandmaster.contrib.oidc.sessions.cookie import PURPOSE, CookieSessionStore

pytestmark = pytest.mark.anyio

FOREIGN = "https://evil.example"


@pytest.mark.requirement("CA-26")
async def test_a_provider_without_a_logout():
    """The local session ends, and the browser stays with us."""
    async with open_shop(OpenIDProvider(has_end_session=False), settings={"after_logout": "/private"}) as shop:
        browser = await shop.log_in()
        response = await browser.visit("/auth/logout", origin=APP, follow=False)
        assert response.headers["location"] == "/private"
        assert browser.cookies == {}
        assert len(shop.store) == 0


@pytest.mark.requirement("CA-26")
async def test_a_provider_that_is_away_at_the_logout():
    """The local session ends without the provider."""
    async with open_shop() as shop:
        browser = await shop.log_in()
        shop.login.logout._directory = _Away()
        response = await browser.visit("/auth/logout", origin=APP)
        assert str(response.request.url) == "https://app.example/"
        assert len(shop.store) == 0


class _Away:
    async def find_endpoints(self, provider):
        raise AuthUnavailableError("away")


@pytest.mark.requirement("CA-26")
async def test_the_hint_is_the_id_token_of_the_login():
    """The ID token is sent as a hint, also after it has expired."""
    async with open_shop(OpenIDProvider(issues_refresh_tokens=False)) as shop:
        browser = await shop.log_in()
        session = await shop.store.get(browser.cookies["__Host-session"].value)
        shop.clock.advance(3600)
        await browser.visit("/auth/logout", origin=APP)
        assert [sent["id_token_hint"] for sent in shop.provider.logouts] == [session.id_token]


async def test_a_logout_without_a_session():
    """Somebody who isn't logged in is sent on; a cookie that is worth nothing is removed."""
    async with open_shop() as shop:
        browser = shop.browser()
        response = await browser.visit("/auth/logout", origin=FOREIGN, follow=False)
        assert (response.headers["location"], browser.set_cookies) == ("/", [])
        await shop.log_in(browser=browser)
        await shop.store.delete(browser.cookies["__Host-session"].value)
        await browser.visit("/auth/logout", origin=APP, follow=False)
        assert browser.cookies == {}


async def test_a_link_of_another_site_asks_first():
    """A page elsewhere can't log users out: its link leads to a question, and its form is refused."""
    async with open_shop() as shop:
        browser = await shop.log_in()
        page = await browser.visit("/auth/logout", origin=FOREIGN)
        assert "Do you want to log out?" in page.text
        assert "script-src" not in page.headers["content-security-policy"]
        cookie = f"__Host-session={browser.cookies['__Host-session'].value}"
        for data in ({}, {"csrf_token": "x" * 43}):
            headers = {"cookie": cookie, "origin": FOREIGN, "sec-fetch-site": "cross-site"}
            response = await shop.running.client.post("/auth/logout", data=data, headers=headers)
            assert response.status_code == 403
        assert (await browser.visit("/")).json()["user"] == "alice"
        address, fields = browser.read_form(page)
        response = await browser.submit(address, fields, origin=APP)
        assert response.json()["user"] is None


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-dest": "image", "sec-fetch-mode": "no-cors"},
        {"sec-fetch-dest": "iframe"},
        {"sec-purpose": "prefetch;prerender"},
    ],
)
async def test_what_a_page_of_ours_embeds_asks_first(headers):
    """An image or a frame whose address another user has written logs nobody out, and neither does a prefetch."""
    async with open_shop() as shop:
        browser = await shop.log_in()
        answer = await browser.visit("/auth/logout", origin=APP, headers=headers)
        assert "Do you want to log out?" in answer.text
        assert (await browser.visit("/")).json()["user"] == "alice"
        assert (await browser.fetch("GET", "/auth/logout")).status_code == 303
        assert len(shop.store) == 0


async def test_the_form_works_in_an_old_browser():
    """Without Fetch Metadata and Origin the token in the form is enough."""
    async with open_shop() as shop:
        browser = await shop.log_in()
        session = await shop.store.get(browser.cookies["__Host-session"].value)
        headers = {"cookie": f"__Host-session={session.id}"}
        data = {"csrf_token": session.csrf_token}
        response = await shop.running.client.post("/auth/logout", data=data, headers=headers, follow_redirects=False)
        assert response.status_code == 303
        assert len(shop.store) == 0


@pytest.mark.requirement("CA-43")
async def test_a_logout_that_was_not_written_is_none():
    """While the store takes no writes, the answer is 503 and the cookie stays, for another try."""
    clock = Clock()
    store = UnreliableStore(clock)
    async with open_shop(store=store, clock=clock) as shop:
        browser = await shop.log_in()
        store.failing_writes = 1
        response = await browser.visit("/auth/logout", origin=APP, follow=False)
        assert response.status_code == 503
        assert "__Host-session" in browser.cookies
        assert shop.provider.logouts == []
        assert (await browser.visit("/auth/logout", origin=APP)).json()["user"] is None


@pytest.mark.requirement("CA-25")
async def test_a_logout_token_with_only_a_user_ends_all_sessions_of_that_user():
    """One with ``sid`` ends exactly that session."""
    async with open_shop() as shop:
        first = await shop.log_in()
        shop.provider.sid = "op-session-2"
        second = await shop.log_in()
        shop.provider.user, shop.provider.sid = "bob", "op-session-3"
        third = await shop.log_in()

        async def send(**changes):
            token = shop.provider.make_logout_token(**changes)
            response = await shop.running.client.post("/auth/backchannel-logout", data={"logout_token": token})
            assert response.status_code == 200
            return [(await browser.visit("/")).json()["user"] for browser in (first, second, third)]

        assert await send(sid="op-session-2", sub=None) == ["alice", None, "bob"]
        await shop.log_in(browser=second)
        assert await send(sid=None, sub="nobody") == ["alice", "bob", "bob"]
        assert await send(sid=None, sub="bob") == ["alice", None, None]


@pytest.mark.requirement("CA-25")
async def test_a_logout_token_is_used_once():
    """A repeated ``jti`` is refused, also after another login; the id of another provider's token is another one."""
    async with open_shop() as shop:
        browser = await shop.log_in()
        token = shop.provider.make_logout_token()

        async def send():
            response = await shop.running.client.post("/auth/backchannel-logout", data={"logout_token": token})
            return response.status_code

        assert await send() == 200
        await shop.log_in(browser=browser)
        assert await send() == 400
        assert (await browser.visit("/")).json()["user"] == "alice"


@pytest.mark.requirement("CA-25")
async def test_a_logout_token_needs_no_cookie_and_no_origin():
    """The provider's call passes the protection against forgery, also with the headers of another site."""
    async with open_shop() as shop:
        browser = await shop.log_in()
        headers = {"origin": "https://op.example", "sec-fetch-site": "cross-site"}
        data = {"logout_token": shop.provider.make_logout_token()}
        response = await shop.running.client.post("/auth/backchannel-logout", data=data, headers=headers)
        assert response.status_code == 200
        assert (await browser.visit("/")).json()["user"] is None


@pytest.mark.requirement("CA-25", "CA-43")
async def test_a_logout_token_while_the_store_is_away():
    """The provider gets 503 and may send the same token again: it doesn't count as used."""
    clock = Clock()
    store = UnreliableStore(clock)
    async with open_shop(store=store, clock=clock) as shop:
        browser = await shop.log_in()
        data = {"logout_token": shop.provider.make_logout_token()}
        store.is_away = True
        assert (await shop.running.client.post("/auth/backchannel-logout", data=data)).status_code == 503
        store.is_away = False
        assert (await shop.running.client.post("/auth/backchannel-logout", data=data)).status_code == 200
        assert (await browser.visit("/")).json()["user"] is None


@pytest.mark.parametrize(
    "body",
    [
        {"data": {}},
        {"data": {"logout_token": ""}},
        {"data": {"logout_token": "a.b.c"}},
        {"data": {"logout_token": "a.b"}},
        {"data": {"logout_token": "a.W10.c"}},
        {"data": {"logout_token": "x" * 20_000}},
        {"json": {"logout_token": "a.b.c"}},
        {"content": b"logout_token=%FF", "headers": {"content-type": "application/x-www-form-urlencoded"}},
        {"content": b"a=" + b"x" * 70_000, "headers": {"content-type": "application/x-www-form-urlencoded"}},
        {"data": {"logout_token": ["a", "b"]}},
    ],
    ids=range(10),
)
async def test_something_else_than_a_logout_token(body):
    """A malformed request gets 400 and asks the provider for no keys."""
    async with open_shop() as shop:
        response = await shop.running.client.post("/auth/backchannel-logout", **body)
        assert response.status_code == 400
        assert shop.provider.key_requests == 0


async def test_a_logout_token_of_the_right_provider():
    """With several providers each is asked for the keys of its own tokens."""
    second = OpenIDProvider(
        issuer="https://op.second.example",
        client_id="shop2",
        redirect_uris=("https://app.example/auth/callback/second",),
        algorithm="ES256",
    )
    async with open_shop(others=[second]) as shop:
        browser = shop.browser()
        await browser.visit("/auth/login/second")
        forged = shop.provider.make_logout_token(iss=second.issuer, aud="shop2")
        for token, status in ((forged, 400), (second.make_logout_token(), 200)):
            response = await shop.running.client.post("/auth/backchannel-logout", data={"logout_token": token})
            assert response.status_code == status
        assert (await browser.visit("/")).json()["user"] is None


async def test_a_logout_token_is_not_logged():
    """A refused logout token is logged with the reason, and without the token."""
    async with open_shop() as shop:
        token = shop.provider.make_logout_token(nonce="x")
        with capture_logs() as logs:
            await shop.running.client.post("/auth/backchannel-logout", data={"logout_token": token})
    [entry] = [entry for entry in logs if entry["event"] == "a logout token was refused"]
    assert entry["reason"] == "the logout token has a nonce"
    assert token not in repr(logs)


async def test_sessions_in_cookies():
    """A session in the cookie logs in, holds no refresh token, and ends with its cookie."""
    clock = Clock()
    store = CookieSessionStore(Cipher({"1": SecretStr("k" * 43)}, PURPOSE), clock=clock)
    async with open_shop(store=store, clock=clock) as shop:
        browser = await shop.log_in()
        session = await store.get(browser.cookies["__Host-session"].value)
        assert (session.subject, session.refresh_token) == ("alice", None)
        data = {"logout_token": shop.provider.make_logout_token()}
        assert (await shop.running.client.post("/auth/backchannel-logout", data=data)).status_code == 501
        clock.advance(400)
        assert (await browser.visit("/")).json()["user"] == "alice"
        await shop.log_in(browser=browser)
        assert (await browser.visit("/auth/logout", origin=APP)).json()["user"] is None
        assert browser.cookies == {}


@pytest.mark.requirement("CA-23")
async def test_a_session_that_is_too_large_for_a_cookie():
    """The login ends in an error page, with the size in the log, and no cookie that the browser would drop."""
    clock = Clock()
    store = CookieSessionStore(Cipher({"1": SecretStr("k" * 43)}, PURPOSE), clock=clock)
    large = OpenIDProvider(change_userinfo=lambda claims: {**claims, "groups": ["g" * 50] * 100})
    with capture_logs() as logs:
        async with open_shop(large, store=store, clock=clock) as shop:
            browser = shop.browser()
            response = await browser.visit("/auth/login")
            assert response.status_code == 500
            assert browser.cookies == {}
            assert all(len(header) <= 4096 for header in browser.set_cookies)
    [entry] = [entry for entry in logs if entry["event"] == "a session is too large for a cookie"]
    assert entry["size"] > entry["limit"]


@pytest.mark.requirement("CA-23")
async def test_a_large_session_on_the_server():
    """The cookie of a session on the server has one size, whatever the session holds."""
    large = OpenIDProvider(change_userinfo=lambda claims: {**claims, "groups": ["g" * 50] * 1000})
    async with open_shop(large) as shop:
        browser = await shop.log_in()
        assert len(browser.cookies["__Host-session"].value) == 43


@pytest.mark.requirement("CA-25")
async def test_two_clients_at_one_issuer():
    """A logout token ends the sessions of the client that it is meant for, also where that isn't the first one."""
    partners = OpenIDProvider(client_id="partners")
    login_only = {"access_token_type": "refused"}
    async with open_shop(others=[partners], issuer=login_only) as shop:
        for token in (partners.make_logout_token(), shop.provider.make_logout_token()):
            response = await shop.running.client.post("/auth/backchannel-logout", data={"logout_token": token})
            assert response.status_code == 200
        token = partners.make_logout_token(aud="unknown")
        response = await shop.running.client.post("/auth/backchannel-logout", data={"logout_token": token})
        assert response.status_code == 400
