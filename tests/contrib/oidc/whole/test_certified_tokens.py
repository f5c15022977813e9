"""An application accepts the certified provider's access tokens, and no others."""

from __future__ import annotations

import anyio
import pytest
from tests.contrib.oidc.providers.certified import OidcProvider
from tests.contrib.oidc.providers.hostile import HostileProvider
from tests.contrib.oidc.whole.shop import API, ask, run_shop

from bandmaster.contrib.oidc import AuthUnavailableError
from bandmaster.kernel import StartError

pytestmark = pytest.mark.anyio
DISCOVERY = "/.well-known/openid-configuration"


@pytest.mark.requirement("AU-1", "AU-5", "CA-11")
@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
async def test_tokens_of_each_algorithm_are_accepted(oidc_provider: OidcProvider, algorithm: str) -> None:
    """The scopes are the token's. Another audience gets 401, and a missing scope 403."""
    good = await oidc_provider.mint(API, scope="read", algorithm=algorithm)
    poor = await oidc_provider.mint(API, scope="write", algorithm=algorithm)
    elsewhere = await oidc_provider.mint("https://other.example", scope="read", algorithm=algorithm)
    async with run_shop(oidc_provider.issuer) as running:
        statuses = [(await ask(running, "/orders", token)).status_code for token in (good, poor, elsewhere)]
    assert [200, 403, 401] == statuses


@pytest.mark.requirement("AU-2", "CA-08")
async def test_the_request_that_meets_a_new_key_succeeds(oidc_provider: OidcProvider) -> None:
    """A rotation just after the start costs one fetch, and no valid token gets 401."""
    async with run_shop(oidc_provider.issuer) as running:
        oidc_provider.rotate_keys()
        tokens = [await oidc_provider.mint(API) for _ in range(3)]
        oidc_provider.forget_counts()
        statuses: list[int] = []

        async def call(token: str) -> None:
            statuses.append((await ask(running, "/me", token)).status_code)

        async with anyio.create_task_group() as tasks:
            for token in tokens * 10:
                tasks.start_soon(call, token)
        counts = oidc_provider.counts()
    assert ([200] * 30, 1) == (statuses, counts[oidc_provider.jwks_path])
    assert DISCOVERY not in counts


@pytest.mark.requirement("CA-07", "AU-15")
async def test_strange_key_ids_cost_one_fetch(oidc_provider: OidcProvider, hostile_provider: HostileProvider) -> None:
    """A flood of tokens with keys that nobody knows neither floods the provider nor disturbs good tokens."""
    good = await oidc_provider.mint(API)
    forged = [
        hostile_provider.sign({"iss": oidc_provider.issuer, "aud": API, "sub": "x"}, {"kid": f"k{number}"})
        for number in range(40)
    ]
    async with run_shop(oidc_provider.issuer) as running:
        oidc_provider.forget_counts()
        statuses = [(await ask(running, "/me", token)).status_code for token in forged]
        known = (await ask(running, "/me", good)).status_code
        counts = oidc_provider.counts()
    assert ({401}, 200) == (set(statuses), known)
    assert {oidc_provider.jwks_path: 1} == counts


async def test_many_cold_requests_fetch_once(oidc_provider: OidcProvider) -> None:
    """500 requests that arrive before any key is known wait for one discovery and one fetch of keys."""
    token = await oidc_provider.mint(API)
    oidc_provider.forget_counts()
    oidc_provider.add_fault(DISCOVERY, hold=True)
    statuses: list[int] = []

    async def call() -> None:
        statuses.append((await ask(running, "/me", token)).status_code)

    patient = {"provider_away": "degrade", "start_timeout": 0.1, "fetch_timeout": 60}
    async with run_shop(oidc_provider.issuer, **patient) as running, anyio.create_task_group() as tasks:
        for _ in range(500):
            tasks.start_soon(call)
        await anyio.wait_all_tasks_blocked()
        with anyio.fail_after(30):
            while not oidc_provider.waiting():
                await anyio.sleep(0.01)
        oidc_provider.release()
    assert [200] * 500 == statuses
    assert {DISCOVERY: 1, oidc_provider.jwks_path: 1} == oidc_provider.counts()


@pytest.mark.requirement("CA-09")
async def test_a_provider_that_is_away_stops_the_start_or_not(own_oidc_provider: OidcProvider) -> None:
    """By setting: the start fails with the address, or bearer tokens get 503 until the provider is there."""
    own_oidc_provider.stop()
    with pytest.raises(StartError) as failed:
        async with run_shop(own_oidc_provider.issuer):
            pass
    assert isinstance(failed.value.__cause__, AuthUnavailableError)
    assert own_oidc_provider.issuer in str(failed.value)
    async with run_shop(own_oidc_provider.issuer, provider_away="degrade", key_backoff=1) as running:
        away = await ask(running, "/me", "eyJhbGciOiJSUzI1NiJ9.e30.c2ln")
        own_oidc_provider.start()
        token = await own_oidc_provider.mint(API)
        before = await ask(running, "/me", token)
        with anyio.fail_after(30):
            while (await ask(running, "/me", token)).status_code == 503:
                await anyio.sleep(0.05)
        after = await ask(running, "/me", token)
    assert (401, 200) == (away.status_code, after.status_code)
    assert before.status_code in (200, 503)
    if before.status_code == 503:
        assert int(before.headers["retry-after"]) >= 1


async def test_known_keys_serve_during_an_outage(own_oidc_provider: OidcProvider) -> None:
    """Tokens are verified without the provider once its keys are known."""
    token = await own_oidc_provider.mint(API)
    async with run_shop(own_oidc_provider.issuer) as running:
        own_oidc_provider.stop()
        statuses = [(await ask(running, "/me", token)).status_code for _ in range(3)]
    assert [200, 200, 200] == statuses


async def test_opaque_tokens_are_introspected(oidc_provider: OidcProvider) -> None:
    """A token that only the provider knows is accepted until it is revoked there, and asked about once in a while."""
    client = oidc_provider.add_client()
    good = await oidc_provider.mint(API, scope="read", opaque=True, client=client)
    elsewhere = await oidc_provider.mint("https://other.example", opaque=True, client=client)
    revoked = await oidc_provider.mint(API, opaque=True, client=client)
    await oidc_provider.revoke(client, revoked)
    oidc_provider.forget_counts()
    async with run_shop(oidc_provider.issuer, client, access_token_type="opaque", login=False) as running:
        statuses = [(await ask(running, "/orders", token)).status_code for token in (good, good, elsewhere, revoked)]
    assert [200, 200, 401, 401] == statuses
    assert 3 == oidc_provider.counts()["/token/introspection"]
