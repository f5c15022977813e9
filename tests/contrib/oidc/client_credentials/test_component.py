"""Sources of tokens as components."""

from typing import Annotated

import httpx2
import pytest
from pydantic_settings import SettingsConfigDict

from bandmaster.contrib.http import http
from bandmaster.contrib.oidc import ClientCredentials, ClientCredentialsSettings, client_credentials_for
from bandmaster.contrib.oidc.errors import AuthUnavailableError
from bandmaster.kernel import Kernel, KernelSettings, LifespanBand, Named, PlanError, lifespan
from bandmaster.kernel.testing import attempt, check_contribution, run

pytestmark = pytest.mark.anyio

BILLING = Annotated[ClientCredentials, Named("billing")]


class BillingTokens(ClientCredentialsSettings):
    """Settings of the tokens for billing."""

    model_config = SettingsConfigDict(env_prefix="BILLING_OAUTH_")


def given(url="http://127.0.0.1:9/token"):
    return {BillingTokens: BillingTokens(token_url=url, client_id="shop", client_secret="hunter2")}


async def test_a_component_calls_a_service(provider, service) -> None:
    """A component takes the shared client and the tokens of the service by their types."""
    part = client_credentials_for("billing", settings=BillingTokens)
    statuses = []

    @lifespan(band=LifespanBand.APPLICATION)
    async def invoices(client: httpx2.AsyncClient, credentials: Annotated[ClientCredentials, Named("billing")]):
        statuses.append((await client.get(service.url, auth=credentials)).status_code)
        yield

    async with run(contributions=[http, part, invoices], overrides=given(provider.url)) as running:
        credentials = running.resources[BILLING]
        assert isinstance(credentials, ClientCredentials)
        assert "t1" == (await credentials.token()).value
    assert ([200], ["t1"]) == (statuses, service.tokens)
    credentials.invalidate(await credentials.token())
    with pytest.raises(AuthUnavailableError, match="no access token for 'billing': the application has stopped"):
        await credentials.token()


async def test_it_conforms() -> None:
    """The component keeps the rules of components."""
    part = client_credentials_for("billing", settings=BillingTokens)
    await check_contribution(part, beside=[http], overrides=given())


async def test_the_start_asks_no_provider(provider) -> None:
    """A provider that is away ends no start; the first call fetches the token."""
    part = client_credentials_for("billing", settings=BillingTokens)
    async with run(contributions=[http, part], overrides=given(provider.url)):
        assert [] == provider.requests


async def test_missing_settings_are_problems_of_the_plan() -> None:
    """Each variable is named."""
    with pytest.raises(PlanError) as raised:
        _ = Kernel(contributions=[http, client_credentials_for("billing")], discover=False).plan
    for name in ("BILLING_OAUTH_TOKEN_URL", "BILLING_OAUTH_CLIENT_ID", "BILLING_OAUTH_CLIENT_SECRET"):
        assert name in str(raised.value)


async def test_production_needs_tls() -> None:
    """A provider on this machine is for development."""
    part = client_credentials_for("billing", settings=BillingTokens)
    outcome = await attempt(
        contributions=[http, part], overrides=given(), settings=KernelSettings(environment="production")
    )
    assert "BILLING_OAUTH_TOKEN_URL isn't https, and this is production" in str(outcome.error)


@pytest.mark.requirement("P-18")
def test_settings_have_one_prefix() -> None:
    """Either a prefix or a type."""
    with pytest.raises(ValueError, match="prefix: can't be given with settings"):
        client_credentials_for("billing", prefix="X_", settings=BillingTokens)
