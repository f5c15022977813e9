"""The HTTP client as a component."""

from contextlib import nullcontext
from typing import Annotated

import anyio
import httpx2
import pytest
from pydantic_settings import SettingsConfigDict
from tests.contrib.http.services import reply, serving

from bandmaster.contrib.http import HttpClient, HttpClosedError, HttpRefusedError, HttpSettings, http, http_client
from bandmaster.kernel import Kernel, LifespanBand, Named, StopError, lifespan
from bandmaster.kernel.testing import attempt, check_contribution, run

pytestmark = pytest.mark.anyio


async def answer(seen, stream):
    return reply(body=b"served")


def options(**settings):
    return {"contributions": [http], "overrides": {HttpSettings: HttpSettings(**settings)}}


@pytest.mark.requirement("CF-06", "AU-4", "AU-14")
@pytest.mark.parametrize("failing", [False, True])
async def test_components_share_one_client_until_the_stop(failing) -> None:
    """Every component gets the same client, which works until the last of them has stopped, and is closed then."""
    found = []

    @lifespan(band=LifespanBand.SERVICES, name="one")
    async def one(client: httpx2.AsyncClient):
        found.append(client)
        yield
        await client.get(service.url)
        if failing:
            raise OSError("can't stop")

    @lifespan(band=LifespanBand.APPLICATION, name="two")
    async def two(client: httpx2.AsyncClient):
        found.append(client)
        yield

    async with serving(answer) as service:
        kernel = Kernel(**{**options(), "contributions": [http, one, two]}, discover=False)
        with pytest.raises(StopError) if failing else nullcontext():
            async with kernel.running() as resources:
                client = resources[httpx2.AsyncClient]
                assert b"served" == (await client.get(service.url)).content
        assert found == [client, client]
        assert 2 == len(service.requests)
        assert client.is_closed
        assert 0 == client.gauges()[0].open
        with pytest.raises(HttpClosedError, match=r"must depend on httpx2\.AsyncClient"):
            await client.get(service.url)
        assert 2 == len(service.requests)


async def test_it_conforms() -> None:
    """The component keeps the rules of components."""
    await check_contribution(http)


async def test_nobody_but_the_application_closes_it() -> None:
    """Libraries that close the client they are given don't close it for everybody."""
    async with serving(answer) as service, run(**options()) as running:
        client = running.resources[httpx2.AsyncClient]
        async with client as same:
            assert same is client
        await client.aclose()
        assert b"served" == (await client.get(service.url)).content


async def test_an_override_is_not_closed() -> None:
    """A double belongs to the test; the component isn't started."""
    double = httpx2.AsyncClient(transport=httpx2.MockTransport(lambda request: httpx2.Response(418)))
    async with run(contributions=[http], overrides={httpx2.AsyncClient: double}) as running:
        assert running.resources[httpx2.AsyncClient] is double
    assert not double.is_closed
    assert 418 == (await double.get("https://api.example")).status_code
    await double.aclose()


class BillingSettings(HttpSettings):
    """Settings of a named client."""

    model_config = SettingsConfigDict(env_prefix="BILLING_")


@pytest.mark.requirement("CA-66")
async def test_a_named_client_has_a_pool_and_settings_of_its_own(monkeypatch) -> None:
    """The two are told apart by the name, also in errors."""
    monkeypatch.setenv("BILLING_BASE_URL", "https://billing.internal/v1")
    monkeypatch.setenv("BILLING_MAX_CONNECTIONS", "3")
    monkeypatch.setenv("HTTP_MAX_CONNECTIONS", "4")
    found = {}

    @lifespan(band=LifespanBand.SERVICES)
    async def user(
        shared: Annotated[httpx2.AsyncClient, Named("http")] | None,
        billing: Annotated[httpx2.AsyncClient, Named("billing")],
    ):
        found.update(shared=shared, billing=billing)
        yield

    async with run(contributions=[http, http_client("billing", prefix="BILLING_"), user]) as running:
        billing = running.resources[Annotated[httpx2.AsyncClient, Named("billing")]]
        assert billing is found["billing"] is not running.resources[httpx2.AsyncClient]
        assert ("billing", 3) == (billing.gauges()[0].client, billing.gauges()[0].limit)
        assert "https://billing.internal/v1/invoices" == billing.build_request("GET", "/invoices").url
        assert 7 == running.plan.budget["http"]


async def test_settings_of_a_named_client_can_be_overridden_by_type() -> None:
    """A subclass of the settings names the client's own."""
    part = http_client("billing", settings=BillingSettings)
    given = BillingSettings(max_connections=2)
    async with run(contributions=[part], overrides={BillingSettings: given}) as running:
        client = running.resources[Annotated[httpx2.AsyncClient, Named("billing")]]
        assert isinstance(client, HttpClient)
        assert 2 == client.gauges()[0].limit
    with pytest.raises(ValueError, match="prefix: can't be given with settings"):
        http_client("billing", prefix="X_", settings=BillingSettings)


async def test_its_errors_name_its_own_variables() -> None:
    """The person on call finds the setting of the client that failed."""

    async def stay_silent(seen, stream):
        await anyio.sleep_forever()

    part = http_client("billing", prefix="BILLING_")
    async with serving(stay_silent) as service, run(contributions=[part]) as running:
        client = running.resources[Annotated[httpx2.AsyncClient, Named("billing")]]
        with pytest.raises(httpx2.TimeoutException, match=r"by the HTTP client 'billing': .* Raise BILLING_DEADLINE"):
            await client.get(service.url, extensions={"deadline": 0.05})


@pytest.mark.requirement("XC-R1")
async def test_connections_are_in_the_budget() -> None:
    """Each client counts with its pool."""
    kernel = Kernel(**options(max_connections=6), discover=False)
    assert {"http": 6} == dict(kernel.plan.budget)


async def test_readiness_does_not_depend_on_other_services() -> None:
    """There is no health check."""
    async with run(**options()) as running:
        answered = await running.client.get("/readyz")
        assert (200, True) == (answered.status_code, "http" not in answered.json().get("checks", {}))


@pytest.mark.parametrize("field", ["tls_ca_file", "tls_cert_file"])
async def test_certificates_that_can_not_be_read_are_a_problem_before_the_start(tmp_path, field) -> None:
    """The error names the variable and the file."""
    path = tmp_path / "absent.pem"
    outcome = await attempt(**options(**{field: path}))
    text = str(outcome.error)
    assert f"HTTP_{field.upper()}={path}" in text
    assert "certificates for HTTP calls can't be read" in text


async def test_a_socks_proxy_without_its_package_is_a_problem_before_the_start(monkeypatch) -> None:
    """Otherwise every call would fail."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    outcome = await attempt(**options(proxy_url="socks5://proxy:1080"))
    assert "pip install 'httpx2[socks]'" in str(outcome.error)


@pytest.mark.parametrize("secure", [True, False])
async def test_a_service_with_a_certificate_of_its_own(authority, secure) -> None:
    """The authority of the settings is trusted, and no other."""
    async with serving(answer, authority.context) as service:
        async with run(**options(**({"tls_ca_file": authority.file} if secure else {}))) as running:
            client = running.resources[httpx2.AsyncClient]
            if secure:
                assert 200 == (await client.get(service.url)).status_code
            else:
                untrusted = r"certificate verify failed.*\. HTTP_TLS_CA_FILE names the authorities to trust"
                with pytest.raises(HttpRefusedError, match=untrusted):
                    await client.get(service.url)


@pytest.mark.requirement("AU-14")
async def test_the_stop_waits_for_no_service() -> None:
    """A call in flight that nobody would end is ended by the stop."""
    ended = []

    async def stay_silent(seen, stream):
        await anyio.sleep_forever()

    async def call(client, url):
        try:
            await client.get(url, extensions={"deadline": None}, timeout=None)
        except HttpClosedError as error:
            ended.append(error)

    async with serving(stay_silent) as service, anyio.create_task_group() as group:
        with anyio.fail_after(50):
            async with run(**options()) as running:
                group.start_soon(call, running.resources[httpx2.AsyncClient], service.url)
                while not service.requests:
                    await anyio.sleep(0.01)
    assert 1 == len(ended)
