"""Logging in at the certified provider of npm: what our own provider for tests can't prove about itself."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager

import anyio
import httpx2
import pytest
from pydantic import SecretStr
from tests.contrib.oidc.clock import Clock
from tests.contrib.oidc.login.shop import make_component, make_host

from bandmaster.contrib.oidc import (
    Login,
    LoginSettings,
    MemorySessionStore,
    SessionAuth,
    SessionStore,
    identity_providers,
    login_routes,
)
from bandmaster.contrib.oidc.sessions.settings import SessionSettings
from bandmaster.contrib.oidc.settings import AuthSettings, IssuerSettings
from bandmaster.kernel import KernelSettings
from bandmaster.kernel.testing import run

pytestmark = pytest.mark.anyio

APP = "http://localhost:8000"
OURS = {"sec-fetch-site": "same-origin"}


@asynccontextmanager
async def open_app(provider, *, clock=None, **changes):
    """The application, with a client that the provider knows."""
    client = provider.add_client(
        f"{APP}/auth/callback",
        post_logout_redirect_uris=[f"{APP}/auth/logged-out"],
        backchannel_logout_uri=f"{APP}/auth/backchannel-logout",
        backchannel_logout_session_required=True,
    )
    issuer = IssuerSettings(
        issuer=provider.issuer,
        client_id=client.client_id,
        client_secret=SecretStr(client.client_secret),
        audiences=(client.client_id,),
        **changes,
    )
    async with httpx2.AsyncClient() as outgoing:
        overrides = {
            AuthSettings: AuthSettings(issuers=(issuer,)),
            LoginSettings: LoginSettings(),
            SessionSettings: SessionSettings(),
            SessionStore: MemorySessionStore(),
            httpx2.AsyncClient: outgoing,
        }
        parts = [identity_providers, make_component(clock or Clock(time.time())), SessionAuth, login_routes]
        async with run(
            make_host(),
            contributions=parts,
            overrides=overrides,
            settings=KernelSettings(environment="test"),
            base_url=APP,
            timeout=60,
        ) as running:
            yield running


async def log_in(running, browser, user="alice"):
    """Log a user in, with a browser of the provider."""
    begun = await running.client.get("/auth/login?return_to=/private", follow_redirects=False)
    callback = await browser.follow(begun.headers["location"], user=user)
    response = await running.client.get(callback.url, follow_redirects=True)
    assert (response.status_code, response.url.path) == (200, "/private"), response.text


async def who(running):
    return (await running.client.get("/")).json()["user"]


async def test_a_login(oidc_provider):
    """Code with PKCE, iss, an ID token with at_hash, and the claims of userinfo."""
    async with open_app(oidc_provider) as running, oidc_provider.browser() as browser:
        await log_in(running, browser)
        profile = (await running.client.get("/auth/profile")).json()
        assert (profile["sub"], profile["iss"]) == ("alice", oidc_provider.issuer)
        assert "openid" in profile["scopes"]
        assert profile["claims"]["email"] == "alice@example.com"


async def test_a_login_that_the_user_refuses(oidc_provider):
    """The provider's error comes with iss, and leads to an error page."""
    async with open_app(oidc_provider) as running:
        begun = await running.client.get("/auth/login", follow_redirects=False)
        callback = await oidc_provider.authorize(begun.headers["location"], user="alice", deny=True)
        response = await running.client.get(callback.url)
        assert response.status_code == 403
        assert "access_denied" in response.text


@pytest.mark.requirement("AU-6", "CA-41")
async def test_fifty_requests_refresh_once(oidc_provider):
    """A provider that rotates refresh tokens, and ends everything when one is used twice, sees one of each."""
    oidc_provider.set_ttl(AccessToken=300, IdToken=7200)
    clock = Clock(time.time())
    async with open_app(oidc_provider, clock=clock) as running, oidc_provider.browser() as browser:
        await log_in(running, browser)
        for _ in range(2):
            clock.advance(301)
            oidc_provider.forget_counts()
            tokens = []

            async def ask(tokens=tokens):
                response = await running.client.get("/private")
                tokens.append(response.json()["token"])

            async with anyio.create_task_group() as tasks:
                for _ in range(50):
                    tasks.start_soon(ask)
            assert (len(tokens), len(set(tokens))) == (50, 1)
            assert oidc_provider.counts()["/token"] == 1


@pytest.mark.requirement("CA-42")
async def test_a_grant_that_is_revoked(oidc_provider):
    """The certified provider's word for a session that is over ends ours."""
    oidc_provider.set_ttl(AccessToken=300, IdToken=7200)
    clock = Clock(time.time())
    async with open_app(oidc_provider, clock=clock) as running, oidc_provider.browser() as browser:
        await log_in(running, browser)
        assert oidc_provider.revoke_grants("alice") >= 1
        clock.advance(301)
        assert await who(running) is None


@pytest.mark.requirement("CA-26")
async def test_a_logout(oidc_provider):
    """The session ends here and there, and the browser comes back by the registered address."""
    async with open_app(oidc_provider) as running, oidc_provider.browser() as browser:
        await log_in(running, browser)
        response = await running.client.get("/auth/logout", headers=OURS, follow_redirects=False)
        assert await who(running) is None
        callback = await browser.follow(response.headers["location"])
        assert callback.url.startswith(f"{APP}/auth/logged-out?state=")
        response = await running.client.get(callback.url, follow_redirects=False)
        assert (response.status_code, response.headers["location"]) == (303, "/")


@pytest.mark.requirement("CA-25")
async def test_a_backchannel_logout(oidc_provider):
    """The certified provider's logout token ends the session, once."""
    oidc_provider.keep_logouts()
    async with open_app(oidc_provider) as running, oidc_provider.browser() as browser:
        await log_in(running, browser)
        assert await oidc_provider.end_sessions("alice") >= 1
        [logout] = [one for one in oidc_provider.logouts() if one["url"] == f"{APP}/auth/backchannel-logout"]
        data = {"logout_token": logout["logout_token"]}
        for status in (200, 400):
            assert (await running.client.post("/auth/backchannel-logout", data=data)).status_code == status
        assert await who(running) is None


@pytest.mark.requirement("CA-27")
async def test_an_answer_by_a_form(oidc_provider):
    """The certified provider's form is sent again from our own origin, and finishes the login."""
    async with open_app(oidc_provider, response_mode="form_post") as running:
        begun = await running.client.get("/auth/login", follow_redirects=False)
        callback = await oidc_provider.authorize(begun.headers["location"], user="alice")
        assert callback.form is not None
        kept = dict(running.client.cookies)
        running.client.cookies.clear()
        page = await running.client.post(callback.url, data=callback.form)
        assert "reposted" in page.text
        running.client.cookies.update(kept)
        response = await running.client.post(callback.url, data={**callback.form, "reposted": "1"})
        assert response.status_code == 303
        assert await who(running) == "alice"
        assert len(running.resources[Login].sockets) == 0
