"""Refreshing access tokens: in time, once for all, and never the end of a session but by the provider's word."""

import json

import anyio
import pytest
from starlette.responses import JSONResponse, PlainTextResponse, Response
from tests.contrib.oidc.clock import Clock
from tests.contrib.oidc.login.openid_provider import OpenIDProvider
from tests.contrib.oidc.login.shop import open_shop
from tests.contrib.oidc.login.stores import UnreliableStore
from tests.logged import capture_logs

from bandmaster.contrib.oidc.login import refresh

pytestmark = pytest.mark.anyio

EXACT = {"refresh_jitter": 0}


def count_refreshes(provider):
    return sum(request["grant_type"] == "refresh_token" for request in provider.token_requests)


async def who(browser):
    return await browser.visit("/", follow=False)


@pytest.mark.requirement("AU-11")
async def test_a_token_is_refreshed_before_it_expires():
    """From 60 seconds before the expiry on, the first request begins a refresh, and doesn't wait for it."""
    async with open_shop(settings=EXACT) as shop:
        browser = await shop.log_in()
        before = (await who(browser)).json()["token"]
        shop.clock.advance(239)
        assert (await who(browser)).json()["token"] == before
        assert count_refreshes(shop.provider) == 0
        shop.clock.advance(2)
        assert (await who(browser)).json()["token"] == before
        await shop.wait_refreshed()
        assert (await who(browser)).json()["token"] != before
        assert count_refreshes(shop.provider) == 1


async def test_nobody_waits_for_the_refresh_of_a_token_that_holds():
    """While the token endpoint takes its time, requests go on with the token that still holds."""
    gate = anyio.Event()
    async with open_shop(settings=EXACT) as shop:
        browser = await shop.log_in()
        shop.provider.token_gate = gate
        shop.clock.advance(250)
        for _ in range(3):
            assert (await who(browser)).status_code == 200
        gate.set()
        await shop.wait_refreshed()
        assert count_refreshes(shop.provider) == 1


@pytest.mark.requirement("AU-6", "CA-41")
async def test_fifty_requests_refresh_once():
    """50 requests that meet an expired token wait for one refresh, and all succeed with the new token."""
    gate = anyio.Event()
    async with open_shop() as shop:
        browser = await shop.log_in()
        shop.provider.token_gate = gate
        shop.clock.advance(301)
        tokens = []

        async def ask():
            tokens.append((await who(browser)).json()["token"])

        async with anyio.create_task_group() as tasks:
            for _ in range(50):
                tasks.start_soon(ask)
            while count_refreshes(shop.provider) == 0:
                await anyio.sleep(0.001)
            await anyio.wait_all_tasks_blocked()
            gate.set()
        assert len(tokens) == 50
        assert len(set(tokens)) == 1
        assert shop.provider.access_tokens[tokens[0]] == "alice"
        assert count_refreshes(shop.provider) == 1


@pytest.mark.requirement("CA-41")
async def test_a_refresh_outlives_the_request_that_began_it():
    """A browser that leaves during a refresh doesn't lose the new refresh token, which the provider has issued."""
    gate = anyio.Event()
    async with open_shop() as shop:
        browser = await shop.log_in()
        shop.provider.token_gate = gate
        shop.clock.advance(301)
        async with anyio.create_task_group() as tasks:
            # As a server that cancels the request: the test kit's client lets the application go on.
            tasks.start_soon(shop.login.refresher.load, browser.cookies["__Host-session"].value)
            while count_refreshes(shop.provider) == 0:
                await anyio.sleep(0.001)
            tasks.cancel_scope.cancel()
        gate.set()
        await shop.wait_refreshed()
        assert (await who(browser)).json()["user"] == "alice"
        assert count_refreshes(shop.provider) == 1


async def test_a_provider_that_keeps_its_refresh_tokens():
    """Without a new refresh token the old one serves on (RFC 6749, 6)."""

    def keep_only_access(tokens):
        return {name: value for name, value in tokens.items() if name not in ("refresh_token", "id_token", "scope")}

    async with open_shop(OpenIDProvider(rotates=False)) as shop:
        browser = await shop.log_in()
        shop.provider.change_tokens = keep_only_access
        for number in (1, 2):
            shop.clock.advance(301)
            assert (await who(browser)).json()["user"] == "alice"
            assert count_refreshes(shop.provider) == number


@pytest.mark.parametrize("lifetime", [60, 10])
async def test_a_short_token_is_not_refreshed_all_the_time(lifetime):
    """A token that lives for no longer than the skew is refreshed in its last third, not at each request."""
    async with open_shop(OpenIDProvider(token_lifetime=lifetime)) as shop:
        browser = await shop.log_in()
        for _ in range(3):
            await who(browser)
        await shop.wait_refreshed()
        assert count_refreshes(shop.provider) == 0
        shop.clock.advance(lifetime * 0.8)
        await who(browser)
        await shop.wait_refreshed()
        assert count_refreshes(shop.provider) == 1


async def test_refreshes_of_sessions_spread():
    """The jitter differs between sessions, and stays the same for one."""
    async with open_shop(settings={"refresh_skew": 60, "refresh_jitter": 30}) as shop:
        leads = set()
        for _ in range(8):
            browser = await shop.log_in()
            session = await shop.store.get(browser.cookies["__Host-session"].value)
            lead = shop.login.refresher._choose_lead(session)
            assert lead == shop.login.refresher._choose_lead(session)
            assert 60 <= lead <= 90
            leads.add(lead)
        assert len(leads) > 1


async def test_a_session_without_a_refresh_token_lives_on():
    """The session has a life of its own: without a refresh token nothing is refreshed, and nobody is logged out."""
    async with open_shop(OpenIDProvider(issues_refresh_tokens=False)) as shop:
        browser = await shop.log_in()
        shop.clock.advance(3600)
        assert (await who(browser)).json()["user"] == "alice"
        shop.clock.advance(12 * 3600)
        assert (await who(browser)).json()["user"] is None


@pytest.mark.requirement("CA-42")
@pytest.mark.parametrize(
    "error",
    ["invalid_grant", "interaction_required", "login_required", "consent_required", "account_selection_required"],
)
async def test_a_definite_error_ends_the_session(error):
    """The provider says that this user has to log in again, and so says the application."""
    async with open_shop() as shop:
        browser = await shop.log_in()
        shop.provider.token_answer = lambda: JSONResponse({"error": error}, 400)
        shop.clock.advance(301)
        response = await browser.fetch("GET", "/private")
        assert response.status_code == 401
        assert response.json()["login"] == "https://app.example/auth/login"
        assert len(shop.store) == 0


def break_connection():
    raise ConnectionResetError("the provider has gone")


OUTAGES = {
    "500": lambda: PlainTextResponse("oops", 500),
    "502 with a page": lambda: Response("<html>Bad gateway</html>", 502, media_type="text/html"),
    "503 with an OAuth error": lambda: JSONResponse({"error": "invalid_grant"}, 503),
    "429": lambda: JSONResponse({"error": "invalid_grant"}, 429),
    "200 with a page": lambda: Response("<html>Login</html>", 200, media_type="text/html"),
    "200 with no object": lambda: JSONResponse([]),
    "200 without a token": lambda: JSONResponse({"token_type": "Bearer"}),
    "200 of another type": lambda: JSONResponse({"access_token": "x", "token_type": "mac"}),
    "200 with a number for a token": lambda: JSONResponse({"access_token": 7, "token_type": "Bearer"}),
    "302": lambda: Response(status_code=302, headers={"location": "https://op.example/other"}),
    "400 with a page": lambda: PlainTextResponse("invalid_grant", 400),
    "400 with a number": lambda: JSONResponse({"error": 7}, 400),
    "404": lambda: PlainTextResponse("not found", 404),
    "reset": break_connection,
}
"""Answers of a token endpoint that say nothing definite about the session."""
MISTAKES = ["invalid_client", "unauthorized_client", "invalid_request", "invalid_scope", "unsupported_grant_type"]
"""Errors that tell of a mistake in the settings."""


@pytest.mark.requirement("CA-42")
@pytest.mark.parametrize("answer", OUTAGES.values(), ids=OUTAGES.keys())
async def test_an_outage_never_ends_a_session(answer):
    """The old token serves until it expires, then requests get 503; the session works again when the provider does."""
    async with open_shop(settings=EXACT) as shop:
        browser = await shop.log_in()
        shop.provider.token_answer = answer
        shop.clock.advance(250)
        assert (await who(browser)).json()["user"] == "alice"
        await shop.wait_refreshed()
        assert (await who(browser)).json()["user"] == "alice"
        shop.clock.advance(60)
        response = await who(browser)
        assert response.status_code == 503
        assert int(response.headers["retry-after"]) >= 1
        assert "set-cookie" not in response.headers
        shop.provider.token_answer = None
        shop.clock.advance(6)
        assert (await who(browser)).json()["user"] == "alice"


@pytest.mark.requirement("CA-42")
@pytest.mark.parametrize("error", MISTAKES)
async def test_a_mistake_in_the_settings_logs_nobody_out(error):
    """An operator who breaks the client's secret finds an error in the log, and every session afterwards."""
    async with open_shop() as shop:
        browser = await shop.log_in()
        shop.provider.token_answer = lambda: JSONResponse({"error": error}, 401)
        shop.clock.advance(301)
        with capture_logs() as logs:
            assert (await who(browser)).status_code == 503
        assert [entry["oauth_error"] for entry in logs if entry["log_level"] == "error"] == [error]
        shop.provider.token_answer = None
        shop.clock.advance(6)
        assert (await who(browser)).json()["user"] == "alice"


@pytest.mark.requirement("CA-42")
async def test_a_time_out_never_ends_a_session():
    """A token endpoint that doesn't answer within the timeout is an outage."""
    async with open_shop(settings={"token_timeout": 0.05}) as shop:
        browser = await shop.log_in()
        shop.provider.token_gate = anyio.Event()
        shop.clock.advance(301)
        assert (await who(browser)).status_code == 503
        assert len(shop.store) == 1


async def test_a_dead_provider_is_not_asked_by_each_request():
    """After a failure there is a pause, in which requests are answered at once."""
    async with open_shop(settings={"refresh_backoff": 5}) as shop:
        browser = await shop.log_in()
        shop.provider.token_answer = OUTAGES["500"]
        shop.clock.advance(301)
        for _ in range(10):
            response = await who(browser)
            assert (response.status_code, response.headers["retry-after"]) in ((503, "1"), (503, "5"))
        assert count_refreshes(shop.provider) == 1
        shop.clock.advance(5)
        await who(browser)
        assert count_refreshes(shop.provider) == 2


@pytest.mark.parametrize("odd", ["500", "200 with a page", "400 with a page"])
async def test_an_odd_answer_about_one_session_delays_no_other(odd):
    """A provider that fails over one refresh token doesn't cost the other users theirs."""
    async with open_shop() as shop:
        first, second = await shop.log_in(), await shop.log_in()
        shop.provider.token_answer = OUTAGES[odd]
        shop.clock.advance(301)
        assert (await who(first)).status_code == 503
        shop.provider.token_answer = None
        assert (await who(second)).json()["user"] == "alice"
        assert (await who(first)).status_code == 503  # which has a pause of its own


async def test_discovery_that_is_away_is_an_outage():
    """Where the endpoints can't be found, the session goes on."""
    async with open_shop() as shop:
        browser = await shop.log_in()
        shop.provider.is_down = True
        shop.clock.advance(301)
        assert (await who(browser)).status_code == 503
        shop.provider.is_down = False
        shop.clock.advance(6)
        assert (await who(browser)).status_code == 200


@pytest.mark.requirement("CA-42")
async def test_keys_that_are_away_lose_no_refresh_token():
    """A new ID token that can't be checked now is dropped; the new refresh token is kept, since the old one is used."""
    async with open_shop() as shop:
        browser = await shop.log_in()
        before = await shop.store.get(browser.cookies["__Host-session"].value)
        shop.provider.rotate_keys()
        shop.provider.change_tokens = lambda tokens: _hide_keys(shop.provider, tokens)
        shop.clock.advance(301)
        assert (await who(browser)).json()["user"] == "alice"
        after = await shop.store.get(browser.cookies["__Host-session"].value)
        assert after.refresh_token != before.refresh_token
        assert after.id_token == before.id_token


def _hide_keys(provider, tokens):
    provider.hides_keys = True
    return tokens


@pytest.mark.requirement("CA-41")
async def test_a_store_that_fails_after_the_refresh_is_asked_again(monkeypatch):
    """The new refresh token isn't lost because the store missed one write."""
    monkeypatch.setattr(refresh, "_PAUSES", (0.001, 0.001, 0.001))
    clock = Clock()
    store = UnreliableStore(clock)
    async with open_shop(store=store, clock=clock) as shop:
        browser = await shop.log_in()
        store.failing_writes = 3
        clock.advance(301)
        assert (await who(browser)).json()["user"] == "alice"
        clock.advance(301)
        assert (await who(browser)).json()["user"] == "alice"
        assert count_refreshes(shop.provider) == 2


async def test_a_logout_during_a_refresh_stays_a_logout():
    """A refresh that ends after the session has ended brings no session back."""
    gate = anyio.Event()
    async with open_shop() as shop:
        browser = await shop.log_in()
        shop.provider.token_gate = gate
        shop.clock.advance(301)
        answers = []

        async def ask():
            answers.append(await who(browser))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            while count_refreshes(shop.provider) == 0:
                await anyio.sleep(0.001)
            assert await shop.store.delete_by(shop.provider.issuer, subject="alice") == 1
            gate.set()
        assert answers[0].json()["user"] is None
        assert len(shop.store) == 0


@pytest.mark.requirement("CA-43")
async def test_a_store_that_is_away_gives_503():
    """Neither 401 nor a deleted cookie: the session may exist."""
    clock = Clock()
    store = UnreliableStore(clock)
    async with open_shop(store=store, clock=clock) as shop:
        browser = await shop.log_in()
        store.is_away = True
        for url in ("/", "/private", "/auth/profile", "/auth/logout"):
            response = await browser.visit(url, follow=False)
            assert response.status_code == 503, url
            assert response.headers["retry-after"] == "7"
            assert "set-cookie" not in response.headers
        store.is_away = False
        assert (await who(browser)).json()["user"] == "alice"


async def test_requests_without_a_session_do_not_need_the_store():
    """While the store is away, visitors without a cookie are served."""
    clock = Clock()
    store = UnreliableStore(clock)
    store.is_away = True
    async with open_shop(store=store, clock=clock) as shop:
        assert (await shop.browser().visit("/")).json()["user"] is None


async def test_an_unexpected_failure_ends_one_refresh():
    """A fault in one refresh is logged, gives 503, and leaves the component and all other sessions alone."""
    async with open_shop() as shop:
        browser = await shop.log_in()

        async def fail(*_):
            raise KeyError("a fault")

        shop.login.refresher._refresh_once = fail
        shop.clock.advance(301)
        with capture_logs() as logs:
            assert (await who(browser)).status_code == 503
        assert [entry["event"] for entry in logs if entry["log_level"] == "error"] == ["a refresh failed unexpectedly"]
        del shop.login.refresher._refresh_once
        shop.clock.advance(6)
        assert (await who(browser)).json()["user"] == "alice"


async def test_the_log_of_refreshes_has_no_tokens():
    """Neither a success nor a failure logs what was sent or received."""
    async with open_shop() as shop:
        browser = await shop.log_in()
        session = await shop.store.get(browser.cookies["__Host-session"].value)
        with capture_logs() as logs:
            shop.clock.advance(301)
            await who(browser)
            shop.provider.token_answer = OUTAGES["500"]
            shop.clock.advance(301)
            await who(browser)
            shop.provider.token_answer = lambda: JSONResponse({"error": "invalid_grant", "error_description": "x"}, 400)
            shop.clock.advance(6)
            await who(browser)
        text = json.dumps(logs, default=repr)
        for secret in (session.access_token, session.refresh_token, session.id_token, session.id, "s3cr:et /+"):
            assert secret not in text
