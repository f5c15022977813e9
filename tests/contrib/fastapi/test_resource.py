"""Resources in FastAPI handlers."""

from contextlib import nullcontext
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, WebSocket
from fastapi.testclient import TestClient
from tests.contrib.fastapi.resources import (
    Cache,
    Database,
    Greeter,
    Greets,
    Repository,
    Session,
    T,
    fetch_json,
    provide,
    sessions,
)

from bandmaster.contrib.fastapi import MissingResourceError, Resource, dependency
from bandmaster.kernel import (
    Named,
    Scoped,
    create_app,
)
from bandmaster.kernel.testing import run

pytestmark = pytest.mark.anyio


@pytest.mark.requirement("FA-4")
@pytest.mark.parametrize(
    ("kind", "key", "value", "expected"),
    [
        (Annotated[Database, Resource()], Database, Database(), "main"),
        (Annotated[Database, Resource("replica")], (Database, "replica"), Database("replica"), "replica"),
        (Annotated[Repository[Database], Resource()], Repository[Database], Repository(), "users"),
        (Annotated[Database | None, Resource()], Database, Database(), "main"),
        (Annotated[Database | None, Resource()], Cache, Cache(), None),
    ],
)
async def test_a_handler_gets_the_resource(kind: Any, key: Any, value: Any, expected: str | None) -> None:
    """A resource is found by type and name."""
    host = FastAPI()

    async def endpoint(resource):
        return None if resource is None else resource.name

    endpoint.__annotations__["resource"] = kind
    host.get("/")(endpoint)
    assert expected == await fetch_json(host, provide(value, key))


@pytest.mark.requirement("FA-4")
async def test_dependencies_and_protocols() -> None:
    """Sync and async functions can ask for resources, also by protocol and as default values."""
    host = FastAPI()

    def greeting(greeter: Annotated[Greets, Resource()]) -> str:
        return greeter.greet()

    @host.get("/")
    def endpoint(greeted: Annotated[str, Depends(greeting)], database: Database = Resource()) -> list[str]:
        return [greeted, database.name]

    parts = [provide(Greeter(), Greets, "greeter"), provide(Database(), Database)]
    assert ["hello", "main"] == await fetch_json(host, *parts)


@pytest.mark.requirement("FA-4")
async def test_a_websocket_handler_gets_the_resource() -> None:
    """WebSocket handlers use the same marker."""
    host = FastAPI()

    @host.websocket("/")
    async def endpoint(websocket: WebSocket, database: Annotated[Database, Resource()]) -> None:
        await websocket.accept()
        await websocket.send_text(database.name)
        await websocket.close()

    app = create_app(host, contributions=[provide(Database(), Database)], discover=False)
    async with run(app) as running, running.websocket("/") as socket:
        assert "main" == await socket.receive_text()


async def test_a_resource_is_no_parameter() -> None:
    """A resource appears neither in the OpenAPI document nor in the query."""
    host = FastAPI()

    @host.get("/")
    async def endpoint(database: Annotated[Database, Resource()]) -> str:
        return database.name

    assert "parameters" not in host.openapi()["paths"]["/"]["get"]
    assert "main" == await fetch_json(host, provide(Database(), Database), path="/?database=mine")


@pytest.mark.requirement("FA-4")
async def test_the_kernel_and_fastapi_override() -> None:
    """The kernel overrides by type, and FastAPI by function."""
    host = FastAPI()

    @host.get("/")
    async def endpoint(database: Annotated[Database, Resource()]) -> str:
        return database.name

    real = provide(Database("real"), Database)
    assert "kernel" == await fetch_json(host, real, overrides={Database: Database("kernel")})
    host.dependency_overrides[dependency(Database)] = lambda: Database("fastapi")
    assert "fastapi" == await fetch_json(host, real)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Annotated[Database, Resource()], r"no component provides Database\. There is: Cache, .*; contribute"),
        (Annotated[Session, Resource()], r"Resource\(scope='request'\)"),
        (Annotated[Database, Resource(scope="request")], r"no component provides Scoped\[Database\].*; contribute"),
        (Annotated[Cache, Resource(scope="request")], r"Resource\(\), without a scope"),
    ],
)
async def test_a_missing_resource_is_an_error(kind: Any, message: str) -> None:
    """The message lists the resources that exist, and suggests a fix."""
    host = FastAPI()

    async def endpoint(resource):
        return None

    endpoint.__annotations__["resource"] = kind
    host.get("/")(endpoint)
    with pytest.raises(MissingResourceError, match=message):
        await fetch_json(host, provide(Cache(), Cache), provide(Scoped(nullcontext), Scoped[Session], "sessions"))


def test_an_app_without_a_kernel_is_an_error() -> None:
    """Without a kernel no component has been started."""
    host = FastAPI()

    @host.get("/")
    async def endpoint(database: Annotated[Database, Resource()]) -> None: ...

    with pytest.raises(MissingResourceError, match=r"create_app\(FastAPI\(\)\)"):
        TestClient(host).get("/")


def test_two_types_are_refused() -> None:
    """A marker on a union of two types names none of them."""
    host = FastAPI()
    with pytest.raises(ValueError, match="one type"):

        @host.get("/")
        async def endpoint(resource: Annotated[Database | Cache, Resource()]) -> None: ...


@pytest.mark.requirement("FA-4")
async def test_a_resource_without_a_parameter() -> None:
    """Routers and apps ask for resources for all their routes, and a default value may name the type."""
    events: list[str] = []
    host = FastAPI(dependencies=[Resource(Session, scope="request")])
    router = APIRouter(prefix="/api", dependencies=[Resource(Database, "replica")])

    @router.get("/one")
    async def endpoint(database=Resource(Database, "replica")) -> str:
        return database.name

    host.include_router(router)
    parts = [provide(Database("replica"), (Database, "replica")), sessions(events)]
    assert "replica" == await fetch_json(host, *parts, path="/api/one")
    assert ["open", "closed"] == events
    with pytest.raises(MissingResourceError, match="no component provides Database named 'replica'"):
        await fetch_json(host, sessions(events), path="/api/one")


def test_an_alias_with_a_name() -> None:
    """The kernel's mark in an alias counts, unless the call names another."""
    replica = Annotated[Database, Named("replica")]
    assert dependency(Database, "replica") is dependency(replica)
    assert dependency(Database, "other") is dependency(replica, "other")
    assert dependency(Database) is not dependency(Database | None)


@pytest.mark.parametrize("kind", [Any, object, None, "Database", T])
def test_a_type_that_names_no_resource_is_refused(kind: Any) -> None:
    """Such a type is refused where the handler is defined, not when a request comes."""
    with pytest.raises(ValueError, match="doesn't say what is asked for"):
        dependency(kind)


def test_arguments_are_checked() -> None:
    """Wrong arguments are refused where the marker is written."""
    with pytest.raises(ValueError, match="name: expected letters"):
        Resource("my replica")
    with pytest.raises(ValueError, match="scope: expected 'function'"):
        Resource(scope="session")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="expected a type before the name"):
        Resource("Database", "replica")
    with pytest.raises(ValueError, match="doesn't say what is asked for"):
        FastAPI().get("/")(lambda database=Resource(): None)


@pytest.mark.requirement("FA-4")
async def test_a_mounted_app_gets_the_resource() -> None:
    """A mounted app gets the resources of the host."""
    host, inner = FastAPI(), FastAPI()
    host.mount("/inner", inner)

    @inner.get("/")
    async def endpoint(database: Annotated[Database, Resource()]) -> str:
        return database.name

    assert "main" == await fetch_json(host, provide(Database(), Database), path="/inner/")
