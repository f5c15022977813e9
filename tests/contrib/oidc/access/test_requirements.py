"""Requirements of routes, routers, mounts and whole apps."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.routing import Mount, Route, Router
from tests.contrib.oidc.access.apps import describe_caller, serve

from bandmaster.contrib.oidc import InsufficientScopeError, MissingCredentialError, Principal, require
from bandmaster.contrib.oidc.testing import ActingUsers
from bandmaster.kernel import RouteContribution

pytestmark = pytest.mark.anyio
READ = require("orders:read")

SHAPES = {
    "route": Starlette(routes=[Route("/orders", describe_caller, middleware=[READ])]),
    "mount": Starlette(routes=[Mount("/", routes=[Route("/orders", describe_caller)], middleware=[READ])]),
    "router": Starlette(routes=[Mount("/", app=Router([Route("/orders", describe_caller)], middleware=[READ]))]),
    "app": Starlette(routes=[Route("/orders", describe_caller)], middleware=[READ]),
}


@pytest.mark.requirement("AU-13")
@pytest.mark.parametrize("shape", SHAPES)
async def test_the_three_outcomes(shape: str) -> None:
    """A caller without a credential gets 401 without an error code, one without the scope 403, any other 200."""
    users = ActingUsers()
    async with serve(SHAPES[shape], users=users) as running:
        nobody = await running.client.get("/orders")
        stranger = await running.client.get("/orders", headers=users.act_as("eve", ["orders:write"]))
        reader = await running.client.get("/orders", headers=users.act_as("ada", ["orders:read"]))
    assert (nobody.status_code, nobody.headers["www-authenticate"]) == (401, "Bearer")
    assert "error" not in nobody.json()
    assert stranger.status_code == 403
    assert stranger.headers["www-authenticate"] == 'Bearer error="insufficient_scope", scope="orders:read"'
    assert stranger.json()["detail"] == "The credential doesn't allow this."
    assert (reader.status_code, reader.json()["request"]) == (200, "ada")


@pytest.mark.parametrize("shape", ["router", "app"])
async def test_contributed_routers(shape: str) -> None:
    """A router or an app that a part contributes keeps the requirement."""
    made: Any = Router([Route("/orders", describe_caller)], middleware=[READ])
    if shape == "app":
        made = Starlette(routes=[Route("/orders", describe_caller)], middleware=[READ])
    users = ActingUsers()
    routes = RouteContribution(name="orders", routes=made, prefix="/v1")
    async with serve(Starlette(), users=users, parts=[routes]) as running:
        assert (await running.client.get("/v1/orders")).status_code == 401
        assert (await running.client.get("/v1/other")).status_code == 404
        headers = users.act_as("ada", ["orders:read"])
        assert (await running.client.get("/v1/orders", headers=headers)).status_code == 200


async def test_requirements_in_each_other() -> None:
    """The requirements of a mount and of a route inside must both be met."""
    routes = [
        Mount("/a", routes=[Route("/b", describe_caller, middleware=[require("b")])], middleware=[require("a")]),
    ]
    users = ActingUsers()
    async with serve(users=users, routes=routes) as running:
        found = {
            scopes: (await running.client.get("/a/b", headers=users.act_as("ada", scopes.split()))).status_code
            for scopes in ("a", "b", "a b")
        }
    assert found == {"a": 403, "b": 403, "a b": 200}


@pytest.mark.parametrize(
    ("requirement", "scopes", "passes"),
    [
        (require(), "", True),
        (require("a", "b"), "a b c", True),
        (require("a", "b"), "a", False),
        (require(any_of=["a", "b"]), "b", True),
        (require(any_of=["a", "b"]), "c", False),
        (require("a", any_of=["b", "c"]), "a c", True),
        (require("a", any_of=["b", "c"]), "a", False),
        (require("a", any_of=["b", "c"]), "b c", False),
        (require("orders"), "orders:read", False),
        (require("orders:read"), "ORDERS:READ", False),
        (require("a"), "*", False),
    ],
)
def test_scopes(requirement: Any, scopes: str, passes: bool) -> None:
    """All scopes and one of ``any_of``, compared as they are: no wildcards, no prefixes, no case."""
    principal = Principal("ada", scopes=frozenset(scopes.split()))
    if passes:
        requirement.check_principal(principal)
    else:
        with pytest.raises(InsufficientScopeError) as caught:
            requirement.check_principal(principal)
        assert set(caught.value.scopes) == {*requirement.scopes, *requirement.any_of}


def test_the_wildcard_of_the_bypass() -> None:
    """``*`` means every scope for the bypass alone; a provider can't issue that scope."""
    require("a").check_principal(Principal("dev", kind="bypass", scopes=frozenset({"*"})))
    for kind in ("token", "session", "api_key"):
        with pytest.raises(InsufficientScopeError):
            require("a").check_principal(Principal("eve", kind=kind, scopes=frozenset({"*"})))  # type: ignore[arg-type]


@pytest.mark.parametrize("scope", ["", "a b", 'a"b', "a\\b", "ä", "a\n", None, 7])
def test_malformed_scopes(scope: Any) -> None:
    """A scope that no token can have is refused at once (RFC 6749, section 3.3)."""
    with pytest.raises(ValueError, match="expected scopes"):
        require(scope)
    with pytest.raises(ValueError, match="any_of: expected scopes"):
        require(any_of=[scope])


def test_several_scopes_in_one_text() -> None:
    """The message says how several scopes are written."""
    with pytest.raises(ValueError, match="write several scopes as several arguments"):
        require("orders:read orders:write")


def test_equal_requirements() -> None:
    """Equal requirements are one key, and say in their repr how they are written."""
    assert require("a", "b", "a") == require("a", "b") != require("b", "a")
    assert len({require("a"), require("a"), require(any_of=["a"])}) == 2
    assert repr(require("a", any_of=["b"])) == "require('a', any_of=('b',))"
    assert require("a") != "require('a')"


@given(st.frozensets(st.sampled_from("abcdef")), st.frozensets(st.sampled_from("abcdef")))
def test_the_law_of_scopes(required: frozenset[str], held: frozenset[str]) -> None:
    """A principal passes if, and only if, no required scope is missing."""
    try:
        require(*required).check_principal(Principal("ada", scopes=held))
    except InsufficientScopeError:
        assert not required <= held
    else:
        assert required <= held


def test_nobody() -> None:
    """A scope without a principal, or without any state, is nobody's."""
    for state in ({}, {"state": {}}, {"state": {"principal": None}}):
        with pytest.raises(MissingCredentialError):
            require().check({"type": "http", **state})


async def test_the_log_of_a_refusal(caplog: pytest.LogCaptureFixture) -> None:
    """The log says who lacked what, and the client isn't told the principal's scopes."""
    caplog.set_level(logging.INFO)
    users = ActingUsers()
    async with serve(SHAPES["route"], users=users) as running:
        response = await running.client.get("/orders", headers=users.act_as("eve", ["orders:write"]))
    (record,) = [record for record in caplog.records if record.name == "bandmaster.oidc"]
    assert record.fields["reason"] == "'eve' lacks orders:read, and has orders:write"
    assert (record.fields["status"], record.fields["user"]) == (403, "eve")
    assert "orders:write" not in response.text + str(response.headers)


async def test_a_lifespan_passes_a_router_with_a_requirement() -> None:
    """A router with a requirement still starts and stops."""
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    await READ.cls(app, *READ.args)({"type": "lifespan"}, None, None)  # type: ignore[arg-type]
    assert seen == ["lifespan"]
