"""The bypass for development, and the environments that refuse the bypass."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from starlette.routing import Route, WebSocketRoute
from tests.contrib.oidc.access.apps import describe_caller, echo, serve

from bandmaster.contrib.oidc import protect, require
from bandmaster.contrib.oidc.access.dev_bypass import DevBypassLayer, DevBypassRefusedError, dev_bypass
from bandmaster.contrib.oidc.testing import ActingUsers
from bandmaster.kernel import KernelSettings, PlanError

pytestmark = pytest.mark.anyio

ON = {"dev_bypass": True}
BYPASS = (dev_bypass, DevBypassLayer)
ROUTES = (
    Route("/", describe_caller),
    Route("/orders", describe_caller, middleware=[require("orders:read")]),
    WebSocketRoute("/ws", echo),
)


@pytest.fixture
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BANDMASTER_ENVIRONMENT", raising=False)


@pytest.mark.requirement("AU-9", "CF-36", "CA-14")
@pytest.mark.parametrize("environment", ["development", "test", "Development"])
async def test_where_it_is_allowed(environment: str, caplog: pytest.LogCaptureFixture) -> None:
    """In development and tests requests without a credential act as the developer, and the start says so loudly."""
    settings = KernelSettings(environment=environment)
    async with serve(routes=ROUTES, parts=BYPASS, access=ON, settings=settings) as running:
        assert (await running.client.get("/")).json()["context"] == "developer"
        assert (await running.client.get("/orders")).status_code == 200
        async with running.websocket("/ws") as websocket:
            assert await websocket.receive_text() == "developer"
    (record,) = [record for record in caplog.records if record.name == "bandmaster.oidc"]
    assert record.levelname == "WARNING"
    assert record.message.startswith("AUTHENTICATION IS BYPASSED")


@pytest.mark.requirement("AU-9", "CF-36", "CA-14")
@pytest.mark.parametrize(
    "environment",
    [None, "production", "staging", "prod", "dev", "local", "testing", "developmnet", "t"],
)
async def test_where_it_is_refused(environment: str | None, no_environment: None) -> None:
    """An unset or unknown environment counts as production, and nothing starts there."""
    settings = KernelSettings() if environment is None else KernelSettings(environment=environment)
    with pytest.raises(PlanError) as caught:
        async with serve(routes=ROUTES, parts=BYPASS, access=ON, settings=settings):
            pytest.fail("it started")
    (problem,) = caught.value.problems
    assert problem.message.startswith("lifespan 'dev_bypass'")
    assert "AUTH_DEV_BYPASS is on" in problem.message
    assert "Set BANDMASTER_ENVIRONMENT to development or test, or unset AUTH_DEV_BYPASS" in str(problem)


async def test_without_the_check() -> None:
    """The component refuses by itself, too, should nobody call the check."""
    contribution: Any = dev_bypass

    class Context:
        settings = KernelSettings(environment="production")
        name = "dev_bypass"

    from bandmaster.contrib.oidc import AccessSettings

    with pytest.raises(DevBypassRefusedError, match="neither development nor test"):
        async with contribution.factory(AccessSettings(**ON), Context()):
            pass


@pytest.mark.requirement("CA-14")
async def test_switched_off() -> None:
    """Without the setting neither the component nor the layer is in the plan, whatever the environment."""
    settings = KernelSettings(environment="development")
    async with serve(routes=ROUTES, parts=BYPASS, settings=settings) as running:
        assert "dev_bypass" not in running.plan.by_name
        assert "dev_bypass" not in [layer.name for layer in running.plan.layers]
        assert (await running.client.get("/orders")).status_code == 401


async def test_a_credential_beside_the_bypass() -> None:
    """A credential is checked as always: a good one counts, and a bad one is refused."""
    users, settings = ActingUsers(), KernelSettings(environment="test")
    async with serve(routes=ROUTES, users=users, parts=BYPASS, access=ON, settings=settings) as running:
        ada = await running.client.get("/", headers=users.act_as("ada"))
        forged = await running.client.get("/", headers={"authorization": "Bearer forged"})
        lacking = await running.client.get("/orders", headers=users.act_as("ada"))
    assert (ada.json()["context"], forged.status_code, lacking.status_code) == ("ada", 401, 403)


async def test_scopes_of_the_developer() -> None:
    """With scopes in the settings, routes and prefixes require theirs as always."""
    access = {**ON, "dev_bypass_subject": "eve", "dev_bypass_scopes": ("orders:write",)}
    settings = KernelSettings(environment="test")
    parts = [*BYPASS, protect("/admin", "admin")]
    async with serve(routes=ROUTES, parts=parts, access=access, settings=settings) as running:
        assert (await running.client.get("/")).json()["context"] == "eve"
        assert (await running.client.get("/orders")).status_code == 403
        assert (await running.client.get("/admin")).status_code == 403


@pytest.mark.requirement("CA-14")
def test_no_shipped_file_switches_it_on() -> None:
    """No example, template or env file sets the variable: copied files don't switch the bypass on."""
    root = Path(__file__).parents[4]
    suffixes = {".env", ".toml", ".yml", ".yaml", ".tmpl", ".json", ".sh", ".cfg", ".ini"}
    switch = re.compile(r"AUTH_DEV_BYPASS\s*[=:]\s*[\"']?(1|true|yes|on)", re.IGNORECASE)
    found = [
        path
        for folder in ("examples", "kernel", "contrib", "docs")
        for path in (root / folder).rglob("*")
        if path.is_file() and (path.suffix in suffixes or path.name.startswith(".env"))
        if switch.search(path.read_text("utf-8", "replace"))
    ]
    assert found == []
