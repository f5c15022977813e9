"""Events of authentication for an audit trail."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.routing import Route
from tests.contrib.oidc.access.apps import describe_caller, serve

from bandmaster.contrib.oidc import (
    ApiKeyAuth,
    ApiKeys,
    ApiKeySettings,
    AuthEvent,
    AuthListener,
    Principal,
    report_auth_event,
    require,
)
from bandmaster.contrib.oidc.api_keys.component import api_key_memory_store, api_keys
from bandmaster.contrib.oidc.testing import ActingUsers
from bandmaster.kernel import value

pytestmark = pytest.mark.anyio


class Trail:
    """A listener that keeps the events, and may fail."""

    def __init__(self, error: Exception | None = None) -> None:
        self.events: list[AuthEvent] = []
        self.error = error

    def on_auth_event(self, event: AuthEvent) -> None:
        self.events.append(event)
        if self.error is not None:
            raise self.error


def listen(trail: Trail, name: str = "trail") -> Any:
    return value(trail, name=name, provides=AuthListener)


ROUTES = (Route("/orders", describe_caller, methods=["POST"], middleware=[require("orders")]),)


async def test_refusals() -> None:
    """Each refusal is one event with the reason, who it was, and where; and no credential."""
    users, trail = ActingUsers(), Trail()
    async with serve(users=users, routes=ROUTES, parts=[listen(trail)]) as running:
        eve = users.act_as("eve")
        response = await running.client.post("/orders", headers=eve)
        await running.client.post("/orders")
        await running.client.post("/orders", headers={"authorization": "Bearer a.secret.token"})
    lacking, missing, forged = trail.events
    assert (lacking.action, lacking.succeeded, lacking.status) == ("request.refused", False, 403)
    assert lacking.principal is not None
    assert (lacking.principal.subject, lacking.reason) == ("eve", "'eve' lacks orders, and has no scope")
    assert (lacking.method, lacking.path, lacking.client) == ("POST", "/orders", "127.0.0.1")
    assert lacking.request_id == response.headers["x-request-id"]
    assert (missing.status, missing.principal, forged.status, forged.principal) == (401, None, 401, None)
    assert "a.secret.token" not in repr(trail.events)
    assert eve["authorization"].removeprefix("Bearer ") not in repr(trail.events)


async def test_a_listener_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    """The request and the other listeners go on, and the failure is logged."""
    broken, trail = Trail(RuntimeError("disk full")), Trail()
    async with serve(users=ActingUsers(), routes=ROUTES, parts=[listen(broken, "a"), listen(trail, "b")]) as running:
        assert (await running.client.post("/orders")).status_code == 401
    assert (len(broken.events), len(trail.events)) == (1, 1)
    assert "an event of authentication wasn't noted" in caplog.text


async def test_the_use_of_a_key() -> None:
    """The layer for API keys reports each use of a key."""
    trail, settings = Trail(), ApiKeySettings(peppers={"2026": "p" * 43})
    parts = [api_key_memory_store, api_keys, ApiKeyAuth, listen(trail)]
    async with serve(parts=parts, overrides={ApiKeySettings: settings}) as running:
        key = (await running.resources[ApiKeys].create("acme", scopes=["read"])).key.get_secret_value()
        assert (await running.client.get("/", headers={"x-api-key": key})).status_code == 200
    (event,) = trail.events
    assert event.principal is not None
    assert (event.action, event.succeeded, event.principal.subject) == ("api_key.used", True, "acme")
    assert key not in repr(event)


async def test_events_of_other_parts() -> None:
    """Parts that log users in, or accept keys, report by the same function."""
    trail = Trail()

    async def log_in(request: Any) -> Any:
        report_auth_event(request.scope, "login", succeeded=True, principal=Principal("ada"))
        return await describe_caller(request)

    async with serve(routes=[Route("/", log_in)], parts=[listen(trail)]) as running:
        await running.client.get("/")
    (event,) = trail.events
    assert (event.action, event.succeeded, event.principal) == ("login", True, Principal("ada"))


def test_without_an_application() -> None:
    """Outside of an application there are no listeners, and nothing fails."""
    report_auth_event({"type": "http", "path": "/"}, "login", succeeded=True)
