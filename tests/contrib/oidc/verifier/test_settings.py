"""The settings of authentication."""

import json

import pytest
from pydantic import ValidationError

from bandmaster.contrib.oidc.request_params import reveal
from bandmaster.contrib.oidc.settings import AuthSettings, IssuerSettings, find_address_problems, has_providers
from bandmaster.kernel import KernelSettings, Problem, validation_messages
from bandmaster.kernel.settings.display import describe_settings, read_value
from bandmaster.kernel.settings.secrets import secret_variables

ISSUER = "https://id.example/realms/shop/"
ENTRA = "https://login.microsoftonline.com/{tenantid}/v2.0"


def refusal(kind=AuthSettings, **values):
    """The message about refused settings."""
    with pytest.raises(ValidationError) as refused:
        kind(**values)
    return " ".join(validation_messages(refused.value))


def test_without_an_issuer_there_is_no_provider():
    """The defaults configure nothing."""
    assert () == AuthSettings().providers
    assert not has_providers(AuthSettings())


def test_the_single_fields_describe_one_provider():
    """Everything that an entry of the list may say can be said by a variable of its own."""
    values = {
        "name": "shop",
        "audiences": ("api",),
        "authorized_parties": ("spa",),
        "algorithms": ("PS256",),
        "access_token_type": "at+jwt",
        "scope_claims": ("roles",),
        "discovery_url": "http://keycloak:8080/.well-known/openid-configuration",
        "discovery_issuer": "http://keycloak:8080",
        "jwks_url": "https://id.example/keys",
        "authorization_url": "https://id.example/authorize",
        "token_url": "https://id.example/token",
        "userinfo_url": "https://id.example/userinfo",
        "introspection_url": "https://id.example/introspect",
        "end_session_url": "https://id.example/logout",
        "plain_http_hosts": ("keycloak",),
        "client_id": "shop",
        "client_secret": "s3cret-value",
        "login": False,
        "login_scopes": ("openid",),
        "response_mode": "form_post",
        "token_auth_method": "client_secret_post",
        "userinfo": False,
        "authorize_params": {"audience": "https://api.example"},
        "grant_params": {"resource": "https://api.example"},
        "issuer": ISSUER,
    }
    expected = IssuerSettings(**values)
    assert (expected,) == AuthSettings(**values).providers
    assert set(IssuerSettings.model_fields) == {*values, "tenants"}
    assert "s3cret-value" not in repr(expected)


def test_variables_are_read(monkeypatch):
    """Lists have commas, mappings and further providers are JSON."""
    monkeypatch.setenv("AUTH_ISSUER", ISSUER)
    monkeypatch.setenv("AUTH_AUDIENCES", "api, admin")
    monkeypatch.setenv("AUTH_AUTHORIZE_PARAMS", '{"prompt": "login"}')
    monkeypatch.setenv("AUTH_ISSUERS", json.dumps([{"issuer": "https://b.example", "name": "b", "audiences": ["x"]}]))
    first, second = AuthSettings().providers
    assert (("api", "admin"), {"prompt": "login"}) == (first.audiences, first.authorize_params)
    assert ("https://b.example", ("x",)) == (second.issuer, second.audiences)


@pytest.mark.requirement("CA-05")
@pytest.mark.parametrize("issuer", ["https://id.example", "https://id.example/", "https://id.example//", ISSUER])
def test_the_issuer_is_kept_as_the_exact_text(issuer):
    """No slash is added or cut. Only the address of the discovery document has one terminal slash less."""
    provider = AuthSettings(issuer=issuer).providers[0]
    assert (issuer, {issuer: None}) == (provider.issuer, provider.issuers)
    assert f"{issuer.removesuffix('/')}/.well-known/openid-configuration" == provider.discovery_address


@pytest.mark.requirement("AU-16", "CF-20")
@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"issuer": "http://id.example"}, "issuer: isn't https"),
        ({"issuer": "id.example"}, "has another scheme than https"),
        ({"issuer": "ftp://id.example"}, "has another scheme than https"),
        ({"issuer": "https://id.example?tenant=1"}, "has a query"),
        ({"issuer": "https://id.example#x"}, "has a fragment"),
        ({"issuer": "https://user:pw@id.example"}, "has a user or a password"),
        ({"issuer": "https://id.example "}, "isn't a URL"),
        ({"issuer": "https://id.example\\@evil.example"}, "isn't a URL"),
        ({"issuer": "https://{host}/x"}, "no other placeholder"),
        ({"issuer": ""}, "isn't a URL"),
        ({"jwks_url": "http://id.example/keys"}, "jwks_url: isn't https"),
        ({"jwks_url": "keys"}, "has another scheme"),
        ({"jwks_url": "https://2130706433/keys"}, "malformed host"),
        ({"token_url": "http://10.0.0.8/token"}, "token_url: isn't https"),
        ({"discovery_url": "http://keycloak:8080/x", "plain_http_hosts": "other"}, "discovery_url: isn't https"),
        ({"plain_http_hosts": "http://keycloak"}, "not the name of a host"),
        ({"plain_http_hosts": "keycloak:8080"}, "not the name of a host"),
        ({"public_url": "shop.example"}, "has another scheme"),
        ({"public_url": "https://shop.example?x=1"}, "has a query"),
        ({"algorithms": ""}, "expected at least one"),
        ({"algorithms": "none"}, "not a known algorithm"),
        ({"algorithms": "RS256,HS256"}, "a symmetric algorithm"),
        ({"algorithms": "rs256"}, "not a known algorithm"),
        ({"name": "My Provider"}, "String should match"),
        ({"audiences": ["a", " "]}, "has a blank item"),
        ({"key_ttl": 100, "key_max_age": 10}, "key_max_age: must not be below key_ttl"),
        ({"issuers": [{"issuer": "https://a.example", "audience": "x"}]}, "Extra inputs are not permitted"),
        ({"issuers": [{"issuer": "http://a.example"}]}, "issuer: isn't https"),
    ],
)
def test_settings_that_cannot_hold_are_refused_when_they_are_read(values, message):
    """Each message names the fault, and doesn't repeat the value."""
    assert message in refusal(**values)


@pytest.mark.requirement("CA-01")
def test_plain_http_works_for_this_machine_and_for_named_hosts():
    """Loopback addresses need no TLS outside production; other hosts only if a setting names them."""
    for host in ("localhost:9000", "127.0.0.1:9000", "[::1]:9000", "id.localhost"):
        assert AuthSettings(issuer=f"http://{host}").providers
    named = {"issuer": ISSUER, "jwks_url": "http://keycloak.internal:8080/keys"}
    assert AuthSettings(**named, plain_http_hosts=["Keycloak.Internal"]).providers


@pytest.mark.requirement("AU-10", "CF-19")
@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({"issuer": "http://localhost:9000"}, "by plain HTTP (issuer)"),
        ({"issuer": ISSUER, "jwks_url": "http://127.0.0.1/keys"}, "by plain HTTP (jwks_url)"),
    ],
)
def test_production_refuses_plain_http_to_this_machine(values, found):
    """Elsewhere it is accepted, and staging warns; a host that a setting names is accepted everywhere."""
    problems = list(find_address_problems(AuthSettings(**values), KernelSettings(environment="production")))
    assert [True] == [isinstance(one, Problem) and found in str(one) for one in problems]
    warnings = list(find_address_problems(AuthSettings(**values), KernelSettings(environment="staging")))
    assert [True] == [isinstance(one, str) and found in one for one in warnings]
    assert [] == list(find_address_problems(AuthSettings(**values), KernelSettings(environment="development")))
    named = AuthSettings(**values, plain_http_hosts=["localhost", "127.0.0.1"])
    assert [] == list(find_address_problems(named, KernelSettings(environment="production")))


@pytest.mark.requirement("CA-02")
def test_an_issuer_with_tenants_needs_their_list():
    """Without the list the refusal names the setting; with the list each tenant has an issuer of its own."""
    assert "tenants: the issuer has {tenantid}" in refusal(issuer=ENTRA)
    assert "tenants: the issuer has no {tenantid}" in refusal(issuer=ISSUER, tenants=["a"])
    provider = AuthSettings(issuer=ENTRA, tenants=["t1", "t2"]).providers[0]
    filled = {tenant: ENTRA.replace("{tenantid}", tenant) for tenant in ("t1", "t2")}
    assert {filled["t1"]: "t1", filled["t2"]: "t2"} == provider.issuers
    assert f"{filled['t1']}/.well-known/openid-configuration" == provider.discovery_address


@pytest.mark.requirement("CA-03")
def test_providers_must_be_told_apart():
    """Two providers can't have one name, or one issuer for their tokens, and only one can have opaque tokens."""
    a = {"issuer": "https://a.example", "name": "a"}
    assert "several providers have the name 'a'" in refusal(issuers=[a, {**a, "issuer": "https://b.example"}])
    assert "several providers have the issuer" in refusal(issuers=[a, {**a, "name": "b"}])
    assert AuthSettings(issuers=[a, {**a, "name": "b", "access_token_type": "refused"}]).providers
    opaque = {"access_token_type": "opaque"}
    assert "a and b both have opaque tokens" in refusal(
        issuers=[{**a, **opaque}, {"issuer": "https://b.example", "name": "b", **opaque}]
    )


@pytest.mark.requirement("CA-29")
@pytest.mark.parametrize(
    "name", ["state", "State", " nonce", "redirect_uri", "code_challenge", "code_challenge_method"]
)
def test_further_parameters_cannot_replace_those_of_the_flow(name):
    """State, nonce, PKCE and the redirect address are not to be set."""
    assert "which the flow itself sets" in refusal(authorize_params={name: "x"})


@pytest.mark.requirement("CA-29")
@pytest.mark.parametrize("name", ["grant_type", "code_verifier", "redirect_uri", "client_secret", "refresh_token"])
def test_further_parameters_of_token_requests_cannot_replace_those_of_the_flow(name):
    """Neither can the parameters of a token request."""
    assert "which the flow itself sets" in refusal(grant_params={name: "x"})


@pytest.mark.requirement("CA-11")
def test_the_two_names_of_ed25519_are_one():
    """Either name admits both."""
    for name in ("EdDSA", "Ed25519"):
        assert {"EdDSA", "Ed25519"} == AuthSettings(algorithms=name, issuer=ISSUER).providers[0].accepted_algorithms
    assert {"Ed448"} == AuthSettings(algorithms="Ed448", issuer=ISSUER).providers[0].accepted_algorithms


@pytest.mark.requirement("AU-17")
def test_no_secret_is_shown():
    """Neither the text of the settings nor an error about them has a client's secret."""
    entry = {"issuer": "https://a.example", "client_id": "a", "client_secret": "hunter2-hunter2"}
    settings = AuthSettings(issuer=ISSUER, client_secret="hunter2-hunter2", issuers=[{**entry, "name": "a"}])
    assert "hunter2" not in f"{settings!r}{settings.model_dump_json()}{settings.providers}"
    assert "hunter2" not in refusal(issuers=[{**entry, "client_secret": ["hunter2-hunter2"]}])


JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"


@pytest.mark.requirement("AU-17")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("pin", "47114711"),
        ("api_key", "hunter2-hunter2"),
        ("software_statement", "hunter2-hunter2"),
        ("Audience", "hunter2-hunter2"),
        ("audience", JWT),
        ("resource", "https://shop:hunter2-hunter2@api.example"),
        ("resource", "https://api.example/?access_token=hunter2-hunter2"),
        ("claims", '{"password": "hunter2-hunter2"}'),
        ("audience", "-----BEGIN EC PRIVATE KEY-----hunter2-hunter2"),
    ],
)
def test_further_parameters_are_secret_unless_they_are_known_to_be_public(name, value, monkeypatch):
    """Neither the settings' text nor `bandmaster config` shows one that may be a secret, in a list entry either."""
    params = json.dumps({name: value, "prompt": "login"})
    monkeypatch.setenv("AUTH_ISSUER", ISSUER)
    monkeypatch.setenv("AUTH_GRANT_PARAMS", params)
    monkeypatch.setenv("AUTH_AUTHORIZE_PARAMS", params)
    entry = {"issuer": "https://b.example", "name": "b", "grant_params": {name: value}}
    monkeypatch.setenv("AUTH_ISSUERS", json.dumps([entry]))
    settings = AuthSettings()
    for provider in settings.providers:
        assert value == reveal(provider.grant_params)[name]
    secrets = secret_variables([AuthSettings])
    shown = [read_value(settings, one.path, secrets) for one in describe_settings(AuthSettings, secrets)]
    text = f"{settings!r}{settings.model_dump_json()}{settings.providers}{shown}"
    assert not [part for part in (value, "hunter2", "47114711", "c2lnbmF0dXJl") if part in text]
    assert f'{{"{name}": "**********", "prompt": "login"}}' in shown


@pytest.mark.requirement("CA-29")
def test_public_parameters_are_shown():
    """An operator sees for whom tokens are asked."""
    settings = AuthSettings(issuer=ISSUER, grant_params={"audience": "https://api.example", "scope": "token:read a"})
    assert '{"audience": "https://api.example", "scope": "token:read a"}' == read_value(
        settings, ("grant_params",), secret_variables([AuthSettings])
    )
    assert "https://api.example" in repr(settings)


@pytest.mark.requirement("AU-16")
@pytest.mark.parametrize(
    "values",
    [
        {"issuer": ISSUER, "audiences": ["a,b", "c"], "algorithms": ["PS256", "EdDSA"], "scope_claims": ["a.b"]},
        {"issuer": ENTRA, "tenants": ["t1", "t2"], "access_token_type": "at+jwt", "login": False},
        {"issuer": "http://keycloak:8080", "plain_http_hosts": ["keycloak", "::1"], "grant_params": {"scope": 'b"c'}},
        {
            "issuers": [
                {"issuer": ISSUER, "audiences": ["a,b"], "authorize_params": {"prompt": "login"}, "client_id": "c"},
                {"issuer": ENTRA, "name": "entra", "tenants": ["t1"], "jwks_url": "https://id.example/keys"},
            ]
        },
    ],
)
def test_the_lines_of_bandmaster_config_are_read_back(values, monkeypatch):
    """Every setting, also each of an entry of the list, is printed as a line that means the same."""
    expected = AuthSettings(**values)
    for setting in describe_settings(AuthSettings):
        monkeypatch.setenv(setting.variable, read_value(expected, setting.path))
    assert expected == AuthSettings()
