"""The login as a component: when it is in the plan, what it refuses at the start, and what the plan prints."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import anyio
import httpx2
import pytest
from tests.contrib.oidc.login.openid_provider import OpenIDProvider
from tests.contrib.oidc.login.shop import Sites, make_host, make_issuer, open_shop

from bandmaster.contrib.oidc import (
    Login,
    LoginSettings,
    MemorySessionStore,
    SessionAuth,
    SessionStore,
    identity_providers,
    login_routes,
    login_service,
)
from bandmaster.contrib.oidc.login.addresses import Addresses
from bandmaster.contrib.oidc.login.checks import find_idle_settings
from bandmaster.contrib.oidc.login.component import find_login_problems, list_addresses
from bandmaster.contrib.oidc.sessions.settings import SessionSettings
from bandmaster.contrib.oidc.settings import AuthSettings
from bandmaster.kernel import EventLoop, Kernel, KernelSettings, PlanError, create_app
from bandmaster.kernel.planning.start_checks import check_start
from bandmaster.kernel.testing import run

PARTS = [identity_providers, login_service, SessionAuth, login_routes]
KEYS = {"1": "k" * 43}


class Nobody:
    """A client that isn't used."""


def plan_login(
    *,
    environment: str = "production",
    issuer: dict[str, Any] | None = None,
    sessions: dict[str, Any] | None = None,
    **auth: Any,
) -> Kernel:
    """The kernel of a login with these settings."""
    issuers = (make_issuer("default", OpenIDProvider(), issuer or {}),)
    return Kernel(
        contributions=PARTS,
        discover=False,
        role="web",
        settings=KernelSettings(environment=environment),
        overrides={
            AuthSettings: AuthSettings(**{"issuers": issuers, "public_url": "https://app.example", **auth}),
            LoginSettings: LoginSettings(),
            SessionSettings: SessionSettings(**{"keys": KEYS, **(sessions or {})}),
            SessionStore: MemorySessionStore(),
            httpx2.AsyncClient: Nobody(),
        },
    )


def find_problems(kernel):
    """The problems and the warnings of the checks, without a start."""
    findings = check_start(kernel.plan, EventLoop.ASYNCIO)
    return [problem.message for problem in findings.problems], list(findings.warnings)


def test_without_a_client_there_is_no_login():
    """Installed, and with no client in the settings, the package adds nothing to the plan."""
    for issuers in ((), (make_issuer("default", OpenIDProvider(), {"client_id": None, "client_secret": None}),)):
        plan = plan_login(issuers=issuers).plan
        assert "login" not in plan.by_name
        assert ([], []) == (list(plan.layers), list(plan.routes))
        assert {"login", "session_auth"} <= {omission.part.name for omission in plan.omitted}


def test_a_provider_for_tokens_only():
    """A client that isn't for login leaves the login out."""
    assert "login" not in plan_login(issuer={"login": False}).plan.by_name


def test_a_login_is_in_the_plan_of_the_web_role():
    """With a client in the settings there is a component, a layer and routes."""
    plan = plan_login().plan
    assert [component.name for component in plan.components] == ["identity_providers", "login"]
    assert [layer.name for layer in plan.layers] == ["session_auth"]
    assert [(part.name, part.prefix) for part in plan.routes] == [("login", "/auth")]


@pytest.mark.requirement("CA-22")
def test_the_plan_prints_the_addresses_to_register():
    """Each provider's redirect address, and the addresses for logouts, come from the public address."""
    second = make_issuer("second", OpenIDProvider(issuer="https://op.second.example"), {})
    first = make_issuer("default", OpenIDProvider(), {})
    kernel = plan_login(issuers=(first, second), public_url="https://app.example/shop/")
    assert kernel.plan.by_name["login"].facts == (
        "redirect address to register at 'default': https://app.example/shop/auth/callback",
        "redirect address to register at 'second': https://app.example/shop/auth/callback/second",
        "address after a logout to register: https://app.example/shop/auth/logged-out",
        "address for back-channel logouts to register: https://app.example/shop/auth/backchannel-logout",
    )
    facts = plan_login(sessions={"store": "cookie"}).plan.by_name["login"].facts
    assert not any("back-channel" in fact for fact in facts)


def test_a_login_that_is_set_up_has_no_findings():
    """The settings of production are accepted."""
    assert find_problems(plan_login()) == ([], [])


@pytest.mark.requirement("CA-22")
def test_production_needs_a_public_address():
    """Without one, redirect addresses would be those of a developer's machine."""
    [problem], _ = find_problems(plan_login(public_url=None))
    assert "AUTH_PUBLIC_URL isn't set" in problem
    assert find_problems(plan_login(public_url=None, environment="development")) == ([], [])


@pytest.mark.requirement("CA-28")
def test_production_refuses_a_public_address_on_plain_http():
    """Session cookies would travel in the clear; development may."""
    [problem], _ = find_problems(plan_login(public_url="http://app.example"))
    assert "AUTH_PUBLIC_URL isn't https" in problem
    assert find_problems(plan_login(public_url="http://app.example", environment="development")) == ([], [])


def test_production_needs_keys():
    """Logins under way must survive the process, and be finished in any."""
    [problem], _ = find_problems(plan_login(sessions={"keys": {}}))
    assert "AUTH_SESSION_KEYS isn't set" in problem
    assert find_problems(plan_login(sessions={"keys": {}}, environment="development")) == ([], [])


@pytest.mark.requirement("CA-40")
@pytest.mark.parametrize(
    "issuer",
    [
        {"login_scopes": ("openid", "offline_access")},
        {"authorize_params": {"access_type": "offline"}},
        {"authorize_params": {"scope": "openid offline_access"}},
    ],
    ids=["scope", "access_type", "parameter"],
)
def test_sessions_in_cookies_and_refresh_tokens_are_refused(issuer):
    """A cookie can't hold a rotating refresh token; the problem names the stores that can."""
    [problem], _ = find_problems(plan_login(issuer=issuer, sessions={"store": "cookie"}))
    assert "sessions in cookies can't hold one" in problem
    findings = plan_login(issuer=issuer, sessions={"store": "memory"})
    assert find_problems(findings) == ([], [])
    [found] = check_start(plan_login(issuer=issuer, sessions={"store": "cookie"}).plan, EventLoop.ASYNCIO).problems
    assert "AUTH_SESSION_STORE to memory, redis or sql" in found.hint


def test_a_max_age_that_is_no_number():
    """The mistake is found at the start, not at the first login."""
    [problem], _ = find_problems(plan_login(issuer={"authorize_params": {"max_age": "soon"}}))
    assert "max_age: expected seconds" in problem


@pytest.mark.parametrize("url", ["app.example", "https://app.example?x=1", "https://", "https://u:p@app.example"])
def test_a_public_address_that_is_none(url):
    """The problem names the variable, and shows no password."""
    kernel = plan_login()
    auth = kernel.plan.settings_of(AuthSettings).model_copy(update={"public_url": url})
    [problem] = find_login_problems(auth, LoginSettings(), SessionSettings(keys=KEYS), KernelSettings())
    assert problem.message.startswith("AUTH_PUBLIC_URL is wrong")
    assert "u:p" not in problem.message
    assert list(list_addresses(auth, SessionSettings())) == []


@pytest.mark.anyio
async def test_the_component_logs_users_in():
    """The component, the layer and the routes work with the real time, in development."""
    provider = OpenIDProvider(redirect_uris=("http://localhost:8000/auth/callback",))
    auth = AuthSettings(issuers=(make_issuer("default", provider, {}),))
    async with httpx2.AsyncClient(transport=Sites({provider.issuer: httpx2.ASGITransport(provider)})) as outgoing:
        overrides = {
            AuthSettings: auth,
            LoginSettings: LoginSettings(),
            SessionSettings: SessionSettings(),
            SessionStore: MemorySessionStore(),
            httpx2.AsyncClient: outgoing,
        }
        async with run(
            make_host(),
            contributions=PARTS,
            overrides=overrides,
            settings=KernelSettings(environment="development"),
            base_url="http://localhost:8000",
        ) as running:
            query = "?return_to=/private"
            twin = await running.client.get(f"http://127.0.0.1:8000/auth/login{query}", follow_redirects=False)
            assert (303, f"http://localhost:8000/auth/login{query}") == (twin.status_code, twin.headers["location"])
            response = await running.client.get("/auth/login", follow_redirects=False)
            answer = await outgoing.get(response.headers["location"])
            response = await running.client.get(answer.headers["location"], follow_redirects=True)
            assert response.json()["user"] == "alice"
            assert running.resources[Login].addresses.public_url == "http://localhost:8000"


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1:8000", True),
        ("[::1]:8000", True),
        ("localhost:8000", False),
        ("127.0.0.1:8123", False),
        ("evil.example:8000", False),
        ("127.0.0.1:port", False),
        ("", False),
    ],
)
def test_another_name_of_this_machine(host, expected):
    """Only another name of this machine, at the same port, counts; never for a public address elsewhere."""
    assert expected is Addresses("http://localhost:8000").is_twin(host)
    assert not Addresses("https://app.example").is_twin(host)


@pytest.mark.anyio
async def test_a_start_in_production_is_refused():
    """A problem that the check finds also stops the start."""
    kernel = plan_login(public_url="http://app.example")
    with pytest.raises(PlanError, match="isn't https"):
        async with kernel.running():
            pass


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("login_timeout", 601),
        ("login_timeout", 0),
        ("pending_logins", 0),
        ("pending_logins", 11),
        ("session_lifetime", 0),
        ("session_lifetime", 1e12),
        ("session_cookie", "a b"),
        ("session_cookie", ""),
        ("session_cookie", "__Host-session"),
        ("after_login", "https://evil.example"),
        ("after_login", "//evil.example"),
        ("after_logout", "/\\evil.example"),
        ("trusted_origins", ("https://app.example/",)),
        ("trusted_origins", ("app.example",)),
        ("trusted_origins", ("https://app.example:443",)),
        ("trusted_origins", ("*",)),
        ("refresh_skew", -1),
        ("token_timeout", 0),
    ],
)
def test_settings_that_are_refused(name, value):
    """Each limit holds when the settings are read."""
    with pytest.raises(ValueError, match=name):
        LoginSettings(**{name: value})


def test_a_path_begins_with_a_slash():
    """The slash in front may be left out."""
    assert LoginSettings(after_login="orders", after_logout="").after_login == "/orders"
    assert LoginSettings(after_logout="").after_logout == "/"


def test_the_settings_are_variables(monkeypatch):
    """The settings of the login are read from variables that begin with AUTH_."""
    monkeypatch.setenv("AUTH_SESSION_LIFETIME", "60")
    monkeypatch.setenv("AUTH_TRUSTED_ORIGINS", "https://one.example,https://two.example")
    settings = LoginSettings()
    assert settings.session_lifetime == 60
    assert settings.trusted_origins == ("https://one.example", "https://two.example")


def test_settings_without_a_login_are_warned_of():
    """`bandmaster check` names the variables that nothing uses."""

    def check(issuer, **login):
        kernel = plan_login(issuer=issuer)
        overrides = {key.type: value for key, value in kernel.plan.overrides.items()}
        overrides[LoginSettings] = LoginSettings(**login)
        app = create_app(contributions=PARTS, discover=False, role="web", overrides=overrides)
        return list(find_idle_settings(app))

    off = {"client_id": None, "client_secret": None}
    [warning] = check(off, session_lifetime=60, after_login="/home")
    assert "AUTH_SESSION_LIFETIME, AUTH_AFTER_LOGIN" in warning
    [warning] = check(off)
    assert "no effect: AUTH_PUBLIC_URL, AUTH_SESSION_KEYS. Set AUTH_CLIENT_ID" in warning
    assert check({}, session_lifetime=60) == []


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (
            {"issuer": "https://id.example", "login_scopes": ["openid"], "userinfo": False},
            "AUTH_LOGIN_SCOPES, AUTH_USERINFO",
        ),
        ({"public_url": "https://shop.example"}, "AUTH_PUBLIC_URL"),
        ({"issuer": "https://id.example", "audiences": ["a"]}, None),
        ({"login_scopes": ["openid"]}, None),  # which is told of a provider without an issuer
    ],
)
def test_settings_of_providers_that_only_logins_use(values, found):
    """A provider of tokens alone asks for no scopes, and sends no browser anywhere."""
    overrides = {AuthSettings: AuthSettings(**values), LoginSettings: LoginSettings(), httpx2.AsyncClient: Nobody()}
    app = create_app(contributions=PARTS, discover=False, role="web", overrides=overrides)
    warnings = list(find_idle_settings(app))
    assert [found] == [str(one).partition("no effect: ")[2].partition(". Set")[0] for one in warnings] or not found
    assert bool(warnings) is bool(found)


@pytest.mark.anyio
@pytest.mark.requirement("CA-41")
async def test_a_stop_waits_for_the_refreshes_under_way(monkeypatch):
    """The provider has used up the old refresh token, so the new one is stored, however short stops are."""
    monkeypatch.setattr("tests.contrib.oidc.login.shop.make_component", lambda clock: login_service)
    provider, kernel = OpenIDProvider(), KernelSettings(environment="test", stop_timeout=0.1)
    async with anyio.create_task_group() as tasks:
        async with open_shop(provider, clock=time.time, kernel=kernel) as shop:
            store, browser = shop.store, await shop.log_in()
            handle = browser.cookies["__Host-session"].value
            before = await store.get(handle)
            await store.replace(handle, replace(before, access_expires_at=time.time() + 1))
            provider.token_gate = anyio.Event()
            await browser.visit("/", follow=False)
            assert not shop.login.refresher.is_idle
            tasks.start_soon(_open_later, provider.token_gate)
        assert (await store.get(handle)).refresh_token != before.refresh_token


async def _open_later(gate):
    await anyio.sleep(0.3)
    gate.set()
