"""Settings of tokens for calls to other services."""

import pytest
from pydantic import ValidationError

from bandmaster.contrib.oidc import ClientCredentialsSettings
from bandmaster.contrib.oidc.client_credentials.settings import find_address_problems
from bandmaster.contrib.oidc.request_params import reveal
from bandmaster.kernel import KernelSettings, load_settings, named_settings

GOOD = {"token_url": "https://id.example/token", "client_id": "shop", "client_secret": "hunter2"}


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("token_url", "id.example/token", "expected https://"),
        ("token_url", "ftp://id.example/token", "expected https://"),
        ("token_url", "http://id.example/token", "isn't https"),
        ("token_url", "http://10.0.0.1/token", "isn't https"),
        ("token_url", "http://localhost.evil.example/token", "isn't https"),
        ("token_url", "https://user:hunter3@id.example/token", "has a user, a password or a fragment"),
        ("token_url", "https://id.example:hunter3/token", "expected https://"),
        ("token_url", "https://id.example\\@evil.example/", "expected https://"),
        ("client_id", "", "at least 1 character"),
        ("client_secret", " ", "is blank"),
        ("scopes", ["read write"], "has a scope with a blank"),
        ("params", {"grant_type": "password"}, "can't set 'grant_type'"),
        ("params", {"Client_Secret": "x"}, "can't set 'Client_Secret'"),
        ("params", {"scope": "admin"}, "can't set 'scope'"),
        ("skew", -1, "greater than or equal to 0"),
        ("timeout", 0, "greater than 0"),
    ],
)
@pytest.mark.requirement("P-18", "CA-29")
def test_wrong_values_are_refused(field, value, reason) -> None:
    """The message says why, and repeats no secret."""
    with pytest.raises(ValidationError) as raised:
        ClientCredentialsSettings(**{**GOOD, field: value})
    assert reason in str(raised.value)
    assert "hunter" not in str(raised.value)


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost", "[::1]:1", "a.localhost"])
def test_this_machine_needs_no_tls_outside_of_production(host) -> None:
    """In production the start is refused, unless a setting names the host."""
    settings = ClientCredentialsSettings(**{**GOOD, "token_url": f"http://{host}/token"})
    assert [] == list(find_address_problems(settings, KernelSettings(environment="development")))
    (problem,) = find_address_problems(settings, KernelSettings(environment="production"))
    assert "OAUTH_TOKEN_URL isn't https, and this is production. Use https" in str(problem)
    name = host.rpartition(":")[0] if host[-1].isdigit() else host
    named = ClientCredentialsSettings(**{**GOOD, "token_url": f"http://{host}/token", "plain_http_hosts": name})
    assert [] == list(find_address_problems(named, KernelSettings(environment="production")))


def test_an_internal_provider_may_be_named() -> None:
    """A provider inside the cluster is often reached by plain HTTP."""
    settings = ClientCredentialsSettings(
        **{**GOOD, "token_url": "http://keycloak.internal/token", "plain_http_hosts": "keycloak.internal"}
    )
    assert [] == list(find_address_problems(settings, KernelSettings(environment="production")))


@pytest.mark.requirement("AU-17")
def test_no_text_of_the_settings_has_the_secret() -> None:
    """Neither the repr nor a dump has it."""
    settings = ClientCredentialsSettings(**GOOD)
    assert "hunter2" not in repr(settings) + str(settings.model_dump()) + settings.model_dump_json()


def test_each_service_has_variables_of_its_own(monkeypatch) -> None:
    """The variables begin with the name of the service."""
    kind = named_settings(ClientCredentialsSettings, "billing", about="billing")
    for name, value in {
        "TOKEN_URL": "https://id.example/token",
        "CLIENT_ID": "shop",
        "CLIENT_SECRET": "hunter2",
        "SCOPES": "read,write",
        "PARAMS": '{"audience": "https://billing.example"}',
    }.items():
        monkeypatch.setenv(f"BILLING_OAUTH_{name}", value)
    settings = load_settings(kind)
    assert ("read", "write") == settings.scopes
    assert {"audience": "https://billing.example"} == settings.params


@pytest.mark.requirement("AU-17")
def test_further_parameters_may_be_secrets() -> None:
    """Some providers want a password beside the client's secret."""
    settings = ClientCredentialsSettings(**GOOD, params={"user_pin": "hunter3-hunter3", "audience": "billing"})
    assert "hunter3" not in f"{settings!r}{settings.model_dump_json()}"
    assert "'audience': 'billing'" in repr(settings)
    assert {"user_pin": "hunter3-hunter3", "audience": "billing"} == reveal(settings.params)
