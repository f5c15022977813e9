"""The components of the providers and of the verifier: start, check, readiness and stop."""

import anyio
import httpx2
import pytest
from tests.contrib.oidc.verifier.issuer import (
    AUDIENCE,
    ISSUER,
    JWKS,
    Issuer,
    key_for,
    make_settings,
    make_token,
    publish,
)
from tests.logged import capture_logs

from bandmaster.contrib.oidc import (
    AuthSettings,
    AuthUnavailableError,
    InvalidTokenError,
    OpaqueTokenVerifier,
    Principal,
    ProviderRefusedError,
    Providers,
    TokenVerifier,
    identity_providers,
    token_verifier,
)
from bandmaster.contrib.oidc.checks import provider_settings
from bandmaster.kernel import Kernel, KernelSettings, LifespanBand, StartError, create_app, lifespan
from bandmaster.kernel.testing import attempt, run

pytestmark = pytest.mark.anyio


def options(issuer, *, environment="test", extra=(), role="web", overrides=None, settings=None, **changes):
    """The options of a run with a client that reaches the issuer."""

    @lifespan(band=LifespanBand.PERSISTENCE, provides=httpx2.AsyncClient)
    async def http_client():
        async with httpx2.AsyncClient(transport=issuer) as client:
            yield client

    return {
        "contributions": [http_client, identity_providers, token_verifier, *extra],
        "overrides": {AuthSettings: settings or make_settings(**changes), **(overrides or {})},
        "settings": KernelSettings(environment=environment),
        "role": role,
    }


def names(plan):
    return {part.name for part in plan.components}


async def test_without_a_provider_both_are_left_out() -> None:
    """An application without AUTH_ variables starts, asks for no client and makes no request."""
    kernel = Kernel(
        contributions=[identity_providers, token_verifier], overrides={AuthSettings: AuthSettings()}, discover=False
    )
    async with kernel.running():
        pass
    assert not names(kernel.plan) & {"identity_providers", "token_verifier"}


@pytest.mark.requirement("CF-06", "CF-31", "AU-14")
async def test_the_start_fetches_the_keys() -> None:
    """The first request needs no fetch."""
    issuer = Issuer()
    async with run(**options(issuer)) as running:
        assert (1, 1) == issuer.requests
        assert "alice" == (await running.resources[TokenVerifier].verify(make_token())).subject
        assert (1, 1) == issuer.requests
        assert ISSUER == (await running.resources[Providers]["default"].metadata()).issuer
        assert 200 == (await running.client.get("/readyz")).status_code


@pytest.mark.requirement("CA-09")
async def test_a_provider_that_is_away_fails_the_start() -> None:
    """The error names the address, and the setting that lets the start go on."""
    issuer = Issuer()
    issuer.away = True
    outcome = await attempt(**options(issuer))
    assert isinstance(outcome.error, StartError)
    assert isinstance(outcome.cause, AuthUnavailableError)
    for text in (f"{ISSUER}/.well-known/openid-configuration", "AUTH_PROVIDER_AWAY=degrade", "connection refused"):
        assert text in str(outcome.cause)


@pytest.mark.requirement("CA-09")
async def test_a_provider_that_hangs_fails_the_start_in_time() -> None:
    """The time for the keys is a setting, and the error names the address."""
    issuer = Issuer()
    issuer.hangs = True
    outcome = await attempt(**options(issuer, start_timeout=0.2, fetch_timeout=60))
    assert isinstance(outcome.cause, AuthUnavailableError)
    assert f"nothing came from {ISSUER}/.well-known/openid-configuration within 0.2 s" in str(outcome.cause)


@pytest.mark.requirement("CA-09")
async def test_the_start_goes_on_without_a_provider_if_a_setting_says_so() -> None:
    """Requests get 503 and readiness warns until the keys arrive, for which no request is needed."""
    issuer = Issuer()
    issuer.away = True
    with capture_logs() as logs:
        async with run(**options(issuer, provider_away="degrade", key_backoff=1)) as running:
            verifier = running.resources[TokenVerifier]
            with pytest.raises(AuthUnavailableError) as unavailable:
                await verifier.verify(make_token())
            assert unavailable.value.retry_after >= 1
            answer = await running.client.get("/readyz")
            assert (200, "warn") == (answer.status_code, answer.json()["status"])
            issuer.away = False
            with anyio.fail_after(30):
                while (await running.client.get("/readyz")).json()["status"] == "warn":
                    await anyio.sleep(0.05)
            assert "alice" == (await verifier.verify(make_token())).subject
    assert 1 == sum(one["event"] == "the start goes on without the keys of a provider" for one in logs)


@pytest.mark.requirement("CA-05", "AU-10", "CF-19")
@pytest.mark.parametrize("away", ["fail", "degrade"])
async def test_a_provider_that_contradicts_the_settings_always_fails_the_start(away) -> None:
    """Waiting doesn't mend another issuer; the error shows both, quoted."""
    issuer = Issuer()
    issuer.document["issuer"] = f"{ISSUER}/"
    outcome = await attempt(**options(issuer, provider_away=away))
    assert isinstance(outcome.cause, ProviderRefusedError)
    assert f"names the issuer '{ISSUER}/', and the settings '{ISSUER}'" in str(outcome.cause)


async def test_the_failures_of_several_providers_are_told_together() -> None:
    """One start is enough to learn of all."""
    entries = [{"issuer": f"https://{name}.example", "name": name, "audiences": ["x"]} for name in ("a", "b")]
    issuer = Issuer()
    issuer.away = True
    outcome = await attempt(**options(issuer, settings=AuthSettings(issuers=entries)))
    for name in ("a", "b"):
        assert f"the provider '{name}' can't be used: https://{name}.example/" in str(outcome.cause)


@pytest.mark.requirement("CA-04")
async def test_an_empty_audience_is_refused_before_anything_starts() -> None:
    """The refusal names the variable and the ways out."""
    issuer = Issuer()
    outcome = await attempt(**options(issuer, audiences=[]))
    assert not outcome.started
    for text in ("AUTH_AUDIENCES is empty for the provider 'default'", "AUTH_AUTHORIZED_PARTIES", "=refused"):
        assert text in str(outcome.error)
    assert (0, 0) == issuer.requests
    (await attempt(**options(issuer, audiences=[], authorized_parties=["spa"]))).assert_clean()
    (await attempt(**options(issuer, audiences=[], access_token_type="refused"))).assert_clean()


@pytest.mark.requirement("AU-10", "CF-20")
async def test_production_refuses_plain_http_to_this_machine() -> None:
    """In a test these settings start; a named host starts in production, too."""
    address = "http://127.0.0.1:9000"
    issuer = Issuer(issuer=address)
    settings = make_settings(issuer=address)
    outcome = await attempt(**options(issuer, environment="production", settings=settings))
    assert "is reached by plain HTTP (issuer)" in str(outcome.error)
    (await attempt(**options(issuer, settings=settings))).assert_clean()
    named = make_settings(issuer=address, plain_http_hosts=["127.0.0.1"])
    (await attempt(**options(issuer, environment="production", settings=named))).assert_clean()


@pytest.mark.requirement("AU-10")
async def test_discovery_in_production_cannot_lead_to_this_machine() -> None:
    """Keys at a loopback address are refused there, however they are reached."""
    issuer = Issuer()
    issuer.document["jwks_uri"] = "https://127.0.0.1/keys"
    outcome = await attempt(**options(issuer, environment="production"))
    assert "leads to an internal address" in str(outcome.cause)
    assert (1, 0) == issuer.requests


async def test_a_worker_verifies_no_bearer_tokens() -> None:
    """The verifier belongs to the web, so that a worker starts while a provider is away."""
    issuer = Issuer()
    issuer.away = True
    async with run(**options(issuer, role="worker")) as running:
        assert "token_verifier" not in names(running.plan)
        assert ["default"] == list(running.resources[Providers])
    assert (0, 0) == issuer.requests


async def test_an_override_replaces_the_verifier() -> None:
    """Tests hand in their own, and no provider is asked."""

    class Stand:
        async def verify(self, token):
            return Principal(subject=token)

    issuer = Issuer()
    async with run(**options(issuer, overrides={TokenVerifier: Stand()})) as running:
        assert "bob" == (await running.resources[TokenVerifier].verify("bob")).subject
    assert (0, 0) == issuer.requests


async def test_another_component_verifies_opaque_tokens() -> None:
    """A component that provides an OpaqueTokenVerifier gets the tokens that aren't JWTs."""

    class Introspection:
        async def verify(self, token):
            return Principal(subject=f"of {token}")

    @lifespan(band=LifespanBand.SERVICES, provides=OpaqueTokenVerifier)
    async def introspection():
        yield Introspection()

    issuer = Issuer()
    changes = {"access_token_type": "opaque"}
    async with run(**options(issuer, extra=[introspection], **changes)) as running:
        verifier = running.resources[TokenVerifier]
        assert "of 8f3c" == (await verifier.verify("8f3c")).subject
        assert f"of {make_token()}"[:20] == (await verifier.verify(make_token())).subject[:20]
        with pytest.raises(InvalidTokenError):
            await verifier.verify(make_token(iss="https://c.example", aud=AUDIENCE))
    assert (0, 0) == issuer.requests
    outcome = await attempt(**options(issuer, **changes))
    assert "no component provides an OpaqueTokenVerifier" in str(outcome.error)


async def test_a_stop_during_a_fetch_ends_the_fetch() -> None:
    """The background task of a fetch doesn't outlive the component."""
    issuer = Issuer()
    async with run(**options(issuer)) as running, anyio.create_task_group() as tasks:
        issuer.keys.append(publish(key_for("ES256", "new"), "two"))
        issuer.hangs = True
        verifier = running.resources[TokenVerifier]

        async def verify():
            with pytest.raises(AuthUnavailableError):
                await verifier.verify(make_token(kid="two", key=key_for("ES256", "new")))

        tasks.start_soon(verify)
        while issuer.counts[JWKS] < 2:
            await anyio.sleep(0)
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({"audiences": ["api"], "client_id": "shop"}, ["AUTH_AUDIENCES, AUTH_CLIENT_ID"]),
        ({"audiences": ["api"], "issuer": ISSUER}, []),
        ({"leeway": 10}, []),
        ({}, []),
    ],
)
async def test_settings_of_a_provider_without_an_issuer_are_found(values, found) -> None:
    """`bandmaster check` warns of variables that nothing uses."""
    overrides = {AuthSettings: AuthSettings(**values), httpx2.AsyncClient: httpx2.AsyncClient()}
    app = create_app(contributions=[identity_providers, token_verifier], overrides=overrides, discover=False)
    warnings = list(provider_settings.check(app))
    assert len(found) == len(warnings)
    assert all(variables in warning for variables, warning in zip(found, warnings, strict=True))
    await overrides[httpx2.AsyncClient].aclose()
