"""Resources in FastAPI handlers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from typing import Annotated, Any, Generic, Protocol, TypeVar

import pytest
from fastapi import APIRouter, BackgroundTasks, Depends, FastAPI, HTTPException, WebSocket
from fastapi.testclient import TestClient

from bandmaster.contrib.fastapi import MissingResourceError, Resource, dependency
from bandmaster.kernel import (
    DegradedError,
    LifespanBand,
    LifespanContribution,
    Named,
    Scoped,
    TransientError,
    create_app,
    lifespan,
)
from bandmaster.kernel.testing import run

pytestmark = pytest.mark.anyio

T = TypeVar("T")


class Database:
    def __init__(self, name: str = "main") -> None:
        self.name = name


class Cache: ...


class Repository(Generic[T]):
    name = "users"


class Greets(Protocol):
    def greet(self) -> str: ...


class Greeter:
    def greet(self) -> str:
        return "hello"


class Session:
    count = 0

    def __init__(self) -> None:
        type(self).count += 1
        self.events: list[str] = []


def provide(value: Any, kind: Any, name: str = "part") -> LifespanContribution:
    @asynccontextmanager
    async def enter() -> AsyncIterator[Any]:
        yield value

    return LifespanContribution(name=name, factory=enter, band=LifespanBand.PERSISTENCE, provides=(kind,))


async def fetch_json(host: FastAPI, *parts: LifespanContribution, path: str = "/", **options: Any) -> Any:
    async with run(create_app(host, contributions=parts, discover=False, **options)) as running:
        return (await running.client.get(path)).json()


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


def sessions(events: list[str]) -> LifespanContribution:
    @asynccontextmanager
    async def opened() -> AsyncIterator[Session]:
        events.append("open")
        try:
            yield Session()
        except ZeroDivisionError:
            events.append("rolled back")
            raise
        finally:
            events.append("closed")

    @lifespan(band=LifespanBand.PERSISTENCE)
    async def sessions() -> AsyncIterator[Scoped[Session]]:
        yield Scoped(opened)

    return sessions


OneSession = Annotated[Session, Resource(scope="request")]


@pytest.mark.requirement("FA-4")
async def test_a_scoped_resource_is_shared_in_a_request() -> None:
    """A scoped resource is closed after the request, and the next request gets another."""
    host, events, seen = FastAPI(), [], []

    def helper(session: OneSession) -> Session:
        return session

    @host.get("/")
    async def endpoint(session: OneSession, other: Annotated[Session, Depends(helper)]) -> bool:
        seen.append(session)
        return session is other

    async with run(create_app(host, contributions=[sessions(events)], discover=False)) as running:
        answers = [(await running.client.get("/")).json() for _ in range(2)]
    assert ([True, True], ["open", "closed"] * 2) == (answers, events)
    assert seen[0] is not seen[1]


@pytest.mark.requirement("FA-4")
async def test_a_scoped_resource_receives_the_exception() -> None:
    """A resource can roll back when the handler raises."""
    host, events = FastAPI(), []

    @host.get("/")
    async def endpoint(session: OneSession) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fetch_json(host, sessions(events))
    assert ["open", "rolled back", "closed"] == events


@pytest.mark.requirement("FA-4")
@pytest.mark.parametrize(("scope", "expected"), [("request", "open sent closed"), ("function", "open closed sent")])
async def test_a_scoped_resource_is_closed_before_or_after_the_response(scope: Any, expected: str) -> None:
    """The scopes mean the same as FastAPI's own."""
    host, events = FastAPI(), []

    class SendRecorder:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            async def send_and_note(message: Any) -> None:
                if message["type"] == "http.response.body":
                    events.append("sent")
                await send(message)

            await self.app(scope, receive, send_and_note)

    async def endpoint(session):
        return None

    endpoint.__annotations__["session"] = Annotated[Session, Resource(scope=scope)]
    host.get("/")(endpoint)
    host.add_middleware(SendRecorder)
    await fetch_json(host, sessions(events))
    assert expected.split() == events


@pytest.mark.requirement("FA-4")
async def test_a_scoped_resource_can_be_overridden() -> None:
    """The kernel's overrides and FastAPI's both work."""
    host, events = FastAPI(), []
    fake = Session()

    @host.get("/")
    async def endpoint(session: OneSession) -> bool:
        return session is fake

    @asynccontextmanager
    async def faked() -> AsyncIterator[Session]:
        yield fake

    assert await fetch_json(host, sessions(events), overrides={Scoped[Session]: Scoped(faked)})
    host.dependency_overrides[dependency(Session, scope="request")] = lambda: fake
    assert await fetch_json(host, sessions(events))
    assert [] == events


@pytest.mark.requirement("FA-4")
async def test_a_websocket_has_a_scoped_resource() -> None:
    """The resource is closed with the WebSocket, and receives the handler's exception."""
    host, events = FastAPI(), []

    @host.websocket("/{what}")
    async def endpoint(websocket: WebSocket, what: str, session: OneSession) -> None:
        await websocket.accept()
        await websocket.send_text(str(events))
        if what == "fail":
            raise ZeroDivisionError
        await websocket.close()

    async with run(create_app(host, contributions=[sessions(events)], discover=False)) as running:
        async with running.websocket("/go") as socket:
            assert "['open']" == await socket.receive_text()
        assert ["open", "closed"] == events
        with pytest.raises(ZeroDivisionError):
            async with running.websocket("/fail") as socket:
                await socket.receive_text()
                await socket.receive_text()
    assert ["open", "closed", "open", "rolled back", "closed"] == events


@pytest.mark.requirement("FA-4")
async def test_background_tasks_run_before_the_resource_is_closed() -> None:
    """A resource of the request is open until the background tasks have ended."""
    host, events = FastAPI(), []

    @host.get("/")
    async def endpoint(session: OneSession, later: BackgroundTasks) -> None:
        later.add_task(events.append, "background")

    await fetch_json(host, sessions(events))
    assert ["open", "background", "closed"] == events


@pytest.mark.requirement("FA-4")
async def test_an_http_exception_rolls_back() -> None:
    """An HTTPException rolls back, although the service has not failed."""
    host, events = FastAPI(), []

    @asynccontextmanager
    async def opened() -> AsyncIterator[Session]:
        try:
            yield Session()
        except HTTPException as error:
            events.append(error.status_code)
            raise

    @host.get("/")
    async def endpoint(session: OneSession) -> None:
        raise HTTPException(409)

    assert {"detail": "Conflict"} == await fetch_json(host, provide(Scoped(opened), Scoped[Session]))
    assert [409] == events


async def test_a_resource_that_cannot_be_opened_is_an_error() -> None:
    """The exception reaches the caller, and nothing is closed that was not opened."""
    host = FastAPI()

    @asynccontextmanager
    async def opened() -> AsyncIterator[Session]:
        raise ConnectionRefusedError
        yield Session()

    @host.get("/")
    async def endpoint(session: OneSession) -> None: ...

    with pytest.raises(ConnectionRefusedError):
        await fetch_json(host, provide(Scoped(opened), Scoped[Session]))


async def test_an_optional_scoped_resource_may_be_missing() -> None:
    """The handler gets None."""
    host = FastAPI()

    @host.get("/")
    async def endpoint(session: Annotated[Session | None, Resource(scope="request")]) -> bool:
        return session is None

    assert await fetch_json(host)


async def test_a_named_mark_is_ignored() -> None:
    """The name for FastAPI stands in `Resource()`, and a kernel's mark there has no effect."""
    host = FastAPI()

    @host.get("/")
    async def endpoint(resource: Annotated[Database, Named("replica"), Resource("replica")]) -> str:
        return resource.name

    assert "replica" == await fetch_json(host, provide(Database("replica"), (Database, "replica")))


class DegradedSession: ...


@lifespan(band=LifespanBand.PERSISTENCE, on_start_failure="degrade", provides=[Cache, Scoped[DegradedSession]])
async def degraded() -> AsyncIterator[Any]:
    raise ConnectionError("the cache is away")
    yield


@pytest.mark.parametrize("path", ["/cache", "/session"])
async def test_a_degraded_resource_is_a_transient_error(path: str) -> None:
    """A handler that can't do without raises an error with the reason; bandmaster-web answers with 503."""
    host = FastAPI()

    @host.get("/cache")
    async def cache(cache: Annotated[Cache, Resource()]) -> None: ...

    @host.get("/session")
    async def session(session: Annotated[DegradedSession, Resource(scope="request")]) -> None: ...

    assert issubclass(DegradedError, TransientError)
    async with run(create_app(host, contributions=[degraded], discover=False)) as running:
        with pytest.raises(DegradedError, match="its start failed: ConnectionError: the cache is away"):
            await running.client.get(path)


async def test_a_degraded_resource_that_is_optional_is_none() -> None:
    """A handler that can do without gets None."""
    host = FastAPI()

    @host.get("/")
    async def read(
        cache: Annotated[Cache | None, Resource()],
        session: Annotated[DegradedSession | None, Resource(scope="request")],
    ) -> list[bool]:
        return [cache is None, session is None]

    assert [True, True] == await fetch_json(host, degraded)
