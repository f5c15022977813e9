"""Logging in: the authorization code flow, its cookies, and where it leads."""

import itertools
import json
from urllib.parse import parse_qs, urlsplit

import anyio
import pytest
from starlette.responses import JSONResponse, PlainTextResponse
from tests.contrib.oidc.clock import Clock
from tests.contrib.oidc.login.openid_provider import OpenIDProvider
from tests.contrib.oidc.login.shop import make_issuer, open_shop
from tests.contrib.oidc.login.stores import UnreliableStore
from tests.logged import capture_logs

from bandmaster.contrib.oidc import MemorySessionStore, Session
from bandmaster.contrib.oidc.login.authorization import build_authorization_url
from bandmaster.contrib.oidc.login.pending import PendingLogin
from bandmaster.contrib.oidc.login.providers import Endpoints
from bandmaster.contrib.oidc.sessions.store import new_session_id

pytestmark = pytest.mark.anyio


async def begin(browser, path="/auth/login"):
    """Begin a login; the address of the provider."""
    response = await browser.visit(path, follow=False)
    assert response.status_code == 303
    return response.headers["location"]


async def answer(browser, address):
    """Let the provider answer; the address of the callback."""
    response = await browser.visit(address, follow=False)
    return response.headers["location"]


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


@pytest.mark.requirement("CA-21")
@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
async def test_logins_in_several_tabs_finish_in_any_order(order):
    """Each tab has a state of its own, and comes back to its own page."""
    async with open_shop() as shop:
        browser = shop.browser()
        addresses = [await begin(browser, f"/auth/login?return_to=/private/{tab}") for tab in range(3)]
        for tab in order:
            response = await browser.visit(await answer(browser, addresses[tab]))
            assert str(response.request.url) == f"https://app.example/private/{tab}"
            assert response.json()["user"] == "alice"
        assert browser.cookies.keys() == {"__Host-session"}


@pytest.mark.requirement("CA-21")
async def test_abandoned_logins_make_room():
    """A browser keeps five logins under way; the oldest goes first."""
    async with open_shop() as shop:
        browser = shop.browser()
        addresses = []
        for _ in range(8):
            addresses.append(await begin(browser))
            shop.clock.advance(1)
        assert len(browser.cookies) == 5
        for address in addresses[:3]:
            assert (await browser.visit(await answer(browser, address))).status_code == 400
        for address in reversed(addresses[3:]):
            assert (await browser.visit(await answer(browser, address))).status_code == 200


@pytest.mark.requirement("CA-21")
async def test_logins_that_lead_to_long_addresses_keep_the_cookies_small():
    """Proxies refuse requests with 8 KiB of cookies: the oldest logins go before that, and the newest one finishes."""
    async with open_shop() as shop:
        browser = shop.browser()
        for _ in range(5):
            address = await begin(browser, f"/auth/login?return_to=/{'x' * 1000}")
            shop.clock.advance(1)
            assert sum(len(cookie.value) for cookie in browser.cookies.values()) <= 4096
        assert len(browser.cookies) == 2
        assert (await browser.visit(await answer(browser, address), follow=False)).status_code == 303


async def test_a_login_is_finished_once():
    """A callback that is visited again asks the provider nothing, and logs nobody in."""
    async with open_shop() as shop:
        browser = shop.browser()
        callback = await answer(browser, await begin(browser))
        before = dict(browser.cookies)
        assert (await browser.visit(callback)).status_code == 200
        assert (await browser.visit(callback)).status_code == 400
        # Also with the cookie that the first visit has removed.
        browser.cookies.clear()
        browser.cookies.update(before)
        response = await browser.visit(callback)
        assert response.status_code == 400
        assert "__Host-session" not in browser.cookies
        assert len(shop.provider.token_requests) == 1


async def test_two_callbacks_at_once_use_a_login_once():
    """A double click sends the code to the provider once."""
    async with open_shop() as shop:
        browser = shop.browser()
        callback = await answer(browser, await begin(browser))
        statuses = []

        async def visit():
            statuses.append((await browser.visit(callback, follow=False)).status_code)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(visit)
            tasks.start_soon(visit)
        assert sorted(statuses) == [303, 400]
        assert len(shop.provider.token_requests) == 1


@pytest.mark.requirement("AU-6")
async def test_a_login_belongs_to_the_browser_that_began_it():
    """The callback of one browser, opened in another, logs nobody in there: no login CSRF."""
    async with open_shop() as shop:
        attacker, victim = shop.browser(), shop.browser()
        await begin(victim)
        callback = await answer(attacker, await begin(attacker))
        response = await victim.visit(callback, origin="https://evil.example")
        assert response.status_code == 400
        assert "__Host-session" not in victim.cookies
        assert shop.provider.token_requests == []


async def test_a_login_takes_ten_minutes_at_the_most():
    """After that the callback is refused, also where the browser has kept the cookie."""
    async with open_shop() as shop:
        browser = shop.browser()
        callback = await answer(browser, await begin(browser))
        shop.clock.advance(600)
        assert (await browser.visit(callback)).status_code == 400
        assert shop.provider.token_requests == []


@pytest.mark.parametrize(
    "query",
    ["", "?code=x", "?state=x", "?state=x&code=a&code=b", "?state=%FF&code=x", "?state=&code=x", "?code=x&state=s"],
)
async def test_a_malformed_answer_is_refused(query):
    """A callback without a state of this browser gives an error page, with the address of the login."""
    async with open_shop() as shop:
        response = await shop.browser().visit(f"/auth/callback{query}")
        assert response.status_code == 400
        assert "https://app.example/auth/login" in response.text


@pytest.mark.parametrize("tampered", ["x", "1.AAAA", ""])
async def test_a_changed_cookie_is_no_login(tampered):
    """The cookie of a login under way is encrypted; another text is no login."""
    async with open_shop() as shop:
        browser = shop.browser()
        callback = await answer(browser, await begin(browser))
        [cookie] = browser.cookies.values()
        for secret in parse_qs(urlsplit(callback).query)["state"]:
            assert secret not in cookie.value
        cookie.value = tampered
        assert (await browser.visit(callback)).status_code == 400


async def test_the_cookie_of_one_login_does_not_fit_another():
    """A cookie is bound to its name, which comes from the state."""
    async with open_shop() as shop:
        browser = shop.browser()
        await begin(browser)
        [first] = browser.cookies.values()
        callback = await answer(browser, await begin(browser))
        for cookie in browser.cookies.values():
            cookie.value = first.value
        assert (await browser.visit(callback)).status_code == 400


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


@pytest.mark.requirement("CA-24")
async def test_only_navigations_are_redirected():
    """A page in the window is redirected to the login; scripts, frames and programs get 401 with the address."""
    async with open_shop() as shop:
        browser = shop.browser()
        response = await browser.visit("/private/a b?x=1&y=2", follow=False)
        assert response.status_code == 303
        assert response.headers["location"] == "/auth/login?return_to=/private/a%2520b%3Fx%3D1%26y%3D2"
        assert "www-authenticate" not in response.headers
        frame = {"sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe", "accept": "text/html"}
        script = {"accept": "text/html", "x-requested-with": "XMLHttpRequest"}
        for headers in (frame, script, {"sec-fetch-mode": "cors"}, {}, {"accept": "application/json"}):
            response = await shop.running.client.get("/private", headers=headers)
            assert response.status_code == 401, headers
            assert response.headers["www-authenticate"] == "Bearer"
        response = await browser.fetch("GET", "/private")
        assert response.headers["content-type"] == "application/problem+json"
        assert int(response.headers["content-length"]) == len(response.content)
        assert response.json() == {
            "type": "about:blank",
            "title": "Unauthorized",
            "status": 401,
            "detail": "This needs authentication.",
            "instance": "/private",
            "login": "https://app.example/auth/login",
        }


async def test_an_old_browser_is_redirected_by_its_accept_header():
    """Without Fetch Metadata a request for HTML counts as a navigation."""
    async with open_shop() as shop:
        response = await shop.running.client.get("/private", headers={"accept": "text/html,*/*;q=0.8"})
        assert response.status_code == 303


async def test_a_client_with_another_credential_is_not_sent_to_a_login():
    """A 401 for an Authorization header stays as it is."""
    async with open_shop() as shop:
        headers = {"authorization": "Bearer x", "accept": "text/html", "sec-fetch-mode": "navigate"}
        response = await shop.running.client.get("/private", headers=headers)
        assert response.status_code == 401
        assert "auth/login" not in response.text


async def test_a_navigation_comes_back_to_its_page():
    """The path and the query of the page that was refused are those after the login."""
    async with open_shop() as shop:
        response = await shop.browser().visit("/private/a%20b?x=1&y=2")
        assert str(response.request.url) == "https://app.example/private/a%20b?x=1&y=2"
        assert response.json()["user"] == "alice"


SECOND = {
    "issuer": "https://op.second.example",
    "client_id": "shop2",
    "redirect_uris": ("https://app.example/auth/callback/second",),
}


async def test_several_providers_side_by_side():
    """A page lets the user choose; each provider has addresses of its own, and sessions say whose they are."""
    async with open_shop(others=[OpenIDProvider(**SECOND, user="bob")]) as shop:
        browser = shop.browser()
        page = await browser.visit("/auth/login?return_to=/private")
        assert '<a href="/auth/login?return_to=/private">default</a>' in page.text
        assert '<a href="/auth/login/second?return_to=/private">second</a>' in page.text
        response = await browser.visit("/auth/login/second?return_to=/private")
        assert response.json() | {"token": ""} == {"user": "bob", "issuer": "https://op.second.example", "token": ""}
        assert (await browser.visit("/auth/login/third")).status_code == 404


async def test_an_answer_of_another_provider_is_refused():
    """No code is sent to another provider (mix-up, RFC 9700, 4.4): neither by its address nor by its issuer."""
    second = OpenIDProvider(**SECOND)
    async with open_shop(others=[second]) as shop:
        browser = shop.browser()
        honest = await begin(browser, "/auth/login/default")
        state = parse_qs(urlsplit(honest).query)["state"][0]
        for callback in (
            f"/auth/callback/second?code=stolen&state={state}",
            f"/auth/callback?code=stolen&state={state}&iss=https://op.second.example",
        ):
            assert (await browser.visit(callback)).status_code == 400
        assert shop.provider.token_requests == second.token_requests == []


@pytest.mark.parametrize("issuer", ["https://op.example/", "https://OP.example", "", "https://evil.example"])
async def test_another_issuer_in_the_answer_is_refused(issuer):
    """RFC 9207, 2.4: iss is compared character for character."""
    change = lambda sent: {**sent, "iss": issuer}  # noqa: E731
    async with open_shop(OpenIDProvider(change_authorization=change)) as shop:
        assert (await shop.browser().visit("/auth/login")).status_code == 400
        assert shop.provider.token_requests == []


async def test_an_issuer_that_was_promised_must_be_there():
    """RFC 9207, 2.4: without iss the answer of a provider that promises iss is refused; of others it is accepted."""
    without = lambda sent: {name: value for name, value in sent.items() if name != "iss"}  # noqa: E731
    async with open_shop(OpenIDProvider(change_authorization=without)) as shop:
        assert (await shop.browser().visit("/auth/login")).status_code == 400
    async with open_shop(OpenIDProvider(sends_iss=False)) as shop:
        await shop.log_in()


@pytest.mark.parametrize("error", ["access_denied", "login_required", "<script>", "x" * 100])
async def test_a_login_that_the_provider_refuses(error):
    """The user sees an error page with a known code, and nothing that the provider has made up."""
    change = lambda sent: {  # noqa: E731
        "error": error,
        "error_description": "<b>hello</b>",
        "state": sent["state"],
        "iss": sent["iss"],
    }
    async with open_shop(OpenIDProvider(change_authorization=change)) as shop:
        browser = shop.browser()
        response = await browser.visit("/auth/login")
        assert response.status_code == 403
        assert "hello" not in response.text
        assert "<script>" not in response.text
        assert (error if error.isidentifier() and len(error) < 40 else "unknown_error") in response.text
        assert browser.cookies == {}


async def test_an_answer_with_both_a_code_and_an_error():
    """Such an answer is refused (RFC 6749, section 4.1.2.1), and the login goes on with a proper one."""
    async with open_shop() as shop:
        browser = shop.browser()
        callback = await answer(browser, await begin(browser))
        response = await browser.visit(f"{callback}&error=access_denied")
        assert response.status_code == 400
        assert shop.provider.token_requests == []
        assert (await browser.visit(callback, follow=False)).status_code == 303


async def test_a_provider_that_is_away_gives_503():
    """At the beginning of a login, at the token endpoint and at userinfo; nobody is logged in, and nothing stays."""
    async with open_shop() as shop:
        browser = shop.browser()
        shop.provider.is_down = True
        response = await browser.visit("/auth/login")
        assert (response.status_code, response.headers["retry-after"]) == (503, "1")
        shop.provider.is_down = False
        shop.provider.token_answer = lambda: PlainTextResponse("oops", 500)
        assert (await browser.visit("/auth/login")).status_code == 503
        shop.provider.token_answer = None
        shop.provider.userinfo_answer = lambda: PlainTextResponse("oops", 500)
        assert (await browser.visit("/auth/login")).status_code == 503
        assert browser.cookies == {}
        assert len(shop.store) == 0


@pytest.mark.parametrize(
    "answer_of_userinfo",
    [lambda: JSONResponse({"error": "invalid_token"}, 401), lambda: JSONResponse({"name": "nobody"})],
    ids=["a refusal", "no subject"],
)
async def test_userinfo_that_does_not_hold(answer_of_userinfo):
    """A userinfo endpoint that refuses its own token, or names nobody, ends the login."""
    async with open_shop(OpenIDProvider(userinfo_answer=answer_of_userinfo)) as shop:
        assert (await shop.browser().visit("/auth/login")).status_code == 403


async def test_userinfo_can_be_left_out():
    """A provider whose ID token says enough isn't asked for more."""
    async with open_shop(issuer={"userinfo": False}) as shop:
        await shop.log_in()
        assert shop.provider.userinfo_requests == 0


async def test_a_token_answer_without_an_id_token_is_no_login():
    """OpenID Connect Core, 3.1.3.3: an ID token is required."""
    change = lambda tokens: {name: value for name, value in tokens.items() if name != "id_token"}  # noqa: E731
    async with open_shop(OpenIDProvider(change_tokens=change)) as shop:
        assert (await shop.browser().visit("/auth/login")).status_code == 403


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
