"""Refreshes that fail: by a refusal, by an outage, or unexpectedly."""

import anyio
import pytest
from starlette.responses import JSONResponse
from tests.contrib.oidc.clock import Clock
from tests.contrib.oidc.login.refreshes import EXACT, OUTAGES, count_refreshes, who
from tests.contrib.oidc.login.shop import open_shop
from tests.contrib.oidc.login.stores import UnreliableStore
from tests.logged import capture_logs

from bandmaster.contrib.oidc.login import refresh

pytestmark = pytest.mark.anyio


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


MISTAKES = ["invalid_client", "unauthorized_client", "invalid_request", "invalid_scope", "unsupported_grant_type"]


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
