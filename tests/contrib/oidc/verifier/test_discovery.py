"""Discovery documents, and the addresses in them."""

import pytest
from tests.contrib.oidc.verifier.issuer import ISSUER

from bandmaster.contrib.oidc import ProviderRefusedError
from bandmaster.contrib.oidc.issuers.metadata import parse_metadata
from bandmaster.contrib.oidc.settings import IssuerSettings

DOCUMENT = {
    "issuer": ISSUER,
    "jwks_uri": f"{ISSUER}/keys",
    "authorization_endpoint": f"{ISSUER}/authorize",
    "token_endpoint": f"{ISSUER}/token",
    "end_session_endpoint": f"{ISSUER}/logout",
    "code_challenge_methods_supported": ["S256", 1],
    "authorization_response_iss_parameter_supported": True,
    "backchannel_logout_supported": "yes",
}


def parse(*, allow_loopback=False, settings=None, **members):
    values = {"issuer": ISSUER, **(settings or {})}
    return parse_metadata({**DOCUMENT, **members}, IssuerSettings(**values), allow_loopback=allow_loopback)


def test_the_document_is_read():
    """Addresses, lists and flags are typed; a member of a wrong type counts as absent."""
    found = parse()
    assert (f"{ISSUER}/keys", f"{ISSUER}/token", None) == (
        found.jwks_uri,
        found.token_endpoint,
        found.userinfo_endpoint,
    )
    assert (("S256",), True) == (
        found.code_challenge_methods_supported,
        found.authorization_response_iss_parameter_supported,
    )
    assert found.backchannel_logout_supported is False
    assert DOCUMENT == dict(found.document)


@pytest.mark.requirement("AU-10", "CF-19", "CA-05")
@pytest.mark.parametrize("issuer", [f"{ISSUER}/", ISSUER.upper(), "https://other.example", "", None, [ISSUER], 1])
def test_another_issuer_is_refused(issuer):
    """The message quotes both issuers, so that a slash at the end is seen."""
    with pytest.raises(ProviderRefusedError) as refused:
        parse(issuer=issuer)
    assert f"names the issuer {issuer!r}, and the settings {ISSUER!r}" in str(refused.value)


@pytest.mark.requirement("CA-01")
def test_the_document_may_name_another_issuer_than_tokens_if_a_setting_says_so():
    """The name of the document is compared exactly, too, and the metadata has the issuer of the tokens."""
    internal = {"discovery_issuer": "http://keycloak:8080", "plain_http_hosts": ["keycloak"]}
    assert ISSUER == parse(settings=internal, issuer="http://keycloak:8080").issuer
    for issuer in ("http://keycloak:8080/", ISSUER):
        with pytest.raises(ProviderRefusedError):
            parse(settings=internal, issuer=issuer)


@pytest.mark.requirement("AU-10", "CF-19")
@pytest.mark.parametrize("member", ["jwks_uri", "authorization_endpoint", "token_endpoint", "end_session_endpoint"])
@pytest.mark.parametrize(
    "url",
    ["http://id.example/x", "https://169.254.169.254/x", "http://127.0.0.1/x", "file:///etc/passwd", "x", 1, ["x"]],
)
def test_an_endpoint_that_may_not_be_reached_is_refused(member, url):
    """Each address of the document is checked, and the message names the member and the address."""
    with pytest.raises(ProviderRefusedError, match=member) as refused:
        parse(**{member: url})
    assert not isinstance(url, str) or repr(url) in str(refused.value)


@pytest.mark.requirement("CA-01")
def test_each_endpoint_can_be_set_apart():
    """An address of the settings stands in for the document's, which isn't judged then."""
    settings = {
        "jwks_url": "http://keycloak:8080/keys",
        "token_url": "https://10.0.0.1/token",
        "plain_http_hosts": ["keycloak"],
    }
    found = parse(settings=settings, jwks_uri="http://id.example/keys", token_endpoint=None)
    assert (settings["jwks_url"], settings["token_url"]) == (found.jwks_uri, found.token_endpoint)
    assert f"{ISSUER}/authorize" == found.authorization_endpoint


def test_this_machine_may_be_named_outside_production():
    """A development provider has plain HTTP endpoints on this machine."""
    issuer = "http://localhost:9000"
    settings = {"issuer": issuer}
    found = parse(allow_loopback=True, settings=settings, issuer=issuer, jwks_uri=f"{issuer}/keys")
    assert f"{issuer}/keys" == found.jwks_uri
    with pytest.raises(ProviderRefusedError):
        parse(settings=settings, issuer=issuer, jwks_uri=f"{issuer}/keys")


@pytest.mark.requirement("CA-02")
def test_a_templated_issuer_is_accepted_for_the_tenants_of_the_settings():
    """The document may have the placeholder, or a tenant of the list, and no other one."""
    template = "https://login.microsoftonline.com/{tenantid}/v2.0"
    settings = {"issuer": template, "tenants": ["t1", "t2"]}
    for tenant in ("{tenantid}", "t1", "t2"):
        assert parse(settings=settings, issuer=template.replace("{tenantid}", tenant))
    with pytest.raises(ProviderRefusedError):
        parse(settings=settings, issuer=template.replace("{tenantid}", "t3"))


@pytest.mark.parametrize(
    ("value", "promised"), [(True, True), (False, False), ("true", False), (1, False), (None, False)]
)
def test_a_promise_is_exactly_true(value, promised):
    """A provider that promises iss in its answers is held to it, and only a JSON true is a promise."""
    assert (
        promised
        is parse(authorization_response_iss_parameter_supported=value).authorization_response_iss_parameter_supported
    )


def test_a_long_foreign_text_is_cut():
    """A message doesn't repeat a whole document."""
    with pytest.raises(ProviderRefusedError) as refused:
        parse(issuer="x" * 100_000)
    assert len(str(refused.value)) < 1000
