"""The rules for introspected tokens."""

from __future__ import annotations

import pytest

from bandmaster.contrib.oidc.errors import InvalidTokenError
from bandmaster.contrib.oidc.introspection.answers import read_answer
from bandmaster.contrib.oidc.settings import IssuerSettings

NOW = 1_000_000.0
ISSUER = "https://id.example"
PROVIDER = IssuerSettings(issuer=ISSUER, audiences=("shop",), authorized_parties=("app",))
GOOD = {"active": True, "sub": "ada", "aud": "shop", "exp": NOW + 60}


def read(answer, provider=PROVIDER, leeway=30):
    return read_answer(answer, provider, now=NOW, leeway=leeway, token_id="hash")


def test_a_principal_has_what_the_provider_says():
    """Scopes, client, ids and times; all else is among the claims, read-only."""
    answer = {
        **GOOD,
        "iss": ISSUER,
        "client_id": "app",
        "scope": "openid shop:read",
        "jti": "t-1",
        "sid": "s-1",
        "iat": NOW - 60,
        "nbf": NOW - 60,
        "token_type": "Bearer",
        "username": "Ada",
    }
    found = read(answer)
    assert ("ada", ISSUER, {"openid", "shop:read"}) == (found.subject, found.issuer, found.scopes)
    assert ("app", "t-1", "s-1") == (found.client_id, found.credential_id, found.session_id)
    assert ("token", NOW - 60, NOW + 60) == (found.kind, found.issued_at, found.expires_at)
    assert "Ada" == found.claims["username"]
    assert "active" not in found.claims
    with pytest.raises(TypeError):
        found.claims["username"] = "Eve"


def test_little_is_enough():
    """A provider may tell no id and no times; the hash of the token is the id then."""
    found = read({"active": True, "sub": "ada", "aud": ["other", "shop"]})
    assert ("hash", None, None, frozenset()) == (
        found.credential_id,
        found.issued_at,
        found.expires_at,
        found.scopes,
    )


def test_a_token_of_a_client_itself_is_the_clients():
    """Such a token has no user."""
    found = read({"active": True, "client_id": "app"})
    assert ("app", "app") == (found.subject, found.client_id)


def test_scopes_may_be_a_list():
    """As some providers answer."""
    assert {"a", "b"} == read({**GOOD, "scope": ["a", "b", 3]}).scopes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"active": False}, "isn't active"),
        ({"active": "true"}, "isn't active"),
        ({"active": 1}, "isn't active"),
        ({"iss": "https://evil.example"}, "of the issuer 'https://evil.example'"),
        ({"iss": ISSUER + "/"}, "of the issuer"),
        ({"iss": [ISSUER]}, "of the issuer"),
        ({"aud": "other"}, r"meant for \['other'\].*expected was an audience of \['shop'\]"),
        ({"aud": None}, r"meant for \[\]"),
        ({"aud": {"shop": 1}}, "audience"),
        ({"aud": "shop2", "client_id": "other"}, "issued to 'other'"),
        ({"aud": [["shop"]]}, "audience"),
        ({"exp": NOW - 31}, "has expired 31 s ago"),
        ({"exp": NOW - 30}, "has expired"),
        ({"exp": str(NOW + 60)}, "exp isn't a time"),
        ({"exp": True}, "exp isn't a time"),
        ({"exp": float("inf")}, "exp isn't a time"),
        ({"nbf": NOW + 31}, "valid only in 31 s"),
        ({"iat": "x"}, "iat isn't a time"),
        ({"sub": None}, "names nobody"),
        ({"sub": ""}, "sub isn't a short text"),
        ({"sub": 3}, "sub isn't a short text"),
        ({"token_type": "DPoP"}, "isn't a bearer token"),
        ({"token_type": 3}, "isn't a bearer token"),
        ({"cnf": {"jkt": "x"}}, "bound to a key"),
        ({"token_use": "refresh_token"}, "no access token"),
        ({"typ": "Refresh"}, "no access token"),
    ],
)
def test_a_token_that_doesnt_hold_is_refused(change, message):
    """Also one that the provider calls active: another application's, for example."""
    with pytest.raises(InvalidTokenError, match=message) as caught:
        read({**GOOD, **change})
    assert 401 == caught.value.status


def test_one_of_several_tenants_is_told_by_the_answer():
    """As with signed tokens, the tenant and the issuer must agree."""
    provider = IssuerSettings(
        issuer="https://login.example/{tenantid}/v2.0", tenants=("t1", "t2"), audiences=("shop",), client_id="app"
    )
    answer = {**GOOD, "iss": "https://login.example/t2/v2.0", "tid": "t2"}
    assert "https://login.example/t2/v2.0" == read(answer, provider).issuer
    for wrong in ({"tid": "t1"}, {"iss": "https://login.example/t3/v2.0"}):
        with pytest.raises(InvalidTokenError):
            read({**answer, **wrong}, provider)


def test_clocks_may_differ_by_the_leeway():
    """In both directions."""
    assert read({**GOOD, "exp": NOW - 29}).expires_at == NOW - 29
    assert read({**GOOD, "nbf": NOW + 29})


def test_the_client_stands_in_for_the_audience_only_by_its_setting():
    """Without the setting a provider that tells no audience is of no use."""
    read({"active": True, "sub": "ada", "azp": "app"})
    with pytest.raises(InvalidTokenError, match="issued to 'app'"):
        read({"active": True, "sub": "ada", "azp": "app"}, IssuerSettings(issuer=ISSUER, audiences=("shop",)))
