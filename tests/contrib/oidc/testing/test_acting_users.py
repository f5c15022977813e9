"""The test helper: requests act as a user, and everything else stays in force."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from tests.contrib.oidc.access.apps import OIDC, WEB, describe_caller, echo, serve

from bandmaster.contrib.oidc import Principal, require
from bandmaster.contrib.oidc.testing import ActingUsers
from bandmaster.kernel import create_app
from bandmaster.kernel.testing import WebSocketRefused

pytest_plugins = ("pytester",)

ROUTES = (
    Route("/orders", describe_caller, middleware=[require("orders:read")]),
    WebSocketRoute("/ws", echo, middleware=[require("live")]),
)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("a test opens a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.anyio
@pytest.mark.requirement("CA-13")
async def test_http_and_websockets(acting_users: ActingUsers, no_network: None) -> None:
    """Requests and WebSockets act as the users that are named, several in one test, with scopes in force."""
    auth = {"issuer": "https://id.example", "audiences": ("api",)}
    async with serve(users=acting_users, routes=ROUTES, auth=auth) as running:
        reader = acting_users.act_as("ada", ["orders:read", "live"])
        stranger = acting_users.act_as("eve")
        assert (await running.client.get("/orders", headers=reader)).json()["request"] == "ada"
        assert (await running.client.get("/orders", headers=stranger)).status_code == 403
        assert (await running.client.get("/orders")).status_code == 401
        async with running.websocket("/ws", headers=reader) as websocket:
            assert await websocket.receive_text() == "ada"
        with pytest.raises(WebSocketRefused) as refused:
            async with running.websocket("/ws", headers=stranger):
                pass
        assert refused.value.status_code == 403


@pytest.mark.anyio
async def test_a_revoked_user(acting_users: ActingUsers) -> None:
    """The tokens of a user can be made invalid, to test what the application does then."""
    async with serve(users=acting_users, routes=ROUTES) as running:
        ada, bob = (acting_users.act_as(name, "orders:read") for name in ("ada", "bob"))
        acting_users.revoke("ada")
        assert (await running.client.get("/orders", headers=ada)).status_code == 401
        assert (await running.client.get("/orders", headers=bob)).status_code == 200


@pytest.mark.requirement("CA-13")
def test_the_client_of_starlette(acting_users: ActingUsers) -> None:
    """The helper works with Starlette's synchronous client as well."""
    app = create_app(
        Starlette(routes=list(ROUTES)),
        contributions=[*WEB, *OIDC],
        discover=False,
        overrides=acting_users.overrides,
    )
    with TestClient(app, headers=acting_users.act_as("ada", ["live"])) as client:
        assert client.get("/orders").status_code == 403
        with client.websocket_connect("/ws") as websocket:
            assert websocket.receive_text() == "ada"


def test_principals() -> None:
    """A whole principal may be given, and claims, but not both."""
    users = ActingUsers()
    token = users.make_token("ada", ["a"], claims={"email": "ada@example.org"})
    principal = users._principals[token]
    assert (principal.subject, principal.scopes, principal.claims["email"]) == ("ada", {"a"}, "ada@example.org")
    assert users._principals[users.make_token(Principal("bob"))] == Principal("bob")
    with pytest.raises(ValueError, match="its own"):
        users.act_as(Principal("bob"), ["a"])
    assert users.act_as("ada") != users.act_as("ada")


def test_the_fixture_of_the_plugin(pytester: pytest.Pytester) -> None:
    """The package's plugin brings the fixture to any test suite."""
    pytester.makepyfile("def test(acting_users): assert acting_users.act_as('ada')['authorization']")
    pytester.runpytest("-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:asyncio").assert_outcomes(passed=1)
