"""The endpoints of the provider for development that applications call."""

from __future__ import annotations

import base64

import pytest
from tests.contrib.oidc.clock import Clock
from tests.contrib.oidc.devprovider.logins import ask, choose, log_in, read_json, read_redirect, redeem, refresh
from tests.contrib.oidc.devprovider.test_login import ISSUER, KEY, verify

from bandmaster.contrib.oidc import DevProvider, DevUser
from bandmaster.contrib.oidc.devprovider.messages import Request


@pytest.fixture
def clock() -> Clock:
    return Clock(1_000_000.0)


@pytest.fixture
def provider(clock: Clock) -> DevProvider:
    users = [DevUser(subject="alice"), DevUser(subject="bob")]
    return DevProvider(ISSUER, users, key=KEY, now=clock)


def test_the_discovery_document_names_what_there_is(provider: DevProvider) -> None:
    """The issuer is exact, and each endpoint in the document answers."""
    document = read_json(ask(provider, "GET", "/.well-known/openid-configuration"))
    assert ISSUER == document["issuer"]
    endpoints = [value for name, value in document.items() if name.endswith(("_endpoint", "_uri"))]
    assert 7 == len(endpoints)
    for endpoint in endpoints:
        statuses = {ask(provider, method, endpoint.removeprefix(ISSUER)).status for method in ("GET", "POST")}
        assert 404 not in statuses
    assert (["S256"], True) == (
        document["code_challenge_methods_supported"],
        document["authorization_response_iss_parameter_supported"],
    )


def test_refresh_tokens_are_rotated(provider: DevProvider, clock: Clock) -> None:
    """Each refresh returns new tokens for the same user, scopes and login."""
    first = log_in(provider)
    clock.now += 1000
    second = read_json(refresh(provider, first["refresh_token"]))
    before, after = verify(provider, first["id_token"])[1], verify(provider, second["id_token"])[1]
    assert first["refresh_token"] != second["refresh_token"]
    assert (before["sub"], before["sid"], before["auth_time"]) == (after["sub"], after["sid"], after["auth_time"])
    assert (first["scope"], before["exp"] + 1000) == (second["scope"], after["exp"])


def test_a_refresh_token_that_is_spent_twice_ends_the_login(provider: DevProvider) -> None:
    """Neither the thief nor the owner goes on (RFC 9700), as at real providers."""
    first = log_in(provider)
    second = read_json(refresh(provider, first["refresh_token"]))
    assert 400 == refresh(provider, first["refresh_token"]).status
    response = refresh(provider, second["refresh_token"])
    assert (400, "invalid_grant") == (response.status, read_json(response)["error"])


def test_the_end_of_one_login_is_not_the_end_of_others(provider: DevProvider) -> None:
    """A user may have two logins."""
    one, other = log_in(provider), log_in(provider)
    refresh(provider, one["refresh_token"])
    refresh(provider, one["refresh_token"])
    assert 200 == refresh(provider, other["refresh_token"]).status


def test_a_refresh_token_belongs_to_its_client(provider: DevProvider) -> None:
    """Another client is refused, and the owner isn't disturbed."""
    token = log_in(provider)["refresh_token"]
    assert [400, 200] == [refresh(provider, token, client).status for client in ("another", "shop")]


def test_refresh_tokens_expire(provider: DevProvider, clock: Clock) -> None:
    """A login lasts a working day."""
    token = log_in(provider)["refresh_token"]
    clock.now += 12 * 3600
    assert 400 == refresh(provider, token).status


@pytest.mark.parametrize("token", ["", ".", "x", "x.y", "\N{SNOWMAN}.\N{SNOWMAN}"])
def test_a_guessed_refresh_token_is_refused(provider: DevProvider, token: str) -> None:
    """Any text is answered."""
    assert 400 == refresh(provider, token).status


def test_an_application_gets_tokens_for_itself(provider: DevProvider) -> None:
    """Client credentials: the client is the subject, and there is no refresh token."""
    form = {"grant_type": "client_credentials", "scope": "read", "resource": "https://api.example"}
    credentials = base64.b64encode(b"shop%2F1:any secret").decode()
    answer = read_json(ask(provider, "POST", "/token", form, authorization=f"Basic {credentials}"))
    claims = verify(provider, answer["access_token"])[1]
    assert ("shop/1", "https://api.example", "read") == (claims["sub"], claims["aud"], claims["scope"])
    assert not {"refresh_token", "id_token"} & answer.keys()


@pytest.mark.parametrize(
    ("form", "headers", "status", "error"),
    [
        ({"grant_type": "password", "client_id": "shop"}, {}, 400, "unsupported_grant_type"),
        ({"client_id": "shop"}, {}, 400, "unsupported_grant_type"),
        ({"grant_type": "client_credentials"}, {}, 401, "invalid_client"),
        ({"grant_type": "client_credentials"}, {"authorization": "Basic %%%"}, 401, "invalid_client"),
        ({"grant_type": "client_credentials"}, {"authorization": "Basic " + "Og=="}, 401, "invalid_client"),
        ({"grant_type": "client_credentials"}, {"authorization": "Bearer x"}, 401, "invalid_client"),
        (
            {"client_id": "two"},
            {"authorization": "Basic " + base64.b64encode(b"one:").decode()},
            400,
            "invalid_request",
        ),
        ({"grant_type": "client_credentials"}, {"content-type": "application/json"}, 400, "invalid_request"),
    ],
)
def test_a_bad_token_request_is_refused(
    provider: DevProvider, form: dict[str, str], headers: dict[str, str], status: int, error: str
) -> None:
    """The answer is the JSON of RFC 6749, section 5.2, and is not stored."""
    response = ask(provider, "POST", "/token", form, **headers)
    assert (status, error) == (response.status, read_json(response)["error"])
    assert "no-store" == response.headers["cache-control"]


def test_userinfo_takes_access_tokens(provider: DevProvider, clock: Clock) -> None:
    """The claims are those of the scopes; an expired token gets 401 with a challenge."""
    token = log_in(provider, scope="openid email")["access_token"]
    info = read_json(ask(provider, "GET", "/userinfo", authorization=f"bearer {token}"))
    assert {"sub": "alice", "email": "alice@example.com", "email_verified": True} == info
    clock.now += 900
    late = ask(provider, "GET", "/userinfo", authorization=f"Bearer {token}")
    assert (401, 'Bearer error="invalid_token"') == (late.status, late.headers["www-authenticate"])


def test_userinfo_takes_nothing_else(provider: DevProvider) -> None:
    """An ID token, a forged token and no token at all are refused alike."""
    answer = log_in(provider)
    stranger = DevProvider(ISSUER, [DevUser(subject="alice")], now=provider._now)
    head, payload, signature = answer["access_token"].split(".")
    forged = f"{head}.{payload}.{signature[:-8]}AAAAAAAA"
    for token in (answer["id_token"], log_in(stranger)["access_token"], forged, "x", "a.b.c", ""):
        assert 401 == ask(provider, "GET", "/userinfo", authorization=f"Bearer {token}").status
    assert 401 == ask(provider, "GET", "/userinfo").status


def test_tokens_are_introspected(provider: DevProvider, clock: Clock) -> None:
    """Access and refresh tokens are active until they expire or are revoked (RFC 7662)."""
    answer = log_in(provider)

    def introspect(name: str) -> dict:
        return read_json(ask(provider, "POST", "/introspect", {"client_id": "shop", "token": answer[name]}))

    assert ("alice", "shop", True) == tuple(introspect("access_token")[name] for name in ("sub", "client_id", "active"))
    assert introspect("refresh_token")["active"]
    assert {"active": False} == introspect("id_token")
    clock.now += 900
    assert {"active": False} == introspect("access_token")
    assert 401 == ask(provider, "POST", "/introspect", {"token": answer["access_token"]}).status


def test_refresh_tokens_are_revoked(provider: DevProvider) -> None:
    """Revocation answers alike for tokens that never were (RFC 7009)."""
    token = log_in(provider)["refresh_token"]
    for guessed in (token.partition(".")[0] + ".guess", "x", token):
        assert 200 == ask(provider, "POST", "/revoke", {"client_id": "shop", "token": guessed}).status
        assert (guessed == token) == (refresh(provider, token).status == 400)
        token = token if guessed == token else log_in(provider)["refresh_token"]


def test_a_logout_returns_to_the_application(provider: DevProvider) -> None:
    """The state comes back."""
    target = "/logout?post_logout_redirect_uri=http%3A%2F%2F127.0.0.1%3A8000%2Fout&state=kept&id_token_hint=x"
    assert ("http://127.0.0.1:8000/out", {"state": "kept"}) == read_redirect(ask(provider, "GET", target))


@pytest.mark.parametrize("query", ["", "?post_logout_redirect_uri=https%3A%2F%2Fevil.example"])
def test_a_logout_goes_nowhere_else(provider: DevProvider, query: str) -> None:
    """Without an address of this machine the provider shows a page."""
    response = ask(provider, "GET", f"/logout{query}")
    assert (200, True) == (response.status, b"Logged out" in response.body)


def test_pages_of_the_application_may_call(provider: DevProvider) -> None:
    """The documentation page exchanges codes itself, from another origin (CORS)."""
    for path in ("/token", "/userinfo", "/jwks", "/.well-known/openid-configuration"):
        preflight = ask(provider, "OPTIONS", path)
        assert (204, "*") == (preflight.status, preflight.headers["access-control-allow-origin"])
        assert "authorization" in preflight.headers["access-control-allow-headers"]
    assert "*" == redeem(provider, choose(provider, "alice")).headers["access-control-allow-origin"]
    assert "*" == redeem(provider, "bad").headers["access-control-allow-origin"]


def test_no_page_elsewhere_has_a_login_done(provider: DevProvider) -> None:
    """The login page answers no other origin, and no other host name (DNS rebinding)."""
    preflight = ask(provider, "OPTIONS", "/authorize")
    assert (405, False) == (preflight.status, "access-control-allow-origin" in preflight.headers)
    for host in ("evil.example", "127.0.0.1", "127.0.0.1:9", ""):
        assert 421 == provider.answer(Request("GET", "/jwks", {"host": host})).status
    assert 421 == provider.answer(Request("GET", "/jwks")).status


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/token", 405),
        ("DELETE", "/jwks", 405),
        ("GET", "//evil.example", 404),
        ("GET", "http://[", 404),
    ],
)
def test_other_requests_are_refused(provider: DevProvider, method: str, target: str, status: int) -> None:
    """Any method and any target is answered."""
    assert status == ask(provider, method, target).status
