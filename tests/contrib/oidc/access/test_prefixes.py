"""Requirements of all paths below a prefix."""

from __future__ import annotations

import warnings
from typing import Any

import litestar
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route, WebSocketRoute
from tests.contrib.oidc.access.apps import describe_caller, echo, serve

from bandmaster.contrib.oidc import protect
from bandmaster.contrib.oidc.access.docs_page import documented_security
from bandmaster.contrib.oidc.access.prefixes import list_protected_prefixes, list_route_paths
from bandmaster.contrib.oidc.testing import ActingUsers
from bandmaster.kernel import MiddlewareBand, PlanError
from bandmaster.kernel.testing import WebSocketRefused

pytestmark = pytest.mark.anyio


def covers(contribution: Any, path: str) -> bool:
    return bool(contribution.options["protected"].covers(path))


@pytest.mark.parametrize(
    ("path", "covered"),
    [
        ("/admin", True),
        ("/admin/", True),
        ("/admin/users/7", True),
        ("/administrators", False),
        ("/", False),
        ("", False),
        ("/v1/admin", False),
        ("/Admin", False),
        # In either reading: an app may leave out empty and dotted segments, or keep them.
        ("//admin", True),
        ("/./admin", True),
        ("/public/../admin", True),
        ("/admin/../public", True),
        ("/admin//users", True),
        ("\\admin", True),
        # Starlette's routes match a path that has a line end after it.
        ("/admin\n", True),
        ("//admin\n", True),
    ],
)
def test_paths_below_a_prefix(path: str, covered: bool) -> None:
    """A prefix covers itself and whole segments below, however an app reads the path."""
    assert covers(protect("/admin", "admin"), path) is covered


@pytest.mark.parametrize(
    ("path", "covered"),
    [
        ("/", True),
        ("/orders", True),
        ("/docs", False),
        ("/docs/oauth2-redirect", False),
        ("/docsify", True),
        ("/docs/../orders", True),
        ("/orders/../docs", True),
        ("//docs", True),
        ("/docs\n", True),
        ("/openapi.json", False),
    ],
)
def test_public_paths(path: str, covered: bool) -> None:
    """A path is public only below a public prefix in both readings."""
    assert covers(protect("/", public=["/docs", "/openapi.json"]), path) is covered


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("admin",), "begins with '/'"),
        (("",), "begins with '/'"),
        (("/a/../b",), "dotted segments"),
        (("//a",), "dotted segments"),
        (("/users/{id}",), "without parameters"),
        (("/a*",), "without parameters"),
        (("/a%20b",), "without parameters"),
    ],
)
def test_malformed_prefixes(arguments: Any, message: str) -> None:
    """A prefix that no path can lie below is refused at once."""
    with pytest.raises(ValueError, match=message):
        protect(*arguments)


@pytest.mark.parametrize("public", ["/other", "/admin", "docs"])
def test_public_prefixes_elsewhere(public: str) -> None:
    """A public prefix elsewhere has no effect, and one that is the whole prefix leaves none."""
    with pytest.raises(ValueError, match="public"):
        protect("/admin", public=[public])


def test_the_contribution() -> None:
    """The contribution is a layer, inside of those that find credentials, with a name and a description of its own."""
    admin, everything = protect("/v1/admin", "admin", any_of=["a", "b"]), protect("/")
    assert (admin.name, everything.name) == ("protect_v1_admin", "protect_all")
    assert admin.description == "Requires admin and one of a, b of all paths below /v1/admin."
    assert everything.description == "Requires a principal of all paths below /."
    assert admin.band is MiddlewareBand.SECURITY
    assert protect("/a", name="mine").name == "mine"


@pytest.mark.requirement("AU-13")
async def test_the_layer() -> None:
    """A prefix refuses as a route does: routes, mounts of other apps, and paths that nothing serves."""

    async def legacy(scope: Any, receive: Any, send: Any) -> None:
        await PlainTextResponse("legacy")(scope, receive, send)

    routes = [
        Route("/admin", describe_caller),
        Route("/admin/users", describe_caller),
        Mount("/admin/legacy", app=legacy),
        Route("/open", describe_caller),
        WebSocketRoute("/admin/ws", echo),
    ]
    users = ActingUsers()
    async with serve(users=users, routes=routes, parts=[protect("/admin", "admin")]) as running:
        client, admin = running.client, users.act_as("ada", ["admin"])
        for path in ("/admin", "/admin%0A", "/admin/users", "/admin/legacy/x", "/admin/nothing"):
            assert (await client.get(path)).status_code == 401
            assert (await client.get(path, headers=users.act_as("eve"))).status_code == 403
        assert (await client.get("/admin/users", headers=admin)).status_code == 200
        assert (await client.get("/admin/legacy/x", headers=admin)).text == "legacy"
        assert (await client.get("/admin/nothing", headers=admin)).status_code == 404
        assert (await client.get("/open")).status_code == 200
        async with running.websocket("/admin/ws", headers=admin) as websocket:
            assert await websocket.receive_text() == "ada"
        with pytest.raises(WebSocketRefused) as refused:
            async with running.websocket("/admin/ws"):
                pass
        assert refused.value.status_code == 401


async def test_a_root_path() -> None:
    """Behind a proxy that adds a prefix of its own, prefixes are those of the routes."""

    def behind_proxy(app: Any) -> Any:
        async def served(scope: Any, receive: Any, send: Any) -> None:
            await app({**scope, "root_path": "/shop", "path": f"/shop{scope['path']}"}, receive, send)

        return served

    users = ActingUsers()
    routes = [Route("/admin", describe_caller), Route("/", describe_caller)]
    async with serve(users=users, routes=routes, parts=[protect("/admin")]) as inner:
        import httpx2

        transport = httpx2.ASGITransport(behind_proxy(inner.app))
        async with httpx2.AsyncClient(transport=transport, base_url="http://shop.test") as client:
            assert (await client.get("/admin")).status_code == 401
            assert (await client.get("/")).status_code == 200


@pytest.mark.parametrize(
    ("path", "root", "readings"),
    [
        ("/admin", "", ("/admin",)),
        ("/api/admin", "/api", ("/admin",)),
        ("/api", "/api", ("/",)),
        ("/admin", "/api", ("/admin",)),
        # Starlette keeps the whole path, and Litestar and Quart leave out what stands before the root path.
        ("/x/api/admin", "/api", ("/x/api/admin", "/admin")),
        ("/apiadmin", "/api", ("/apiadmin", "/admin")),
        ("/api/x/api/admin", "/api", ("/x/api/admin", "/admin")),
        ("/api/admin", "/api/", ("/api/admin", "/admin")),
        # A server may pass the URL of a request to a proxy as the path.
        ("http://shop.test/admin", "", ("http://shop.test/admin", "/admin")),
        ("http://[/admin", "", ("http://[/admin", "/")),
        ("/api/x" * 8, "/api", ()),
    ],
)
def test_readings_of_a_path(path: str, root: str, readings: tuple[str, ...]) -> None:
    """A path with a root path is read as each framework reads it."""
    assert list_route_paths({"path": path, "root_path": root}) == readings


@pytest.mark.parametrize("path", ["/api/admin", "/x/api/admin", "/apiadmin", "/x/api//admin/", "/api/a" * 9])
async def test_a_root_path_before_litestar(path: str) -> None:
    """Litestar serves what stands behind the root path, wherever that stands, and the prefix covers it there."""

    @litestar.get("/admin")
    async def admin() -> str:
        return "admin"

    messages: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        messages.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "root_path": "/api",
        "query_string": b"",
        "headers": [],
    }
    users = ActingUsers()
    async with serve(litestar.Litestar([admin]), users=users, parts=[protect("/admin")]) as running:
        await running.app(scope, receive, send)
    assert messages[0]["status"] == 401


async def test_a_root_path_of_the_host() -> None:
    """A FastAPI host that sets a root path matches its routes with and without it, and so do prefixes."""
    users, app = ActingUsers(), make_fastapi("/api")
    for host in (app, GZipMiddleware(app)):
        async with serve(host, users=users, parts=[protect("/admin")]) as running:
            for path in ("/admin/users", "/api/admin/users"):
                assert (await running.client.get(path)).status_code == 401
                assert (await running.client.get(path, headers=users.act_as("ada"))).status_code == 200
            with pytest.raises(WebSocketRefused):
                async with running.websocket("/api/admin/ws"):
                    pass


def make_fastapi(root_path: str) -> FastAPI:
    """A FastAPI app. Newer versions warn of the argument, and go on to honour it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        app = FastAPI(root_path=root_path)
    app.add_api_route("/admin/users", lambda: "users")
    app.router.routes.append(WebSocketRoute("/admin/ws", echo))
    return app


async def test_several_prefixes() -> None:
    """All requirements of a path must be met, and the plan lists each."""
    users = ActingUsers()
    parts = [protect("/", "user", public=["/open"]), protect("/admin", "admin")]
    routes = [Route(path, describe_caller) for path in ("/mine", "/admin/x", "/open")]
    async with serve(Starlette(routes=routes), users=users, parts=parts) as running:
        assert len(list_protected_prefixes(running.plan)) == 2
        found = [
            (await running.client.get(path, headers=users.act_as("ada", scopes.split()))).status_code
            for path, scopes in (
                ("/mine", "user"),
                ("/admin/x", "user"),
                ("/admin/x", "admin"),
                ("/admin/x", "user admin"),
                ("/open", ""),
            )
        ]
    assert found == [200, 403, 403, 200, 200]


async def test_health_checks() -> None:
    """A prefix for everything leaves the platform's health checks alone."""
    async with serve(users=ActingUsers(), parts=[protect("/")]) as running:
        assert (await running.client.get("/readyz")).status_code == 200
        assert (await running.client.get("/anything")).status_code == 401


@pytest.mark.parametrize("parts", [(), (documented_security,)])
async def test_a_root_path_of_a_mounted_app(parts: Any) -> None:
    """A mounted FastAPI app that sets a root path is refused: its routes would answer paths that no prefix covers."""
    parts = [protect("/admin"), *parts]
    for wrap in (lambda app: app, GZipMiddleware):
        host = Starlette(routes=[Mount("/", app=wrap(make_fastapi("/api")))])
        with pytest.raises(PlanError, match=r"at '/' has root_path='/api', which it sets .* so that 'protect_admin'"):
            async with serve(host, parts=parts):
                pass
    async with serve(Starlette(routes=[Mount("/", app=make_fastapi(""))]), parts=parts) as running:
        assert (await running.client.get("/admin/users")).status_code == 401


async def test_a_root_path_of_a_mounted_app_without_prefixes() -> None:
    """Where no layer compares paths, such an app harms nobody."""
    async with serve(Starlette(routes=[Mount("/", app=make_fastapi("/api"))])) as running:
        assert (await running.client.get("/api/admin/users")).text == '"users"'
