"""API keys beside bearer tokens, requirements, open WebSockets, the OpenAPI document and the audit trail."""

from __future__ import annotations

from contextlib import asynccontextmanager

import anyio
import pytest
from fastapi import FastAPI
from openapi_spec_validator import validate
from starlette.routing import Route, WebSocketRoute
from tests.contrib.oidc.access.apps import describe_caller, echo, serve
from tests.contrib.oidc.api_keys.conftest import PEPPER

from bandmaster.contrib.oidc import (
    ApiKeyAuth,
    ApiKeys,
    ApiKeySettings,
    AuthEvent,
    AuthListener,
    CurrentUser,
    Principal,
    require,
)
from bandmaster.contrib.oidc.access.docs_page import documented_security
from bandmaster.contrib.oidc.access.open_websockets import OpenWebSockets
from bandmaster.contrib.oidc.access.security_schemes import security_description
from bandmaster.contrib.oidc.api_keys.component import api_key_memory_store, api_keys
from bandmaster.contrib.oidc.api_keys.key_text import generate_key
from bandmaster.contrib.oidc.testing import ActingUsers
from bandmaster.kernel.testing import WebSocketRefused

pytestmark = pytest.mark.anyio

PARTS = [api_key_memory_store, api_keys, ApiKeyAuth]
ROUTES = (
    Route("/", describe_caller),
    Route("/orders", describe_caller, middleware=[require("orders:read")]),
    WebSocketRoute("/ws", echo, middleware=[require()]),
)


@asynccontextmanager
async def serving(users=None, app=None, *, parts=(), overrides=None, **options):
    given = {ApiKeySettings: ApiKeySettings(peppers={"2026": PEPPER}), **(overrides or {})}
    async with serve(app, users=users, routes=ROUTES, parts=[*PARTS, *parts], overrides=given, **options) as running:
        made = await running.resources[ApiKeys].create("robot", scopes=["orders:read"])
        yield running, made.key.get_secret_value(), made.record


async def test_tokens_and_keys_share_the_authorization_header() -> None:
    """Each layer takes the credential of its kind, and leaves the other one alone."""
    users = ActingUsers()
    async with serving(users) as (running, key, _):
        everywhere = {"request": "robot", "state": "robot", "context": "robot", "user": "robot"}
        for headers in ({"authorization": f"Bearer {key}"}, {"x-api-key": key}):
            answer = await running.client.get("/", headers=headers)
            assert (200, everywhere) == (answer.status_code, answer.json())
        assert "ada" == (await running.client.get("/", headers=users.act_as("ada"))).json()["request"]
        assert (await running.client.get("/")).json()["request"] is None


async def test_a_key_and_a_token_are_refused() -> None:
    """Two credentials of different kinds are one too many, wherever they stand."""
    users = ActingUsers()
    async with serving(users) as (running, key, _):
        token = dict(users.act_as("ada"))
        answer = await running.client.get("/", headers={**token, "x-api-key": key})
        assert (400, "invalid_request") == (answer.status_code, answer.json()["error"])
        raw = next(iter(token.values())).removeprefix("Bearer ")
        with pytest.raises(WebSocketRefused):
            async with running.websocket("/ws", subprotocols=["bearer", f"bearer.{raw}"], headers={"x-api-key": key}):
                pass


@pytest.mark.requirement("AU-13")
async def test_scopes_of_keys_are_required() -> None:
    """401 without a key and with a bad one, 403 with a key that lacks the scope, as for tokens."""
    async with serving(ActingUsers()) as (running, key, _):
        plain = (await running.resources[ApiKeys].create("robot")).key.get_secret_value()
        bad = generate_key("bmk_live_")
        expected = {key: 200, plain: 403, bad: 401}
        for each, status in expected.items():
            answer = await running.client.get("/orders", headers={"x-api-key": each})
            assert status == answer.status_code
            if status != 200:
                assert "application/problem+json" == answer.headers["content-type"]
                assert answer.headers["www-authenticate"].startswith("Bearer error=")
        assert 401 == (await running.client.get("/orders")).status_code


@pytest.mark.requirement("CA-10", "CA-52")
async def test_an_open_websocket_ends_with_its_key() -> None:
    """A key that is revoked closes the WebSockets that it has opened; a good key keeps its own open."""
    options = {"access": {"websocket_recheck": 0.01}}
    async with serving(ActingUsers(), **options) as (running, key, record):
        other = (await running.resources[ApiKeys].create("other")).key.get_secret_value()
        async with (
            running.websocket("/ws", headers={"x-api-key": key}) as socket,
            running.websocket("/ws", headers={"x-api-key": other}) as kept,
        ):
            assert "robot" == await socket.receive_text()
            assert "other" == await kept.receive_text()
            await running.resources[ApiKeys].revoke(record.id)
            with anyio.fail_after(30), pytest.raises(Exception) as caught:
                await socket.receive_text()
            assert 3000 == caught.value.code
            await kept.send_text("still here")
            assert "still here" == await kept.receive_text()


async def test_a_recheck_asks_the_store_once_for_each_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """The service of keys is found as a list of revocations and as the service, and is asked as one of them."""
    asked: list[str] = []
    is_revoked = ApiKeys.is_revoked

    async def count(self: ApiKeys, principal: Principal) -> bool:
        asked.append(principal.subject)
        return await is_revoked(self, principal)

    monkeypatch.setattr(ApiKeys, "is_revoked", count)
    async with serving(ActingUsers()) as (running, key, _):
        async with running.websocket("/ws", headers={"x-api-key": key}) as socket:
            assert "robot" == await socket.receive_text()
            asked.clear()
            assert 0 == await running.resources[OpenWebSockets].close_revoked()
            assert ["robot"] == asked


async def test_the_document_names_the_header() -> None:
    """Routes with a requirement take an API key in the document, open ones show no lock."""
    app = FastAPI()

    @app.get("/who")
    async def who(user: CurrentUser) -> str:
        return user.subject

    @app.get("/open")
    async def open_() -> None: ...

    settings = ApiKeySettings(peppers={"2026": PEPPER}, header="Api-Token")
    async with serving(
        app=app, parts=[documented_security, security_description], overrides={ApiKeySettings: settings}
    ) as (running, key, _):
        document = (await running.client.get("/openapi.json")).json()
        validate(document)
        assert {"type": "apiKey", "in": "header", "name": "Api-Token"} == document["components"]["securitySchemes"][
            "ApiKey"
        ]
        assert {"ApiKey": []} in document["paths"]["/who"]["get"]["security"]
        assert "security" not in document["paths"]["/open"]["get"]
        assert "robot" == (await running.client.get("/who", headers={"api-token": key})).json()


class Trail:
    """An audit trail in a list."""

    def __init__(self) -> None:
        self.events: list[AuthEvent] = []

    def on_auth_event(self, event: AuthEvent) -> None:
        self.events.append(event)


async def test_uses_and_refusals_are_reported() -> None:
    """The audit trail learns the id of the key that was used, and never the key."""
    trail = Trail()
    async with serving(ActingUsers(), overrides={AuthListener: trail}) as (running, key, record):
        await running.client.get("/", headers={"x-api-key": key})
        await running.client.get("/", headers={"x-api-key": key[:-1]})
        await running.client.get("/")
    used, refused = trail.events
    assert ("api_key.used", True, record.id) == (used.action, used.succeeded, used.principal.credential_id)
    assert ("request.refused", False, 401) == (refused.action, refused.succeeded, refused.status)
    assert key[22:60] not in repr(trail.events)
