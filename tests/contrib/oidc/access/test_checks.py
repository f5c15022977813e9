"""The findings of `bandmaster check` about requirements."""

from __future__ import annotations

from typing import Any

import litestar
import pytest
from litestar.types import Receive as LitestarReceive
from litestar.types import Scope as LitestarScope
from litestar.types import Send as LitestarSend
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from tests.contrib.oidc.access.apps import OIDC, WEB, describe_caller

from bandmaster.contrib.oidc import AccessSettings, AuthSettings, protect, require
from bandmaster.contrib.oidc.access.checks import route_requirements
from bandmaster.contrib.oidc.testing import ActingUsers
from bandmaster.kernel import Problem, create_app


def find(
    *routes: Any, parts: Any = (), known_scopes: tuple[str, ...] = (), users: bool = True, app: Any = None
) -> list[str]:
    """The findings for an app with these routes, those that only warn with a ``?`` in front."""
    overrides = {
        AccessSettings: AccessSettings(known_scopes=known_scopes),
        AuthSettings: AuthSettings(),
        **(ActingUsers().overrides if users else {}),
    }
    application = create_app(
        app or Starlette(routes=list(routes)), contributions=[*WEB, *OIDC, *parts], discover=False, overrides=overrides
    )
    findings = route_requirements.check(application)
    return [str(one) if isinstance(one, Problem) else f"? {one}" for one in findings]


ORDERS = Route("/orders/{number}", describe_caller, middleware=[require("orders:read")])


def test_nothing_to_find() -> None:
    """Requirements that have an effect aren't mentioned."""
    assert find(ORDERS, parts=[protect("/orders", "orders")]) == []
    assert find(Route("/", describe_caller), users=False) == []


@pytest.mark.parametrize("prefix", ["/order", "/orders/7/items/x", "/ordres"])
def test_a_prefix_that_covers_nothing(prefix: str) -> None:
    """A misspelt prefix would leave routes open."""
    found = find(Route("/orders", describe_caller), parts=[protect(prefix)])
    assert len(found) == 1
    assert found[0].startswith(f"protect('{prefix}') covers no route.")
    assert ("'/orders'" in found[0]) is (prefix != "/orders/7/items/x")


@pytest.mark.parametrize("prefix", ["/", "/orders", "/orders/7", "/legacy", "/legacy/any/path"])
def test_prefixes_that_may_cover_something(prefix: str) -> None:
    """A parameter stands for any text, and a mounted app may serve any path below the mount."""

    async def legacy(scope: Any, receive: Any, send: Any) -> None: ...

    assert find(ORDERS, Mount("/legacy", app=legacy), parts=[protect(prefix)]) == []


@pytest.mark.parametrize(
    ("prefix", "is_found"), [("/files", True), ("/", False), ("/files/a", False), ("/other", False)]
)
def test_a_mount_of_litestar_serves_longer_names(prefix: str, is_found: bool) -> None:
    """Litestar's mounts have no end: ``/files2`` leads to the app at ``/files``, and isn't below that prefix."""

    @litestar.asgi("/files", is_mount=True, copy_scope=True)
    async def files(scope: LitestarScope, receive: LitestarReceive, send: LitestarSend) -> None: ...

    @litestar.get("/other")
    async def other() -> None: ...

    found = [each for each in find(app=litestar.Litestar([files, other]), parts=[protect(prefix)]) if "2'" in each]
    assert bool(found) is is_found
    assert all(each.startswith("protect('/files') doesn't cover '/files2', which Litestar's") for each in found)


def test_a_host_without_routes() -> None:
    """An app that isn't made of routes may serve any path."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await PlainTextResponse("")(scope, receive, send)

    assert find(app=app, parts=[protect("/anything")]) == []


def test_scopes_that_the_application_does_not_know() -> None:
    """With the scopes in the settings, another one is a problem with the near miss."""
    found = find(ORDERS, parts=[protect("/orders", any_of=["x"])], known_scopes=("orders:raed", "users:read"))
    assert len(found) == 2
    assert "the scope 'orders:read', which AUTH_KNOWN_SCOPES lacks. Did you mean 'orders:raed'?" in found[0]
    assert "the scope 'x', which AUTH_KNOWN_SCOPES lacks. Add it to AUTH_KNOWN_SCOPES." in found[1]
    assert find(ORDERS, known_scopes=("orders:read",)) == []


def test_requirements_that_nobody_can_meet() -> None:
    """Without any part that finds credentials, all such routes refuse everybody, which is worth a warning."""
    (found,) = find(ORDERS, users=False)
    assert found.startswith("? Nothing finds out who calls")
    assert "AUTH_ISSUER" in found
