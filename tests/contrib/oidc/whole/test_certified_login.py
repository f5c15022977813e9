"""Users log in to an application by the certified provider."""

from __future__ import annotations

import re

import anyio
import httpx2
import pytest
from tests.contrib.oidc.providers.browser import Callback
from tests.contrib.oidc.providers.certified import OidcProvider
from tests.contrib.oidc.whole.shop import (
    NAVIGATION,
    PUBLIC_URL,
    add_client,
    ask,
    begin_login,
    finish_login,
    list_cookies,
    log_in,
    path_of,
    run_shop,
)

from bandmaster.contrib.oidc.login.settings import LoginSettings

pytestmark = pytest.mark.anyio
BACKCHANNEL = f"{PUBLIC_URL}/auth/backchannel-logout"


@pytest.mark.requirement("AU-6")
async def test_a_user_logs_in(oidc_provider: OidcProvider) -> None:
    """Code, PKCE, state, nonce and the issuer in the response: the certified provider and the login agree."""
    oidc_provider.set_user("alice", name="Alice")
    async with run_shop(oidc_provider.issuer, add_client(oidc_provider)) as running:
        before = await ask(running)
        done = await log_in(running, oidc_provider, "alice")
        me = await ask(running)
        profile = (await ask(running, "/auth/profile")).json()
    assert (401, 303, 200) == (before.status_code, done.status_code, me.status_code)
    assert ("alice", "session") == (me.json()["sub"], me.json()["kind"])
    assert ("alice", oidc_provider.issuer, "Alice") == (profile["sub"], profile["iss"], profile["claims"]["name"])
    assert {"session"} == list_cookies(running)


async def test_a_denied_login_leaves_nobody(oidc_provider: OidcProvider) -> None:
    """The page says that the login failed, and no session begins."""
    async with run_shop(oidc_provider.issuer, add_client(oidc_provider)) as running:
        callback = await oidc_provider.authorize(await begin_login(running), deny=True)
        done = await finish_login(running, callback)
        me = await ask(running)
    assert done.status_code in (400, 401, 403)
    assert (401, set()) == (me.status_code, list_cookies(running))


@pytest.mark.requirement("CA-21")
async def test_logins_of_several_tabs_finish_in_any_order(oidc_provider: OidcProvider) -> None:
    """The tab that began first may come back last."""
    async with run_shop(oidc_provider.issuer, add_client(oidc_provider)) as running, oidc_provider.browser() as browser:
        begun = [await begin_login(running) for _ in range(3)]
        callbacks = [await browser.follow(url, user="alice") for url in begun]
        done = [await finish_login(running, callback) for callback in reversed(callbacks)]
    assert [303, 303, 303] == [response.status_code for response in done]


@pytest.mark.requirement("CA-27")
async def test_the_provider_answers_by_a_form(oidc_provider: OidcProvider) -> None:
    """The form comes without cookies from the provider's page, and once more with them from our own."""
    client = add_client(oidc_provider)
    async with run_shop(oidc_provider.issuer, client, response_mode="form_post") as running:
        callback = await oidc_provider.authorize(await begin_login(running), user="alice")
        assert callback.form is not None
        kept = list(running.client.cookies.jar)
        running.client.cookies.clear()  # SameSite=Lax
        page = await finish_login(running, callback)
        for cookie in kept:
            running.client.cookies.jar.set_cookie(cookie)
        fields = dict(re.findall(r'name="([^"]+)" value="([^"]*)"', page.text))
        done = await finish_login(running, Callback(callback.url, fields))
        me = await ask(running)
    assert (200, 303, "alice") == (page.status_code, done.status_code, me.json()["sub"])


async def _wait_until_due(running) -> None:
    # The token lives for two seconds, and is refreshed after two thirds of that.
    await anyio.sleep(2)


@pytest.mark.requirement("AU-11", "CA-41")
async def test_requests_at_once_refresh_once(oidc_provider: OidcProvider) -> None:
    """The provider ends the grant whose refresh token is spent twice; 50 requests spend the token once."""
    oidc_provider.set_ttl(AccessToken=2)
    statuses: list[int] = []
    async with run_shop(oidc_provider.issuer, add_client(oidc_provider)) as running:
        await log_in(running, oidc_provider, "alice")
        await _wait_until_due(running)
        oidc_provider.set_ttl(AccessToken=3600)
        oidc_provider.forget_counts()
        oidc_provider.add_fault(oidc_provider.token_path, hold=True)

        async def call() -> None:
            statuses.append((await ask(running)).status_code)

        async with anyio.create_task_group() as tasks:
            for _ in range(50):
                tasks.start_soon(call)
            with anyio.fail_after(30):
                while not oidc_provider.waiting():
                    await anyio.sleep(0.01)
            assert 1 == oidc_provider.release()
        await call()
        counts = oidc_provider.counts()
    assert ([200] * 51, 1) == (statuses, counts[oidc_provider.token_path])


@pytest.mark.requirement("CA-42")
async def test_an_outage_ends_no_session_and_a_refusal_does(oidc_provider: OidcProvider) -> None:
    """While the token endpoint is away requests get 503; then the session goes on, until the grant is revoked."""
    oidc_provider.set_ttl(AccessToken=2)
    client = add_client(oidc_provider)
    async with run_shop(oidc_provider.issuer, client) as running:
        await log_in(running, oidc_provider, "alice")
        oidc_provider.add_fault(oidc_provider.token_path, status=503)
        with anyio.fail_after(30):
            while (away := await ask(running)).status_code == 200:
                await anyio.sleep(0.1)
        kept = list_cookies(running)
        oidc_provider.clear_faults()
        with anyio.fail_after(30):
            while (back := await ask(running)).status_code == 503:
                await anyio.sleep(0.1)
        oidc_provider.revoke_grants("alice")
        with anyio.fail_after(30):
            while (ended := await ask(running)).status_code == 200:
                await anyio.sleep(0.1)
    assert (503, {"session"}, 200, 401) == (away.status_code, kept, back.status_code, ended.status_code)


@pytest.mark.requirement("CA-26")
async def test_a_logout_ends_the_session_at_the_provider(oidc_provider: OidcProvider) -> None:
    """The provider takes the ID token as a hint, and the next login asks who logs in."""
    async with run_shop(oidc_provider.issuer, add_client(oidc_provider)) as running, oidc_provider.browser() as browser:
        await log_in(running, oidc_provider, "alice", browser)
        left = await running.client.post("/auth/logout", headers=NAVIGATION)
        me = await ask(running)
        back = await browser.follow(left.headers["location"])
        landed = await running.client.get(back.url, headers=NAVIGATION)
        with pytest.raises(AssertionError, match="who logs in"):
            await log_in(running, oidc_provider, None, browser)
    assert (303, 401, "/auth/logged-out", 303) == (
        left.status_code,
        me.status_code,
        path_of(back.url),
        landed.status_code,
    )
    assert "id_token_hint=" in left.headers["location"]


@pytest.mark.requirement("CA-25")
@pytest.mark.parametrize("with_sid", [True, False])
async def test_the_provider_ends_a_session(oidc_provider: OidcProvider, with_sid: bool) -> None:
    """A logout token is taken once, with the session's id and with the user alone."""
    client = add_client(oidc_provider, backchannel_logout_uri=BACKCHANNEL, backchannel_logout_session_required=with_sid)
    oidc_provider.keep_logouts()
    async with run_shop(oidc_provider.issuer, client) as running:
        await log_in(running, oidc_provider, "alice")
        await oidc_provider.end_sessions("alice")
        (logout,) = oidc_provider.logouts()
        form = {"logout_token": logout["logout_token"]}
        kept = list(running.client.cookies.jar)
        running.client.cookies.clear()
        taken, again = [await running.client.post("/auth/backchannel-logout", data=form) for _ in range(2)]
        for cookie in kept:
            running.client.cookies.jar.set_cookie(cookie)
        me = await ask(running)
    assert (BACKCHANNEL, 200, 400, 401) == (logout["url"], taken.status_code, again.status_code, me.status_code)


async def test_a_login_goes_on_during_a_key_rotation(oidc_provider: OidcProvider) -> None:
    """An ID token by a key that nobody has seen is verified at once."""
    async with run_shop(oidc_provider.issuer, add_client(oidc_provider)) as running:
        oidc_provider.rotate_keys()
        done = await log_in(running, oidc_provider, "alice")
        me = await ask(running)
    assert (303, 200) == (done.status_code, me.status_code)


async def test_a_session_is_of_its_browser(oidc_provider: OidcProvider) -> None:
    """The callback of one browser is no login in another one."""
    async with run_shop(oidc_provider.issuer, add_client(oidc_provider)) as running:
        callback = await oidc_provider.authorize(await begin_login(running), user="mallory")
        running.client.cookies.clear()
        stolen = await finish_login(running, callback)
        me = await ask(running)
    assert (400, 401) == (stolen.status_code, me.status_code)


def test_the_settings_are_the_shipped_ones() -> None:
    """These tests change no setting of the login itself."""
    assert (60, 12 * 3600) == (LoginSettings().refresh_skew, LoginSettings().session_lifetime)
    assert httpx2.URL(PUBLIC_URL).scheme == "http"
