"""The provider for development as a component."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import anyio
import httpx2
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet
from tests.contrib.oidc.devprovider.logins import CALLBACK, VERIFIER, login_target, read_redirect
from tests.logged import capture_logs

from bandmaster.contrib.oidc import DevProvider, DevProviderSettings, DevUser
from bandmaster.contrib.oidc.devprovider.component import DevProviderError, dev_provider
from bandmaster.contrib.oidc.devprovider.messages import Response
from bandmaster.contrib.oidc.settings import AuthSettings
from bandmaster.kernel import Kernel, KernelSettings, LifespanBand, PlanError, lifespan
from bandmaster.kernel.testing import attempt, check_contribution, free_port, run

pytestmark = pytest.mark.anyio
API = "https://api.example"


@pytest.fixture
def address() -> str:
    """An address of this machine at which nobody listens."""
    return f"http://127.0.0.1:{free_port()}"


def options(address: str, *parts: Any, issuer: str | None = None, **environment: Any) -> dict[str, Any]:
    """The arguments of a kernel with the provider."""
    own = DevProviderSettings(dev_provider=address, dev_provider_users=(DevUser(subject="alice"),))
    auth = AuthSettings(issuer=issuer or address, audiences=(API,))
    return {
        "contributions": [dev_provider, *parts],
        "overrides": {DevProviderSettings: own, AuthSettings: auth},
        "settings": KernelSettings(**(environment or {"environment": "test"})),
    }


async def test_a_whole_login_over_the_network(address: str) -> None:
    """Discovery, login, tokens that verify against the published keys, userinfo: as any client goes."""
    async with run(**options(address)), httpx2.AsyncClient(base_url=address, trust_env=False) as client:
        document = (await client.get("/.well-known/openid-configuration")).json()
        page = await client.get(login_target())
        chosen = await client.post(login_target(), data={"user": "alice"})
        _, answer = read_redirect(Response(chosen.status_code, dict(chosen.headers)))
        form = {"grant_type": "authorization_code", "code": answer["code"], "redirect_uri": CALLBACK}
        form |= {"code_verifier": VERIFIER}
        tokens = (await client.post(document["token_endpoint"], data=form, auth=("shop", "secret"))).json()
        keys = KeySet.import_key_set((await client.get(document["jwks_uri"])).json())
        headers = {"authorization": f"Bearer {tokens['access_token']}"}
        info = (await client.get(document["userinfo_endpoint"], headers=headers)).json()
    access = jwt.decode(tokens["access_token"], keys, algorithms=["RS256"]).claims
    identity = jwt.decode(tokens["id_token"], keys, algorithms=["RS256"]).claims
    assert (address, address, 200) == (document["issuer"], answer["iss"], page.status_code)
    assert ([API], "shop", "alice", "alice") == (access["aud"], identity["aud"], identity["sub"], info["sub"])


async def test_components_that_start_later_reach_it(address: str) -> None:
    """A component that fetches keys during its own start gets them."""

    @lifespan(band=LifespanBand.SERVICES)
    async def verifier() -> AsyncIterator[KeySet]:
        async with httpx2.AsyncClient(trust_env=False) as client:
            yield KeySet.import_key_set((await client.get(f"{address}/jwks")).json())

    async with run(**options(address, verifier)) as running:
        assert ["dev_provider", "verifier"] == running.events.start_order
        assert 1 == len(running.resources[KeySet].keys)


async def test_it_is_gone_after_the_stop(address: str) -> None:
    """The port is free again, also while a browser keeps a connection open."""
    async with run(**options(address)) as running:
        assert address == running.resources[DevProvider].issuer
        idle = await anyio.connect_tcp("127.0.0.1", int(address.rpartition(":")[2]))
    await idle.aclose()
    async with httpx2.AsyncClient(trust_env=False) as client:
        with pytest.raises(httpx2.ConnectError):
            await client.get(address)
    async with run(**options(address)):
        pass


async def test_its_start_is_loud(address: str) -> None:
    """A warning says that anyone can log in, where, and which setting ends this."""
    with capture_logs("bandmaster.oidc") as entries:
        async with run(**options(address)):
            pass
    (entry,) = [entry for entry in entries if entry["log_level"] == "warning"]
    assert entry["event"].startswith("anyone can log in as anyone")
    assert (address, ["alice"], True) == (entry["issuer"], entry["users"], "AUTH_DEV_PROVIDER" in entry["hint"])


@pytest.mark.requirement("AU-9", "CA-14")
@pytest.mark.parametrize("environment", ["production", "staging", "dev", "development2", None])
async def test_it_needs_an_environment_that_says_development(
    environment: str | None, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Production refuses the start, and so does an environment that isn't named or isn't known."""
    monkeypatch.delenv("BANDMASTER_ENVIRONMENT", raising=False)
    if environment is not None:
        monkeypatch.setenv("BANDMASTER_ENVIRONMENT", environment)
    kernel = Kernel(**{**options(address), "settings": None}, discover=False)
    with pytest.raises(PlanError, match="AUTH_DEV_PROVIDER lets anyone log in as anyone") as refused:
        async with kernel.running():
            pass
    assert "BANDMASTER_ENVIRONMENT=development" in str(refused.value)
    async with httpx2.AsyncClient(trust_env=False) as client:
        with pytest.raises(httpx2.ConnectError):
            await client.get(address)


@pytest.mark.parametrize("environment", ["development", "Test"])
async def test_it_runs_in_development_and_in_tests(environment: str, address: str) -> None:
    """These two environments are enough."""
    async with run(**options(address, environment=environment)):
        pass


async def test_several_processes_are_refused(address: str) -> None:
    """Each would listen at the same address, with other keys."""
    outcome = await attempt(**options(address, environment="test", processes=2))
    assert "2 processes would listen at its address" in str(outcome.error)


async def test_a_check_warns_where_nothing_uses_it(address: str) -> None:
    """An application whose issuer is another one gains nothing by this provider."""
    used = Kernel(**options(address), discover=False).check_start()
    unused = Kernel(**options(address, issuer="https://id.example"), discover=False).check_start()
    assert () == used
    assert 1 == len(unused)
    assert f"Set AUTH_ISSUER={address}" in unused[0]


async def test_a_taken_port_is_explained(address: str) -> None:
    """The error names the address and the setting."""
    async with run(**options(address)):
        outcome = await attempt(**options(address))
    assert isinstance(outcome.error.__cause__, DevProviderError)
    assert f"can't listen at {address}" in str(outcome.error.__cause__)
    assert "AUTH_DEV_PROVIDER" in str(outcome.error.__cause__)


async def test_without_the_setting_it_is_left_out() -> None:
    """The plan says so, and no AUTH_ variable is needed."""
    kernel = Kernel(
        contributions=[dev_provider], discover=False, overrides={DevProviderSettings: DevProviderSettings()}
    )
    assert [] == [component.name for component in kernel.plan.components]
    assert "left out: its when= says no to DevProviderSettings" == kernel.plan.explain("dev_provider").place
    async with kernel.running():
        pass


async def test_workers_and_schedulers_use_the_one_of_the_web_process(address: str) -> None:
    """Another process would find the port taken."""
    kernel = Kernel(**options(address), discover=False)
    names = {role: [part.name for part in kernel.for_role(role).plan.components] for role in ("web", "worker")}
    assert {"web": ["dev_provider"], "worker": []} == names


async def test_it_conforms(address: str) -> None:
    """The component passes the conformance kit, except that two can't listen at one address."""
    given = options(address)
    skip = ["runs side by side"]
    await check_contribution(dev_provider, overrides=given["overrides"], settings=given["settings"], skip=skip)


async def test_no_secret_is_logged(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A whole login leaves neither code nor token in the log, in the plan, or on the console."""
    with capture_logs() as entries:
        async with run(**options(address)) as running, httpx2.AsyncClient(base_url=address, trust_env=False) as client:
            chosen = await client.post(login_target(), data={"user": "alice"})
            _, answer = read_redirect(Response(chosen.status_code, dict(chosen.headers)))
            form = {"grant_type": "authorization_code", "code": answer["code"], "redirect_uri": CALLBACK}
            form |= {"code_verifier": VERIFIER, "client_id": "shop", "client_secret": "hidden"}
            tokens = (await client.post("/token", data=form)).json()
            told = str(running.app.plan) + repr(running.resources[DevProvider])
    printed = str(entries) + told + "".join(capsys.readouterr())
    secrets = [answer["code"], VERIFIER, "hidden", *(tokens[f"{name}_token"] for name in ("access", "id", "refresh"))]
    assert "login at the provider for development" in printed
    assert [] == [secret for secret in secrets if secret in printed]


def test_importing_the_package_is_cheap() -> None:
    """Describing the component loads neither cryptography nor an HTTP library: few applications use the provider."""
    code = (
        "import sys; from bandmaster.contrib.oidc.devprovider.component import dev_provider; "
        "print([name for name in ('joserfc', 'httpx2', 'cryptography', 'h11') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert "[]" == done.stdout.strip()
