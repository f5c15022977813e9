"""Logging in: the authorization code flow, its cookies, and where it leads."""

import json
from urllib.parse import parse_qs, urlsplit

import pytest
from starlette.responses import JSONResponse
from tests.contrib.oidc.clock import Clock
from tests.contrib.oidc.login.openid_provider import OpenIDProvider
from tests.contrib.oidc.login.shop import make_issuer, open_shop
from tests.contrib.oidc.login.steps import answer, begin
from tests.contrib.oidc.login.stores import UnreliableStore
from tests.logged import capture_logs

from bandmaster.contrib.oidc import MemorySessionStore, Session
from bandmaster.contrib.oidc.login.authorization import build_authorization_url
from bandmaster.contrib.oidc.login.pending import PendingLogin
from bandmaster.contrib.oidc.login.providers import Endpoints
from bandmaster.contrib.oidc.sessions.store import new_session_id

pytestmark = pytest.mark.anyio


@pytest.mark.requirement("AU-6")
async def test_a_user_logs_in_and_comes_back():
    """A login ends with a session, at the page that asked for it."""
    async with open_shop() as shop:
        browser = shop.browser()
        response = await browser.visit("/auth/login?return_to=/private/orders?page=2")
        assert (response.status_code, str(response.request.url)) == (200, "https://app.example/private/orders?page=2")
        assert response.json()["user"] == "alice"


@pytest.mark.requirement("AU-6")
async def test_the_secrets_of_a_login_are_new_each_time(monkeypatch):
    """State, nonce and verifier are 256 random bits each, from the module secrets."""
    made = []

    def record(count):
        made.append(count)
        return token_urlsafe(count)

    import secrets

    token_urlsafe = secrets.token_urlsafe
    async with open_shop() as shop:
        monkeypatch.setattr(secrets, "token_urlsafe", record)
        first, second = [parse_qs(urlsplit(await begin(shop.browser())).query) for _ in range(2)]
    assert made == [32] * 6
    for name in ("state", "nonce", "code_challenge"):
        assert first[name] != second[name]
        assert len(first[name][0]) == 43
    assert first["code_challenge_method"] == ["S256"]
    assert first["response_type"] == ["code"]


@pytest.mark.requirement("CA-29")
async def test_further_parameters_are_sent():
    """Parameters of the settings go along with the authorization request and the token requests."""
    changes = {
        "authorize_params": {"audience": "https://api.example", "prompt": "consent"},
        "grant_params": {"resource": "https://api.example"},
    }
    async with open_shop(issuer=changes) as shop:
        browser = await shop.log_in()
        assert shop.provider.authorizations[0]["audience"] == "https://api.example"
        assert shop.provider.authorizations[0]["prompt"] == "consent"
        shop.clock.advance(301)
        await browser.visit("/")
        assert [request["resource"] for request in shop.provider.token_requests] == ["https://api.example"] * 2


@pytest.mark.requirement("CA-29")
async def test_further_parameters_override_nothing():
    """The parameters that protect the flow keep their values where settings name others; settings refuse them, too."""
    hostile = dict.fromkeys(
        ["state", "nonce", "redirect_uri", "client_id", "response_type", "code_challenge", "code_challenge_method"], "x"
    )
    provider = make_issuer("default", OpenIDProvider(), {}).model_copy(update={"authorize_params": hostile})
    login = PendingLogin("default", "/", 0)
    endpoints = Endpoints("https://op.example/authorize?tenant=a", "https://op.example/token")
    sent = parse_qs(urlsplit(build_authorization_url(provider, endpoints, login, "https://app.example/cb")).query)
    assert sent.keys() == {"tenant", "scope", *hostile}
    assert all(values != ["x"] and len(values) == 1 for values in sent.values())
    assert sent["tenant"] == ["a"]


async def test_a_recent_login_can_be_required():
    """max_age is sent, and the time of the login is checked (OpenID Connect Core, 3.1.3.7, item 13)."""
    changes = {"authorize_params": {"max_age": "60"}}
    async with open_shop(issuer=changes) as shop:
        await shop.log_in()
        assert shop.provider.authorizations[0]["max_age"] == "60"
    for change in (
        lambda claims: {**claims, "auth_time": claims["auth_time"] - 91},
        lambda claims: {name: value for name, value in claims.items() if name != "auth_time"},
    ):
        async with open_shop(OpenIDProvider(change_claims=change), issuer=changes) as shop:
            assert (await shop.browser().visit("/auth/login")).status_code == 403


async def test_a_login_gives_a_new_id():
    """The id of the session is another one after each login, and the old one is worth nothing: no session fixation."""
    async with open_shop() as shop:
        browser = await shop.log_in()
        old = browser.cookies["__Host-session"].value
        await shop.log_in(browser=browser)
        new = browser.cookies["__Host-session"].value
        assert old != new
        browser.cookies["__Host-session"].value = old
        assert (await browser.visit("/")).json()["user"] is None
        assert len(shop.store) == 1


async def test_an_id_that_somebody_has_chosen_is_not_used():
    """A session cookie that an attacker has planted gets no session."""
    async with open_shop() as shop:
        browser = shop.browser()
        planted = new_session_id()
        await browser.visit("/", headers={"cookie": f"__Host-session={planted}"})
        callback = await answer(browser, await begin(browser))
        browser.jars["app.example"]["__Host-session"] = next(iter(browser.cookies.values())).__class__(
            planted, True, "lax", ""
        )
        await browser.visit(callback)
        assert browser.cookies["__Host-session"].value != planted
        assert await shop.store.get(planted) is None


@pytest.mark.requirement("CA-28")
async def test_the_cookies_of_production():
    """By HTTPS every cookie is a __Host- cookie: HttpOnly, Secure, SameSite=Lax, and of no other host."""
    async with open_shop() as shop:
        browser = await shop.log_in()
        await browser.visit("/auth/logout", origin="https://app.example")
        assert len(browser.set_cookies) == 6
        for header in browser.set_cookies:
            name, _, attributes = header.partition("=")
            assert name.startswith("__Host-")
            kept = {part.strip() for part in attributes.split(";")[1:] if "Max-Age" not in part}
            assert kept == {"Path=/", "HttpOnly", "SameSite=Lax", "Secure"}


@pytest.mark.requirement("CA-28")
async def test_a_login_works_on_plain_http_in_development():
    """On a plain-HTTP address cookies have neither the prefix nor Secure, and the login works."""
    provider = OpenIDProvider(redirect_uris=("http://localhost:8000/auth/callback",))
    async with open_shop(provider, public_url=None) as shop:
        browser = await shop.log_in()
        assert browser.cookies.keys() == {"session"}
        assert not any("Secure" in header or "__Host-" in header for header in browser.set_cookies)
        assert (await browser.visit("/")).json()["user"] == "alice"


@pytest.mark.requirement("CA-20")
async def test_requests_that_change_nothing_send_no_cookie():
    """Neither with a session, nor without one, nor with a cookie that is worth nothing."""
    async with open_shop() as shop:
        browser = await shop.log_in()
        count = len(browser.set_cookies)
        for url in ("/", "/private", "/auth/profile", "/missing"):
            await browser.visit(url)
        await browser.fetch("POST", "/change")
        shop.clock.advance(301)
        await browser.visit("/")
        await shop.store.delete(browser.cookies["__Host-session"].value)
        for url in ("/", "/missing"):
            await browser.visit(url)
        await browser.fetch("GET", "/private")
        assert len(browser.set_cookies) == count
        stranger = shop.browser()
        await stranger.visit("/")
        assert stranger.set_cookies == []


@pytest.mark.requirement("CA-22")
async def test_addresses_never_come_from_the_request():
    """Neither Host nor forwarded headers change the redirect address, the address after a logout, or the login's."""
    headers = {"host": "evil.example", "x-forwarded-host": "evil.example", "x-forwarded-proto": "http"}
    async with open_shop() as shop:
        browser = shop.browser()
        response = await browser.visit("/auth/login?return_to=/private", follow=False, headers=headers)
        sent = parse_qs(urlsplit(response.headers["location"]).query)
        assert sent["redirect_uri"] == ["https://app.example/auth/callback"]
        callback = await answer(browser, response.headers["location"])
        response = await browser.visit(callback, follow=False, headers=headers)
        assert response.headers["location"] == "/private"
        response = await browser.fetch("GET", "/auth/logout", headers=headers)
        assert "post_logout_redirect_uri=https%3A%2F%2Fapp.example%2Fauth%2Flogged-out" in response.headers["location"]
        response = await browser.visit("/private", follow=False, headers=headers)
        assert response.headers["location"] == "/auth/login?return_to=/private"
        response = await browser.fetch("GET", "/private", headers=headers)
        assert response.json()["login"] == "https://app.example/auth/login"


@pytest.mark.requirement("CA-43")
async def test_a_login_while_the_store_is_away():
    """The login gives 503, and the browser's old session cookie stays."""
    clock = Clock()
    store = UnreliableStore(clock)
    async with open_shop(store=store, clock=clock) as shop:
        browser = await shop.log_in()
        kept = browser.cookies["__Host-session"].value
        callback = await answer(browser, await begin(browser))
        store.is_away = True
        assert (await browser.visit(callback)).status_code == 503
        store.is_away = False
        assert browser.cookies["__Host-session"].value == kept


async def test_the_profile():
    """The profile says who is logged in, and gives pages the token against forgery; nothing else secret."""
    async with open_shop() as shop:
        browser = await shop.log_in()
        response = await browser.fetch("GET", "/auth/profile")
        session = await shop.store.get(browser.cookies["__Host-session"].value)
        assert response.headers["cache-control"] == "no-store"
        assert response.json() == {
            "sub": "alice",
            "iss": "https://op.example",
            "kind": "session",
            "provider": "default",
            "scopes": ["email", "openid", "profile"],
            "expires_at": shop.clock.now + 12 * 3600,
            "csrf_token": session.csrf_token,
            "claims": {"name": "Alice Example", "email": "alice@example.org", "auth_time": shop.clock.now},
        }
        for secret in (session.access_token, session.refresh_token, session.id_token, session.id):
            assert secret not in response.text


async def test_the_profile_of_nobody():
    """Without a session the profile is a 401 with the address of the login."""
    async with open_shop() as shop:
        response = await shop.browser().fetch("GET", "/auth/profile")
        assert (response.status_code, response.json()["login"]) == (401, "https://app.example/auth/login")


@pytest.mark.parametrize("marker", ["state", "logout"])
async def test_a_note_in_the_store_is_no_session(marker):
    """The store also holds notes about used values; a cookie with the id of one logs nobody in."""
    async with open_shop() as shop:
        note = f"{marker}:{'0' * 64}"
        now = shop.clock.now
        await shop.store.put(
            Session(id=note, provider="x", issuer="x", subject="admin", created_at=now, expires_at=now + 60)
        )
        headers = {"cookie": f"__Host-session={note}"}
        assert (await shop.running.client.get("/", headers=headers)).json()["user"] is None
        await shop.running.client.get("/auth/logout", headers={**headers, "sec-fetch-site": "same-origin"})
        assert await shop.store.get(note) is not None


async def test_behind_a_path_prefix():
    """With a path in the public address every address has it, also the page to come back to."""
    provider = OpenIDProvider(redirect_uris=("https://app.example/shop/auth/callback",))
    async with open_shop(provider, public_url="https://app.example/shop") as shop:
        browser = shop.browser()
        client = shop.running.client
        response = await client.get("https://app.example/private/1?x=2", headers={"accept": "text/html"})
        assert response.headers["location"] == "/shop/auth/login?return_to=/shop/private/1%3Fx%3D2"
        scope = {"asgi_scope": {"root_path": "/shop", "path": "/shop/private/1"}}
        response = await client.get(
            "https://app.example/private/1?x=2", headers={"accept": "text/html"}, extensions=scope
        )
        assert response.headers["location"] == "/shop/auth/login?return_to=/shop/private/1%3Fx%3D2"
        response = await browser.visit("https://app.example/auth/login", follow=False)
        response = await browser.visit(response.headers["location"], follow=False)
        assert response.headers["location"].startswith("https://app.example/shop/auth/callback?")


@pytest.mark.requirement("AU-17")
async def test_a_login_logs_no_secret():
    """Neither the codes nor the tokens nor the cookies of a login are in the log, nor in the text of an object."""
    with capture_logs() as logs:
        async with open_shop() as shop:
            browser = await shop.log_in()
            session = await shop.store.get(browser.cookies["__Host-session"].value)
            shop.provider.token_answer = lambda: JSONResponse({"error": "invalid_grant"}, 400)
            await browser.visit("/auth/login")
            shown = repr([shop.login, session, shop.login.relying_party.providers])
    sent = [*shop.provider.authorizations, *shop.provider.token_requests]
    secret_names = ("state", "nonce", "code", "code_verifier", "client_secret")
    secrets = {request[name] for request in sent for name in secret_names if name in request}
    secrets |= {session.id, session.csrf_token, session.access_token, session.refresh_token, session.id_token}
    secrets |= {header.partition(";")[0].partition("=")[2] for header in browser.set_cookies} - {""}
    assert len(secrets) > 10
    text = json.dumps(logs, default=repr) + shown
    assert [secret for secret in secrets if secret in text] == []
    assert {"login", "a login failed"} <= {entry["event"] for entry in logs}


async def test_a_session_in_memory_is_not_pushed_out_by_logins():
    """Logins that are only begun take no room from sessions."""
    clock = Clock()
    async with open_shop(store=MemorySessionStore(max_sessions=1, clock=clock), clock=clock) as shop:
        browser = await shop.log_in()
        for _ in range(5):
            stranger = shop.browser()
            address = await begin(stranger)
            state = parse_qs(urlsplit(address).query)["state"][0]
            await stranger.visit(f"/auth/callback?state={state}&code=junk")
        assert (await browser.visit("/")).json()["user"] == "alice"
