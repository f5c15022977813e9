"""The OpenID Foundation's modules for relying parties, on a provider that lies.

Names are those of the conformance suite, ``oidcc-client-test-...``, where it has such a module.
"""

from __future__ import annotations

from typing import Any

import pytest
from tests.contrib.oidc.providers.certified import Client
from tests.contrib.oidc.providers.hostile import HostileProvider
from tests.contrib.oidc.whole.shop import ask, begin_login, finish_login, list_cookies, log_in, run_shop

from bandmaster.kernel import StartError

pytestmark = pytest.mark.anyio
CLIENT = Client("shop")
EVIL = "https://evil.example"

LIES: dict[str, dict[str, Any]] = {
    "invalid-iss": {"payload": {"iss": EVIL}},
    "missing-iss": {"payload": {"iss": None}},
    "iss-with-a-slash": {"payload": {"iss": "{issuer}/"}},
    "missing-sub": {"payload": {"sub": None}},
    "empty-sub": {"payload": {"sub": ""}},
    "invalid-aud": {"payload": {"aud": "another"}},
    "missing-aud": {"payload": {"aud": None}},
    "empty-aud": {"payload": {"aud": []}},
    "two-auds-without-azp": {"payload": {"aud": ["shop", "another"]}},
    "invalid-azp": {"payload": {"aud": ["shop", "another"], "azp": "another"}},
    "missing-iat": {"payload": {"iat": None}},
    "missing-exp": {"payload": {"exp": None}},
    "expired": {"payload": {"exp": 1}},
    "exp-as-text": {"payload": {"exp": "9999999999"}},
    "not-yet-valid": {"payload": {"nbf": 9999999999}},
    "nonce-invalid": {"payload": {"nonce": "another"}},
    "nonce-missing": {"payload": {"nonce": None}},
    "at-hash-invalid": {"payload": {"at_hash": "aaaaaaaaaaaaaaaaaaaaaa"}},
    "idtoken-sig-none": {"forge": "none"},
    "invalid-sig-rs256": {"forge": "signature"},
    "invalid-sig-of-another-key": {"forge": "stranger"},
    "invalid-sig-hs256": {"forge": "hmac"},
    "no-jwt": {"forge": "garbage"},
    "unknown-kid": {"header": {"kid": "unknown"}},
}


@pytest.mark.requirement("AU-5", "AU-6")
async def test_an_honest_provider_logs_users_in(hostile_provider: HostileProvider) -> None:
    """The module oidcc-client-test: without lies the login works, so the other tests fail for their lie only."""
    async with run_shop(hostile_provider.issuer, CLIENT) as running:
        done = await log_in(running, hostile_provider)
        me = await ask(running)
    assert (303, "johndoe") == (done.status_code, me.json()["sub"])


@pytest.mark.requirement("AU-5", "AU-6")
@pytest.mark.parametrize("name", LIES)
async def test_a_lie_in_the_id_token_is_refused(hostile_provider: HostileProvider, name: str) -> None:
    """No session begins, and the page says nothing of the reason."""
    lie = LIES[name]
    payload = {
        claim: value.format(issuer=hostile_provider.issuer) if isinstance(value, str) else value
        for claim, value in lie.get("payload", {}).items()
    }
    hostile_provider.lie("id_token", payload=payload, header=lie.get("header"), forge=lie.get("forge"))
    async with run_shop(hostile_provider.issuer, CLIENT) as running:
        done = await log_in(running, hostile_provider)
        me = await ask(running)
    assert done.status_code in (400, 401, 403), done.text
    assert (401, set()) == (me.status_code, list_cookies(running))
    for word in ("nonce", "signature", "issuer", "audience", "RS256", "kid", EVIL):
        assert word not in done.text


@pytest.mark.parametrize(
    "parameters",
    [
        {"iss": EVIL},
        {"state": None},
        {"state": "another"},
        {"code": None},
        {"error": "server_error", "code": None},
    ],
)
async def test_a_lie_in_the_callback_is_refused(
    hostile_provider: HostileProvider, parameters: dict[str, str | None]
) -> None:
    """An issuer that isn't ours is a mix-up (RFC 9207), also from a provider that doesn't promise the parameter."""
    hostile_provider.lie_in_callback(**parameters)
    async with run_shop(hostile_provider.issuer, CLIENT) as running:
        done = await finish_login(running, await hostile_provider.authorize(await begin_login(running)))
        me = await ask(running)
    assert 400 <= done.status_code < 500
    assert 401 == me.status_code


async def test_a_missing_issuer_is_refused_if_it_is_promised(hostile_provider: HostileProvider) -> None:
    """A provider that promises ``iss`` and leaves it out is an attacker in between (RFC 9207, section 2.4)."""
    promise = {"authorization_response_iss_parameter_supported": True}
    hostile_provider.add_fault("/.well-known/openid-configuration", patch=promise)
    async with run_shop(hostile_provider.issuer, CLIENT) as running:
        done = await log_in(running, hostile_provider)
    assert 400 <= done.status_code < 500


async def test_a_lie_of_the_userinfo_endpoint_is_refused(hostile_provider: HostileProvider) -> None:
    """The module userinfo-invalid-sub: claims of another user are nobody's (OpenID Connect Core, section 5.3.2)."""
    hostile_provider.lie("userinfo", payload={"sub": "mallory", "name": "Mallory"})
    async with run_shop(hostile_provider.issuer, CLIENT) as running:
        await log_in(running, hostile_provider)
        profile = await ask(running, "/auth/profile")
    assert "mallory" not in profile.text.lower()


@pytest.mark.parametrize("keys", [1, 2])
async def test_a_token_without_a_key_id_is_verified(hostile_provider: HostileProvider, keys: int) -> None:
    """The modules kid-absent-single-jwks and kid-absent-multiple-jwks: each published key is tried."""
    for number in range(1, keys):
        hostile_provider.add_key("RS256", f"key {number}")
    hostile_provider.lie("id_token", header={"kid": None})
    async with run_shop(hostile_provider.issuer, CLIENT) as running:
        statuses = [(await log_in(running, hostile_provider)).status_code for _ in range(2)]
    assert [303, 303] == statuses


@pytest.mark.requirement("AU-10", "CF-20")
@pytest.mark.parametrize(
    "patch",
    [
        {"issuer": EVIL},
        {"issuer": None},
        {"jwks_uri": "http://evil.example/jwks"},
        {"jwks_uri": "file:///etc/passwd"},
        {"token_endpoint": "http://169.254.169.254/latest/meta-data"},
    ],
)
async def test_a_lie_in_the_discovery_document_stops_the_start(
    hostile_provider: HostileProvider, patch: dict[str, Any]
) -> None:
    """The module discovery-issuer-mismatch, and endpoints that a client mustn't be sent to."""
    hostile_provider.add_fault("/.well-known/openid-configuration", patch=patch)
    with pytest.raises(StartError):
        async with run_shop(hostile_provider.issuer, CLIENT):
            pass


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 200, "body": '{"access_token": "a"}'},
        {"status": 200, "body": "[]"},
        {"status": 200, "body": "not JSON"},
        {"status": 200, "body": "x" * 1000, "repeat": 5000},
        {"status": 302, "headers": {"location": "http://127.0.0.1:1/"}},
        {"status": 400, "body": '{"error": "invalid_grant"}'},
        {"status": 500, "body": "<html>secret</html>"},
        {"disconnect": True},
    ],
    ids=["no ID token", "a list", "no JSON", "huge", "a redirect", "refused", "broken", "cut off"],
)
async def test_a_bad_answer_to_the_code_is_no_login(hostile_provider: HostileProvider, fault: dict[str, Any]) -> None:
    """Whatever the token endpoint sends, the user gets a page, and nobody is logged in."""
    hostile_provider.add_fault(hostile_provider.token_path, **fault)
    async with run_shop(hostile_provider.issuer, CLIENT) as running:
        done = await log_in(running, hostile_provider)
        me = await ask(running)
    assert 400 <= done.status_code <= 503
    assert 500 != done.status_code
    assert "secret" not in done.text
    assert 401 == me.status_code
