"""Logins at the provider for development: the authorization endpoint, its page, and codes."""

from __future__ import annotations

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet
from tests.contrib.oidc.clock import Clock
from tests.contrib.oidc.devprovider.logins import (
    CALLBACK,
    ask,
    choose,
    log_in,
    login_target,
    read_json,
    read_redirect,
    redeem,
)

from bandmaster.contrib.oidc import DevProvider, DevUser
from bandmaster.contrib.oidc.devprovider.signing import SigningKey, hash_token

ISSUER = "http://127.0.0.1:8001"
KEY = SigningKey()


@pytest.fixture
def clock() -> Clock:
    return Clock(1_000_000.0)


@pytest.fixture
def provider(clock: Clock) -> DevProvider:
    users = [DevUser(subject="alice", claims={"groups": ["staff"]}), DevUser(subject="bob", scopes=("read",))]
    return DevProvider(ISSUER, users, audiences=["https://api.example"], key=KEY, now=clock)


def verify(provider: DevProvider, token: str) -> tuple[dict, dict]:
    """Header and claims of a token, verified by the published keys."""
    keys = KeySet.import_key_set(read_json(ask(provider, "GET", "/jwks")))
    found = jwt.decode(token, keys, algorithms=["RS256"])
    return found.header, found.claims


def test_a_login_returns_tokens_that_verify(provider: DevProvider, clock: Clock) -> None:
    """The ID token is for the client, the access token for the application (RFC 9068)."""
    answer = log_in(provider)
    header, identity = verify(provider, answer["id_token"])
    assert ("JWT", ISSUER, "shop", "alice", "once") == (
        header["typ"],
        *(identity[name] for name in ("iss", "aud", "sub", "nonce")),
    )
    assert ("alice", ["staff"], hash_token(answer["access_token"])) == (
        identity["name"],
        identity["groups"],
        identity["at_hash"],
    )
    assert "email" not in identity
    header, access = verify(provider, answer["access_token"])
    assert ("at+jwt", ["https://api.example"], "alice", "shop", "openid profile sales") == (
        header["typ"],
        *(access[name] for name in ("aud", "sub", "client_id", "scope")),
    )
    assert (900, int(clock.now), int(clock.now) + 900) == (answer["expires_in"], access["iat"], access["exp"])
    assert identity["sid"] == access["sid"]


def test_no_published_key_is_private(provider: DevProvider) -> None:
    """The key set has the members that verify, and none that signs."""
    (key,) = read_json(ask(provider, "GET", "/jwks"))["keys"]
    assert {"kty", "n", "e", "kid", "use", "alg"} == key.keys()


def test_each_process_has_a_key_of_its_own() -> None:
    """A key that is written down would be somebody's key in production one day."""
    assert SigningKey().publish() != SigningKey().publish()


def test_the_page_names_the_users(provider: DevProvider) -> None:
    """A person chooses a user by a button; the form returns to its own address, which holds the request."""
    response = ask(provider, "GET", login_target(login_hint="bob"))
    page = response.body.decode()
    assert 200 == response.status
    assert '<form method="post">' in page
    assert '<button name="user" value="alice">' in page
    assert '<button name="user" value="bob" autofocus>' in page
    assert "frame-ancestors 'none'" in response.headers["content-security-policy"]
    assert "access-control-allow-origin" not in response.headers


@pytest.mark.parametrize("name", ['<script>alert("x")</script>', '" onfocus="alert(1)', "a&b"])
def test_names_on_the_page_are_escaped(name: str) -> None:
    """Neither a user nor a client writes markup into the page."""
    provider = DevProvider(ISSUER, [DevUser(subject=name)], key=KEY)
    page = ask(provider, "GET", login_target(client_id=name)).body.decode()
    assert name not in page
    assert choose(provider, name)


@pytest.mark.parametrize("form", [{"deny": "yes"}, {}, {"user": "mallory"}, {"user": ""}])
def test_nobody_else_logs_in(provider: DevProvider, form: dict[str, str]) -> None:
    """A cancelled login and an unknown user return an error to the application."""
    _, answer = read_redirect(ask(provider, "POST", login_target(), form))
    assert ("access_denied", "kept", ISSUER) == (answer["error"], answer["state"], answer["iss"])
    assert "code" not in answer


def test_a_user_grants_only_their_scopes(provider: DevProvider) -> None:
    """Other scopes are left out, and the answer says so; the scopes of OpenID Connect are everybody's."""
    answer = log_in(provider, "bob", scope="openid read write profile")
    assert "openid read profile" == answer["scope"]


def test_without_openid_there_is_no_id_token(provider: DevProvider) -> None:
    """Plain OAuth 2.0 works as well."""
    assert "id_token" not in log_in(provider, scope="sales")


def test_a_resource_is_the_audience(provider: DevProvider) -> None:
    """An application may ask for tokens for another one (RFC 8707)."""
    answer = log_in(provider, resource="https://other.example")
    assert "https://other.example" == verify(provider, answer["access_token"])[1]["aud"]


def test_without_audiences_tokens_are_for_the_client() -> None:
    """The provider has no audience of its own to name."""
    provider = DevProvider(ISSUER, [DevUser(subject="alice")], key=KEY)
    assert "shop" == verify(provider, log_in(provider)["access_token"])[1]["aud"]


def test_claims_of_a_user_replace_none_of_the_protocol() -> None:
    """A careless setting can't make a token of another user."""
    user = DevUser(subject="alice", claims={"sub": "root", "aud": "x", "iss": "y", "exp": 1, "email": "a@shop.example"})
    provider = DevProvider(ISSUER, [user], key=KEY)
    answer = log_in(provider, scope="openid email")
    identity = verify(provider, answer["id_token"])[1]
    info = read_json(ask(provider, "GET", "/userinfo", authorization=f"Bearer {answer['access_token']}"))
    assert ("alice", "shop", ISSUER) == (identity["sub"], identity["aud"], identity["iss"])
    assert ("alice", "a@shop.example") == (info["sub"], info["email"])
    assert identity["exp"] > 1


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge": "short"}, "invalid_request"),
        ({"code_challenge": "v" * 43 + "\n"}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": None}, "unsupported_response_type"),
        ({"response_mode": "fragment"}, "invalid_request"),
        ({"request": "ey.j.h"}, "request_not_supported"),
        ({"request_uri": "https://evil.example"}, "request_uri_not_supported"),
        ({"prompt": "none"}, "login_required"),
    ],
)
def test_a_bad_request_returns_an_error(provider: DevProvider, changes: dict, error: str) -> None:
    """The application gets the error at its redirect address, with state and issuer (RFC 9207)."""
    address, answer = read_redirect(ask(provider, "GET", login_target(**changes)))
    assert (CALLBACK, error, "kept", ISSUER) == (address, answer["error"], answer["state"], answer["iss"])


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "changes",
    [
        {"client_id": None},
        {"redirect_uri": None},
        {"redirect_uri": "https://evil.example/callback"},
        {"redirect_uri": "http://127.0.0.1.evil.example/"},
        {"redirect_uri": "http://localhost/ü"},
        {"redirect_uri": "http://127.0.0.1@evil.example/"},
        {"redirect_uri": "http://evil.example\\@127.0.0.1/"},
        {"redirect_uri": "http://127.0.0.1:99999/"},
        {"redirect_uri": "http://127.0.0.1/#fragment"},
        {"redirect_uri": "http://127.0.0.1/\r\nset-cookie: a=b"},
        {"redirect_uri": "javascript:alert(1)//127.0.0.1"},
        {"redirect_uri": "//127.0.0.1/"},
    ],
)
def test_nothing_is_sent_to_other_machines(provider: DevProvider, method: str, changes: dict) -> None:
    """A redirect address elsewhere gets a page of the provider instead of a redirect."""
    response = ask(provider, method, login_target(**changes), {"user": "alice"} if method == "POST" else None)
    assert (400, False) == (response.status, "location" in response.headers)
    assert "text/html; charset=utf-8" == response.headers["content-type"]


@pytest.mark.parametrize("address", ["http://localhost:3000/docs", "https://[::1]/cb?tenant=a", "http://127.0.0.1/"])
def test_any_address_of_this_machine_is_good(provider: DevProvider, address: str) -> None:
    """No address is registered beforehand. A query of the address is kept."""
    response = ask(provider, "POST", login_target(redirect_uri=address), {"user": "alice"})
    assert response.headers["location"].startswith(address)
    assert "code" in read_redirect(response)[1]


def test_a_repeated_parameter_is_refused(provider: DevProvider) -> None:
    """Two values for one parameter are no request (RFC 6749, section 3.1)."""
    response = ask(provider, "GET", login_target() + "&redirect_uri=http%3A%2F%2F127.0.0.1%2F")
    assert (400, True) == (response.status, b"a parameter comes twice" in response.body)


def test_a_code_is_good_once(provider: DevProvider) -> None:
    """The second use is refused."""
    code = choose(provider, "alice")
    assert [200, 400] == [redeem(provider, code).status for _ in range(2)]


def test_a_code_expires(provider: DevProvider, clock: Clock) -> None:
    """A code is good for a minute, and not at its end."""
    early, late = choose(provider, "alice"), choose(provider, "alice")
    clock.now += 59.9
    assert 200 == redeem(provider, early).status
    clock.now += 0.1
    assert "invalid_grant" == read_json(redeem(provider, late))["error"]


@pytest.mark.parametrize(
    "changes",
    [
        {"code_verifier": "w" * 43},
        {"code_verifier": ""},
        {"client_id": "another"},
        {"redirect_uri": "http://127.0.0.1:8000/other"},
        {"code": "guessed"},
        {"code": ""},
    ],
)
def test_a_code_is_bound_to_the_login(provider: DevProvider, changes: dict[str, str]) -> None:
    """Another client, redirect address or verifier gets nothing, and the code is spent."""
    code = choose(provider, "alice")
    response = redeem(provider, code, **changes)
    assert (400, "invalid_grant") == (response.status, read_json(response)["error"])
    if "code" not in changes:
        assert 400 == redeem(provider, code).status


def test_codes_are_bounded(provider: DevProvider) -> None:
    """Abandoned logins don't fill the memory: the oldest go first."""
    codes = [choose(provider, "alice") for _ in range(1002)]
    assert [400, 400, 200, 200] == [redeem(provider, codes[number]).status for number in (0, 1, 2, -1)]


def test_secrets_are_in_no_repr(provider: DevProvider) -> None:
    """The output of a failing assertion holds no code and no token."""
    from bandmaster.contrib.oidc.devprovider.grants import PendingCode
    from bandmaster.contrib.oidc.devprovider.messages import Request, Response

    code = choose(provider, "alice")
    pending = provider._codes._pending[code]
    response = ask(provider, "POST", login_target(), {"user": "alice"})
    request = Request("POST", "/token", {"authorization": "Basic aGlkZGVu"}, b"code=hidden")
    shown = repr([pending, response, request, provider._tokens])
    assert isinstance(pending, PendingCode)
    assert isinstance(response, Response)
    for secret in ("once", pending.challenge, "aGlkZGVu", "hidden", read_redirect(response)[1]["code"]):
        assert secret not in shown
