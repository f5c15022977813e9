"""Refreshing access tokens: in time, once for all, and never the end of a session but by the provider's word."""

import json
from dataclasses import replace

import anyio
import pytest
from starlette.responses import JSONResponse
from tests.contrib.oidc.clock import Clock
from tests.contrib.oidc.login.openid_provider import OpenIDProvider
from tests.contrib.oidc.login.refreshes import EXACT, OUTAGES, count_refreshes, who
from tests.contrib.oidc.login.shop import open_shop
from tests.contrib.oidc.login.stores import UnreliableStore
from tests.logged import capture_logs

from bandmaster.contrib.oidc.sessions.store import hash_id

pytestmark = pytest.mark.anyio


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


"""Answers of a token endpoint that say nothing definite about the session."""
"""Errors that tell of a mistake in the settings."""


async def test_a_user_cannot_add_scopes_to_a_session():
    """The user can change the address of the login. Scopes that the login doesn't ask for don't count."""
    async with open_shop() as shop:
        browser = shop.browser()
        begun = await browser.visit("/auth/login", follow=False)
        asked = begun.headers["location"]
        assert "scope=openid+" in asked
        await browser.visit(asked.replace("scope=openid+", "scope=openid+admin+"))
        for _ in range(2):
            profile = (await browser.fetch("GET", "/auth/profile")).json()
            assert profile["scopes"] == ["email", "openid", "profile"]
            shop.clock.advance(301)
        assert count_refreshes(shop.provider) == 1
        assert "admin" in shop.provider.authorizations[-1]["scope"].split()


@pytest.mark.requirement("CA-41")
async def test_a_refusal_does_not_end_a_session_that_another_process_has_renewed():
    """Where the store has lost the lock, two processes send one token. The one that is refused ends nothing."""
    async with open_shop() as shop:
        browser = await shop.log_in()
        key = hash_id(browser.cookies["__Host-session"].value)
        before = shop.store._sessions[key]

        def refuse_after_another():
            expires = shop.clock() + 300
            shop.store._sessions[key] = replace(before, refresh_token="theirs", access_expires_at=expires)
            return JSONResponse({"error": "invalid_grant"}, 400)

        shop.provider.token_answer = refuse_after_another
        shop.clock.advance(301)
        assert (await who(browser)).json()["user"] == "alice"
        assert shop.store._sessions[key].refresh_token == "theirs"


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


async def test_requests_without_a_session_do_not_need_the_store():
    """While the store is away, visitors without a cookie are served."""
    clock = Clock()
    store = UnreliableStore(clock)
    store.is_away = True
    async with open_shop(store=store, clock=clock) as shop:
        assert (await shop.browser().visit("/")).json()["user"] is None


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
