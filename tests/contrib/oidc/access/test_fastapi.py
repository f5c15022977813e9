"""FastAPI hosts: the principal in handlers, and the requirements in the OpenAPI document and on the docs page."""

from __future__ import annotations

from typing import Annotated, Any

import httpx2
import pytest
from fastapi import APIRouter, Depends, FastAPI, Security, WebSocket
from fastapi.security import HTTPBasic
from openapi_spec_validator import validate
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Host, Route
from tests.contrib.oidc.access.apps import serve

from bandmaster.contrib.fastapi import openapi_problems
from bandmaster.contrib.oidc import AccessSettings, CurrentUser, OptionalUser, Principal, protect, require
from bandmaster.contrib.oidc.access.docs_page import DocsRoute, documented_security
from bandmaster.contrib.oidc.access.route_reading import read_required_routes
from bandmaster.contrib.oidc.access.security_schemes import SecurityScheme, security_description
from bandmaster.contrib.oidc.testing import ActingUsers
from bandmaster.contrib.web import SecurityHeadersLayer
from bandmaster.kernel import PlanError, create_app, value
from bandmaster.kernel.testing import WebSocketRefused

pytestmark = pytest.mark.anyio

Reader = Annotated[Principal, Depends(require("orders:read"))]
PARTS = (documented_security, security_description, openapi_problems, SecurityHeadersLayer)
PROVIDER = {
    "issuer": "https://id.example",
    "audiences": ("api",),
    "authorization_url": "https://id.example/authorize",
    "token_url": "https://id.example/token",
}


async def plain(request: Request) -> PlainTextResponse:
    return PlainTextResponse("plain")


def make_app(**options: Any) -> FastAPI:
    """An app with open and required routes of every shape."""
    app = FastAPI(**options)

    @app.get("/open")
    async def open_to_all() -> str:
        return "open"

    @app.get("/me")
    async def me(user: CurrentUser) -> str:
        return user.subject

    @app.get("/maybe")
    def maybe(user: OptionalUser) -> str | None:
        return user.subject if user else None

    @app.get("/orders/{number}")
    async def order(number: int, reader: Reader) -> str:
        return f"{number} for {reader.subject}"

    @app.get("/either", dependencies=[Depends(require(any_of=["a", "b"]))])
    async def either() -> None: ...

    @app.websocket("/ws")
    async def live(websocket: WebSocket, user: Annotated[Principal, Depends(require("live"))]) -> None:
        await websocket.accept()
        await websocket.send_text(user.subject)

    router = APIRouter(prefix="/admin", dependencies=[Depends(require("admin"))])

    @router.get("/users")
    async def users(user: CurrentUser) -> str:
        return user.subject

    @router.delete("/users", dependencies=[Depends(require("admin:delete"))])
    async def delete_users() -> None: ...

    app.include_router(router, prefix="/v1")
    inner = FastAPI()

    @inner.get("/x", dependencies=[Depends(require("inner"))])
    async def x() -> None: ...

    app.mount("/inner", inner)
    return app


async def read_document(running: Any, path: str = "/openapi.json", **options: Any) -> dict[str, Any]:
    response = await running.client.get(path, **options)
    assert response.status_code == 200, response.text
    document: dict[str, Any] = response.json()
    return document


def list_security(document: dict[str, Any]) -> dict[str, Any]:
    return {
        f"{method} {path}": operation.get("security")
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }


async def test_the_current_user() -> None:
    """Handlers take who calls as a parameter; nobody gets 401, and None where the user is optional."""
    users = ActingUsers()
    async with serve(make_app(), users=users, parts=PARTS) as running:
        client, ada = running.client, users.act_as("ada", ["orders:read"])
        assert (await client.get("/me")).status_code == 401
        assert (await client.get("/me", headers=ada)).json() == "ada"
        assert (await client.get("/maybe")).json() is None
        assert (await client.get("/maybe", headers=ada)).json() == "ada"
        assert (await client.get("/orders/7", headers=ada)).json() == "7 for ada"


@pytest.mark.requirement("AU-13")
async def test_scopes_of_routers() -> None:
    """The requirements of a router and of a route in it are dependencies, and refuse with the same answers."""
    users = ActingUsers()
    async with serve(make_app(), users=users, parts=PARTS) as running:
        client = running.client
        nobody = await client.get("/v1/admin/users")
        admin = users.act_as("ada", ["admin"])
        found = [
            (await client.get("/v1/admin/users", headers=users.act_as("eve"))).status_code,
            (await client.get("/v1/admin/users", headers=admin)).status_code,
            (await client.delete("/v1/admin/users", headers=admin)).status_code,
        ]
    assert (nobody.status_code, nobody.headers["www-authenticate"]) == (401, "Bearer")
    assert nobody.headers["content-type"] == "application/problem+json"
    assert found == [403, 200, 403]


async def test_a_mounted_app_without_the_error_handlers() -> None:
    """A mounted app answers with error handling of its own, and with the same status and header."""
    users = ActingUsers()
    async with serve(make_app(), users=users, parts=PARTS) as running:
        nobody = await running.client.get("/inner/x")
        stranger = await running.client.get("/inner/x", headers=users.act_as("eve"))
    assert (nobody.status_code, nobody.headers["www-authenticate"]) == (401, "Bearer")
    assert (stranger.status_code, stranger.json()) == (403, {"detail": "The credential doesn't allow this."})


async def test_websockets() -> None:
    """A dependency refuses the handshake of a WebSocket."""
    users = ActingUsers()
    async with serve(make_app(), users=users, parts=PARTS) as running:
        for headers, status in (({}, 401), (users.act_as("eve"), 403)):
            with pytest.raises(WebSocketRefused) as refused:
                async with running.websocket("/ws", headers=headers):
                    pass
            assert refused.value.status_code == status
        async with running.websocket("/ws", headers=users.act_as("ada", ["live"])) as websocket:
            assert await websocket.receive_text() == "ada"


async def test_an_override_of_a_requirement() -> None:
    """Equal requirements are one key of FastAPI's ``dependency_overrides``."""
    app = make_app()
    app.dependency_overrides[require("orders:read")] = lambda: Principal("stand-in")
    async with serve(app, parts=PARTS) as running:
        assert (await running.client.get("/orders/7")).json() == "7 for stand-in"


@pytest.mark.requirement("CA-12")
async def test_the_document() -> None:
    """Each operation lists the required scopes, and open ones nothing, so that the docs page shows no lock."""
    parts = [*PARTS, protect("/open-not", "x")]
    async with serve(make_app(), parts=parts, users=ActingUsers(), auth=PROVIDER) as running:
        document = await read_document(running)
    validate(document)
    assert list_security(document) == {
        "get /open": None,
        "get /me": [{"oidc": []}],
        "get /maybe": [{}, {"oidc": []}],
        "get /orders/{number}": [{"oidc": ["orders:read"]}],
        "get /either": [{"oidc": ["a"]}, {"oidc": ["b"]}],
        "get /v1/admin/users": [{"oidc": ["admin"]}],
        "delete /v1/admin/users": [{"oidc": ["admin", "admin:delete"]}],
    }
    (flow,) = document["components"]["securitySchemes"]["oidc"]["flows"].values()
    assert (flow["authorizationUrl"], flow["tokenUrl"]) == ("https://id.example/authorize", "https://id.example/token")
    assert set(flow["scopes"]) == {"openid", "orders:read", "a", "b", "admin", "admin:delete"}


async def test_documents_of_mounted_apps() -> None:
    """A mounted app's own document has its requirements, and those of prefixes that cover the mount."""
    parts = [*PARTS, protect("/inner", "outer")]
    users = ActingUsers()
    async with serve(make_app(), parts=parts, users=users, auth=PROVIDER) as running:
        document = await read_document(running, "/inner/openapi.json", headers=users.act_as("ada", ["outer"]))
    assert list_security(document) == {"get /x": [{"oidc": ["outer", "inner"]}]}


async def test_prefixes_in_the_document() -> None:
    """A protected prefix locks the operations below, and leaves the public ones open."""
    parts = [*PARTS, protect("/", public=["/open", "/docs", "/openapi.json"])]
    async with serve(make_app(), parts=parts, users=ActingUsers(), auth=PROVIDER) as running:
        security = list_security(await read_document(running))
    assert (security["get /open"], security["get /maybe"]) == (None, [{"oidc": []}])


async def test_other_schemes() -> None:
    """Several providers, and the schemes of other parts, are alternatives; without providers a token is pasted in."""
    keys = SecurityScheme("ApiKey", {"type": "apiKey", "in": "header", "name": "X-API-Key"})
    other = {"issuer": "https://other.example", "name": "other", "audiences": ("api",)}
    parts = [*PARTS, value(keys, name="key_scheme")]
    async with serve(make_app(), parts=parts, users=ActingUsers(), auth={**PROVIDER, "issuers": [other]}) as running:
        document = await read_document(running)
    validate(document)
    assert list_security(document)["get /me"] == [{"oidc": []}, {"other": []}, {"ApiKey": []}]
    address = document["components"]["securitySchemes"]["other"]["openIdConnectUrl"]
    assert address == "https://other.example/.well-known/openid-configuration"
    async with serve(make_app(), parts=PARTS, users=ActingUsers()) as running:
        document = await read_document(running)
    assert document["components"]["securitySchemes"] == {"bearer": {"type": "http", "scheme": "bearer"}}


async def test_security_that_an_app_declares_itself() -> None:
    """Security that FastAPI itself declares stays."""
    app = make_app()

    @app.get("/basic")
    async def basic(user: CurrentUser, credentials: Annotated[Any, Depends(HTTPBasic(auto_error=False))]) -> None: ...

    async with serve(app, parts=PARTS, users=ActingUsers()) as running:
        security = list_security(await read_document(running))
    assert security["get /basic"] == [{"HTTPBasic": []}]


async def test_an_app_without_requirements() -> None:
    """The document of an app where everything is open doesn't change."""
    app = FastAPI()
    app.add_api_route("/", plain)
    before = FastAPI()
    before.add_api_route("/", plain)
    async with serve(app, parts=[documented_security, security_description]) as running:
        assert await read_document(running) == before.openapi()


@pytest.mark.requirement("CA-12")
async def test_the_docs_page_logs_in() -> None:
    """The page knows the client, uses PKCE, and may open the window of a provider and be found again."""
    access = {"docs_client_id": "docs", "docs_scopes": ("openid", "orders:read")}
    async with serve(make_app(), parts=PARTS, users=ActingUsers(), auth=PROVIDER, access=access) as running:
        page = await running.client.get("/docs")
        redirect = await running.client.get("/docs/oauth2-redirect")
        other = await running.client.get("/open")
    login = '{"clientId": "docs", "scopes": "openid orders:read", "usePkceWithAuthorizationCodeGrant": true}'
    assert f"ui.initOAuth({login})" in page.text
    assert page.headers["cross-origin-opener-policy"] == "same-origin-allow-popups"
    assert redirect.headers["cross-origin-opener-policy"] == "unsafe-none"
    assert other.headers["cross-origin-opener-policy"] == "same-origin"


@pytest.mark.requirement("CA-29", "CA-12")
@pytest.mark.parametrize(
    ("provider", "own", "expected"),
    [
        (
            {"audience": "https://api.example", "prompt": "login"},
            None,
            '{"audience": "https://api.example", "prompt": "login"}',
        ),
        ({"audience": "https://api.example"}, {"resource": "urn:shop"}, '{"resource": "urn:shop"}'),
        ({"audience": "https://api.example"}, {}, None),
        ({"scope": "more", "response_mode": "form_post", "pin": "47114711"}, None, None),
        ({}, None, None),
    ],
)
async def test_further_parameters_of_the_docs_page(provider: Any, own: Any, expected: str | None) -> None:
    """The page asks for tokens as logins do (Auth0's audience), and shows nothing that may be a secret."""
    access = {"docs_client_id": "docs", "docs_authorize_params": own}
    auth = {**PROVIDER, "authorize_params": provider}
    async with serve(make_app(), parts=PARTS, users=ActingUsers(), auth=auth, access=access) as running:
        page = (await running.client.get("/docs")).text
    found = '"usePkceWithAuthorizationCodeGrant": true'
    found += "" if expected is None else f', "additionalQueryStringParams": {expected}'
    assert f"{found}}})" in page
    assert "4711" not in page


async def test_parameters_of_one_of_several_providers() -> None:
    """The page can't know at which provider the reader logs in."""
    other = {"issuer": "https://other.example", "name": "other", "audiences": ("api",)}
    auth = {**PROVIDER, "issuers": [other], "authorize_params": {"audience": "https://api.example"}}
    access = {"docs_client_id": "docs"}
    async with serve(make_app(), parts=PARTS, users=ActingUsers(), auth=auth, access=access) as running:
        assert "additionalQueryStringParams" not in (await running.client.get("/docs")).text


@pytest.mark.parametrize("name", ["state", "code_challenge", "client_secret", "scope"])
def test_parameters_that_the_docs_page_may_not_have(name: str) -> None:
    """Those of the flow, those with a setting of their own, and secrets."""
    with pytest.raises(ValueError, match=f"can't set '{name}'"):
        AccessSettings(docs_authorize_params={name: "x"})


async def test_an_app_with_a_login_of_its_own_for_the_docs() -> None:
    """An app's own configuration of the docs page stays, and without a client there is none."""
    app = make_app(swagger_ui_init_oauth={"clientId": "mine"})
    async with serve(app, parts=PARTS, users=ActingUsers(), access={"docs_client_id": "docs"}) as running:
        assert '"clientId": "mine"' in (await running.client.get("/docs")).text
    async with serve(make_app(), parts=PARTS, users=ActingUsers()) as running:
        assert "initOAuth" not in (await running.client.get("/docs")).text


@pytest.mark.requirement("CA-12")
async def test_a_root_path() -> None:
    """Behind a prefix the page finds the document, and the provider is sent back to an address with the prefix."""
    access = {"docs_client_id": "docs"}
    async with serve(make_app(), parts=PARTS, users=ActingUsers(), auth=PROVIDER, access=access) as running:
        transport = httpx2.ASGITransport(running.app, root_path="/shop")
        async with httpx2.AsyncClient(transport=transport, base_url="https://shop.example") as client:
            page = (await client.get("/docs")).text
            document = (await client.get("/openapi.json")).json()
    assert "window.location.origin + '/shop/docs/oauth2-redirect'" in page
    assert "url: '/shop/openapi.json'" in page
    assert document["servers"] == [{"url": "/shop"}]
    assert list_security(document)["get /me"] == [{"oidc": []}]


async def test_an_app_without_docs() -> None:
    """Where an app has no docs page, no other route is taken for one."""
    app = FastAPI(openapi_url=None)
    by_host = Host("docs.test", app=Starlette(routes=[Route("/", plain)]))
    app.router.routes.append(by_host)
    before = by_host.app
    async with serve(app, parts=PARTS, users=ActingUsers()) as running:
        assert (await running.client.get("/docs")).status_code == 404
    assert by_host.app is before


async def test_an_app_in_two_applications() -> None:
    """An app that is composed again, as tests do, gets the settings of the application that runs."""
    app = make_app()
    async with serve(app, parts=PARTS, users=ActingUsers(), auth=PROVIDER) as running:
        first = await read_document(running)
    async with serve(app, parts=PARTS, users=ActingUsers()) as running:
        second = await read_document(running)
    assert list(first["components"]["securitySchemes"]) == ["oidc"]
    assert list(second["components"]["securitySchemes"]) == ["bearer"]
    wrapped = [route.app for route in app.routes if isinstance(getattr(route, "app", None), DocsRoute)]
    assert len(wrapped) == 3
    assert not any(isinstance(one._route_app, DocsRoute) for one in wrapped)


def test_a_document_without_a_running_application(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that writes the document to a file gets the requirements, with the settings of the environment."""
    monkeypatch.setenv("AUTH_ISSUER", "https://id.example")
    monkeypatch.setenv("AUTH_AUDIENCES", "api")
    app = make_app()
    create_app(app, contributions=PARTS, discover=False)
    document = app.openapi()
    assert list_security(document)["get /me"] == [{"oidc": []}]
    assert "openIdConnectUrl" in document["components"]["securitySchemes"]["oidc"]


def test_a_requirement_that_fastapi_drops() -> None:
    """FastAPI drops the middleware of a Starlette route in an APIRouter: composing such an app is refused."""
    app, router = FastAPI(), APIRouter()
    router.routes.append(Route("/plain", plain, middleware=[require("deep")]))
    app.include_router(router, prefix="/v1")
    with pytest.raises(PlanError) as caught:
        create_app(app, contributions=PARTS, discover=False)
    assert "require('deep')" in str(caught.value)
    assert "app.router.routes.append" in str(caught.value)


def test_requirements_that_check_nothing() -> None:
    """``Depends(require)``, and scopes that only FastAPI's own schemes read, would let anybody in: refused."""
    for dependency, text in (
        (Depends(require), "Write Depends(require())"),
        (Security(require("a"), scopes=["b"]), "Write require('a', 'b')"),
    ):
        app = FastAPI()
        app.add_api_route("/x", plain, dependencies=[dependency])
        with pytest.raises(PlanError) as caught:
            create_app(app, contributions=PARTS, discover=False)
        assert text in str(caught.value)
        found = [mistake for route in read_required_routes(app) for mistake in route.mistakes]
        assert len(found) == 1


def test_reading_routes() -> None:
    """The attributes of FastAPI's routes by which requirements are found are still there."""
    found = {route.path: route.requirements for route in read_required_routes(make_app())}
    assert found["/v1/admin/users"] in (
        (require("admin"), require()),
        (require("admin"), require("admin:delete")),
    )
    assert found["/orders/{number}"] == (require("orders:read"),)
    assert found["/ws"] == (require("live"),)
    assert found["/inner/x"] == (require("inner"),)
    assert found["/open"] == ()
