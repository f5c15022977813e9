"""An application whose provider has a certificate of an authority that the system doesn't know."""

from __future__ import annotations

from pathlib import Path

import httpx2
import pytest
from tests.contrib.oidc.providers.certified import OidcProvider
from tests.contrib.oidc.whole.shop import API, add_client, ask, log_in, run_shop
from tests.contrib.redis.certificates import certificate

from bandmaster.contrib.oidc import ProviderRefusedError
from bandmaster.kernel import StartError
from bandmaster.kernel.testing import ServerUnavailable, skip_or_fail

pytestmark = pytest.mark.anyio


def trust(monkeypatch: pytest.MonkeyPatch, provider: OidcProvider) -> None:
    """Name the provider's authority, as a deployment does."""
    assert provider.process.certificate is not None
    monkeypatch.setenv("HTTP_TLS_CA_FILE", provider.process.certificate.cert)


@pytest.mark.requirement("AU-10", "AU-14")
async def test_login_and_tokens_with_an_authority_of_ones_own(
    oidc_provider_https: OidcProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One setting is enough for discovery, keys, the token endpoint, userinfo and introspection."""
    trust(monkeypatch, oidc_provider_https)
    assert oidc_provider_https.issuer.startswith("https://")
    client = add_client(oidc_provider_https)
    oidc_provider_https.set_user("alice", name="Alice")
    token = await oidc_provider_https.mint(API, scope="read")
    async with run_shop(oidc_provider_https.issuer, client) as running:
        bearer = await ask(running, "/orders", token)
        done = await log_in(running, oidc_provider_https, "alice")
        profile = (await ask(running, "/auth/profile")).json()
    assert (200, "token", 303) == (bearer.status_code, bearer.json()["kind"], done.status_code)
    assert ("alice", "session", "Alice") == (profile["sub"], profile["kind"], profile["claims"]["name"])

    opaque = await oidc_provider_https.mint(API, scope="read", opaque=True, client=client)
    async with run_shop(oidc_provider_https.issuer, client, access_token_type="opaque", login=False) as running:
        assert 200 == (await ask(running, "/orders", opaque)).status_code


@pytest.mark.requirement("AU-10")
@pytest.mark.parametrize("authority", ["none", "another"])
async def test_an_authority_that_is_not_trusted(
    oidc_provider_https: OidcProvider, authority: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The start fails, also where it may go on without a provider, and the error names the variable to set."""
    monkeypatch.delenv("HTTP_TLS_CA_FILE", raising=False)
    if authority == "another":
        try:
            monkeypatch.setenv("HTTP_TLS_CA_FILE", certificate(tmp_path, "another").cert)
        except ServerUnavailable as error:
            skip_or_fail(error)
    with pytest.raises(StartError) as failed:
        async with run_shop(oidc_provider_https.issuer, provider_away="degrade"):
            pass
    text = str(failed.value)
    assert isinstance(failed.value.__cause__, ProviderRefusedError)
    assert f"{oidc_provider_https.issuer}/.well-known/openid-configuration can't be asked" in text
    assert "certificate verify failed" in text
    assert "HTTP_TLS_CA_FILE names the authorities to trust" in text


async def test_an_authority_that_only_introspection_needs(
    oidc_provider_https: OidcProvider, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A provider that isn't asked at the start is away later, and the log names the variable."""
    monkeypatch.delenv("HTTP_TLS_CA_FILE", raising=False)
    client = add_client(oidc_provider_https)
    settings = {"introspection_url": f"{oidc_provider_https.issuer}/token/introspection", "login": False}
    async with run_shop(oidc_provider_https.issuer, client, access_token_type="opaque", **settings) as running:
        answer: httpx2.Response = await ask(running, "/orders", "an-opaque-token")
    assert 503 == answer.status_code
    assert "HTTP_TLS_CA_FILE" in caplog.text
    assert "HTTP_TLS_CA_FILE" not in answer.text
