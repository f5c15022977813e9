"""Resources in FastAPI handlers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, Generic, Protocol, TypeVar

import pytest
from fastapi import APIRouter, BackgroundTasks, Depends, FastAPI, HTTPException, WebSocket
from fastapi.testclient import TestClient

from bandmaster.contrib.fastapi import MissingResourceError, Resource, dependency
from bandmaster.kernel import LifespanBand, LifespanContribution, Named, Scoped, create_app, lifespan
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


def providing(value: Any, kind: Any, name: str = "it") -> LifespanContribution:
    @asynccontextmanager
    async def enter() -> AsyncIterator[Any]:
        yield value

    return LifespanContribution(name=name, factory=enter, band=LifespanBand.PERSISTENCE, provides=(kind,))


async def answered(host: FastAPI, *parts: LifespanContribution, path: str = "/", **options: Any) -> Any:
    async with run(create_app(host, contributions=parts, discover=False, **options)) as running:
        return (await running.http.get(path)).json()


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
async def test_a_handler_gets_what_a_component_provides(kind: Any, key: Any, value: Any, expected: str | None) -> None:
    """By its type, and its name."""
    host = FastAPI()

    async def endpoint(it):
        return None if it is None else it.name

    endpoint.__annotations__["it"] = kind
    host.get("/")(endpoint)
    assert expected == await answered(host, providing(value, key))


@pytest.mark.requirement("FA-4")
async def test_dependencies_and_protocols() -> None:
    """Whatever FastAPI calls can ask, sync or async, and as a default value as well."""
    host = FastAPI()

    def greeting(greeter: Annotated[Greets, Resource()]) -> str:
        return greeter.greet()

    @host.get("/")
    def endpoint(said: Annotated[str, Depends(greeting)], database: Database = Resource()) -> list[str]:
        return [said, database.name]

    parts = [providing(Greeter(), Greets, "greeter"), providing(Database(), Database)]
    assert ["hello", "main"] == await answered(host, *parts)


@pytest.mark.requirement("FA-4")
async def test_a_websocket_handler_gets_it_too() -> None:
    """By the same means."""
    host = FastAPI()

    @host.websocket("/")
    async def endpoint(websocket: WebSocket, database: Annotated[Database, Resource()]) -> None:
        await websocket.accept()
        await websocket.send_text(database.name)
        await websocket.close()

    app = create_app(host, contributions=[providing(Database(), Database)], discover=False)
    async with run(app) as running, running.websocket("/") as socket:
        assert "main" == await socket.receive_text()


async def test_it_is_no_parameter() -> None:
    """Neither in the OpenAPI document nor in the query."""
    host = FastAPI()

    @host.get("/")
    async def endpoint(database: Annotated[Database, Resource()]) -> str:
        return database.name

    assert "parameters" not in host.openapi()["paths"]["/"]["get"]
    assert "main" == await answered(host, providing(Database(), Database), path="/?database=mine")


@pytest.mark.requirement("FA-4")
async def test_both_ways_to_override() -> None:
    """The kernel's, by type, and FastAPI's, by function."""
    host = FastAPI()

    @host.get("/")
    async def endpoint(database: Annotated[Database, Resource()]) -> str:
        return database.name

    real = providing(Database("real"), Database)
    assert "kernel" == await answered(host, real, overrides={Database: Database("kernel")})
    host.dependency_overrides[dependency(Database)] = lambda: Database("fastapi")
    assert "fastapi" == await answered(host, real)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (Annotated[Database, Resource()], r"no component provides Database\. There is: Cache, .*; contribute"),
        (Annotated[Session, Resource()], r"Resource\(scope='request'\)"),
        (Annotated[Database, Resource(scope="request")], r"no component provides Scoped\[Database\].*; contribute"),
        (Annotated[Cache, Resource(scope="request")], r"Resource\(\), without a scope"),
    ],
)
async def test_what_is_missing_is_said(kind: Any, said: str) -> None:
    """With what there is, and what to write."""
    host = FastAPI()

    async def endpoint(it):
        return None

    endpoint.__annotations__["it"] = kind
    host.get("/")(endpoint)
    with pytest.raises(MissingResourceError, match=said):
        await answered(host, providing(Cache(), Cache), providing(None, Scoped[Session], "sessions"))


def test_an_app_that_is_served_bare_is_told_so() -> None:
    """Its handlers can't get what nobody started."""
    host = FastAPI()

    @host.get("/")
    async def endpoint(database: Annotated[Database, Resource()]) -> None: ...

    with pytest.raises(MissingResourceError, match=r"create_app\(FastAPI\(\)\)"):
        TestClient(host).get("/")


def test_two_types_are_none() -> None:
    """Nobody could tell which one is meant."""
    host = FastAPI()
    with pytest.raises(ValueError, match="one type"):

        @host.get("/")
        async def endpoint(it: Annotated[Database | Cache, Resource()]) -> None: ...


@pytest.mark.requirement("FA-4")
async def test_it_can_be_asked_for_without_a_parameter() -> None:
    """By routers and apps, for all of their routes; and as a default value that says the type itself."""
    events: list[str] = []
    host = FastAPI(dependencies=[Resource(Session, scope="request")])
    router = APIRouter(prefix="/api", dependencies=[Resource(Database, "replica")])

    @router.get("/one")
    async def endpoint(database=Resource(Database, "replica")) -> str:
        return database.name

    host.include_router(router)
    parts = [providing(Database("replica"), (Database, "replica")), sessions(events)]
    assert "replica" == await answered(host, *parts, path="/api/one")
    assert ["open", "closed"] == events
    with pytest.raises(MissingResourceError, match="no component provides Database named 'replica'"):
        await answered(host, sessions(events), path="/api/one")


def test_an_alias_of_a_type_says_its_name_too() -> None:
    """Where the type is handed over whole, the kernel's mark counts."""
    replica = Annotated[Database, Named("replica")]
    assert dependency(Database, "replica") is dependency(replica)
    assert dependency(Database, "other") is dependency(replica, "other")
    assert dependency(Database) is not dependency(Database | None)


@pytest.mark.parametrize("kind", [Any, object, None, "Database", T])
def test_a_type_has_to_say_something(kind: Any) -> None:
    """It is refused where the handler is defined, not when a request comes."""
    with pytest.raises(ValueError, match="doesn't say what is asked for"):
        dependency(kind)


def test_arguments_are_checked() -> None:
    """When they are given."""
    with pytest.raises(ValueError, match="name: expected letters"):
        Resource("my replica")
    with pytest.raises(ValueError, match="scope: expected 'function'"):
        Resource(scope="session")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="expected a type before the name"):
        Resource("Database", "replica")
    with pytest.raises(ValueError, match="doesn't say what is asked for"):
        FastAPI().get("/")(lambda database=Resource(): None)


@pytest.mark.requirement("FA-4")
async def test_apps_that_are_mounted_get_it_as_well() -> None:
    """From the host's resources."""
    host, inner = FastAPI(), FastAPI()
    host.mount("/inner", inner)

    @inner.get("/")
    async def endpoint(database: Annotated[Database, Resource()]) -> str:
        return database.name

    assert "main" == await answered(host, providing(Database(), Database), path="/inner/")


# -- anew for each request -----------------------------------------------------------------------------------------------------


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
async def test_one_for_all_that_asks_in_a_request() -> None:
    """Closed when it is over; the next request has another."""
    host, events, seen = FastAPI(), [], []

    def helper(session: OneSession) -> Session:
        return session

    @host.get("/")
    async def endpoint(session: OneSession, other: Annotated[Session, Depends(helper)]) -> bool:
        seen.append(session)
        return session is other

    async with run(create_app(host, contributions=[sessions(events)], discover=False)) as running:
        answers = [(await running.http.get("/")).json() for _ in range(2)]
    assert ([True, True], ["open", "closed"] * 2) == (answers, events)
    assert seen[0] is not seen[1]


@pytest.mark.requirement("FA-4")
async def test_it_sees_what_the_handler_raises() -> None:
    """So that it can roll back."""
    host, events = FastAPI(), []

    @host.get("/")
    async def endpoint(session: OneSession) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await answered(host, sessions(events))
    assert ["open", "rolled back", "closed"] == events


@pytest.mark.requirement("FA-4")
@pytest.mark.parametrize(("scope", "expected"), [("request", "open sent closed"), ("function", "open closed sent")])
async def test_the_end_is_before_or_after_the_response(scope: Any, expected: str) -> None:
    """As FastAPI's own scopes have it."""
    host, events = FastAPI(), []

    class Watching:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            async def sending(message: Any) -> None:
                if message["type"] == "http.response.body":
                    events.append("sent")
                await send(message)

            await self.app(scope, receive, sending)

    async def endpoint(session):
        return None

    endpoint.__annotations__["session"] = Annotated[Session, Resource(scope=scope)]
    host.get("/")(endpoint)
    host.add_middleware(Watching)
    await answered(host, sessions(events))
    assert expected.split() == events


@pytest.mark.requirement("FA-4")
async def test_what_each_request_gets_can_be_overridden() -> None:
    """By the kernel and by FastAPI."""
    host, events = FastAPI(), []
    fake = Session()

    @host.get("/")
    async def endpoint(session: OneSession) -> bool:
        return session is fake

    @asynccontextmanager
    async def faked() -> AsyncIterator[Session]:
        yield fake

    assert await answered(host, sessions(events), overrides={Scoped[Session]: Scoped(faked)})
    host.dependency_overrides[dependency(Session, scope="request")] = lambda: fake
    assert await answered(host, sessions(events))
    assert [] == events


@pytest.mark.requirement("FA-4")
async def test_a_connection_has_one_as_well() -> None:
    """Until it is closed; what the handler raises is seen."""
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
async def test_work_in_the_background_has_it_until_its_end() -> None:
    """With the scope of the request."""
    host, events = FastAPI(), []

    @host.get("/")
    async def endpoint(session: OneSession, later: BackgroundTasks) -> None:
        later.add_task(events.append, "background")

    await answered(host, sessions(events))
    assert ["open", "background", "closed"] == events


@pytest.mark.requirement("FA-4")
async def test_an_answer_that_is_an_exception_rolls_back() -> None:
    """An HTTPException is one, though it is no failure of the service."""
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

    assert {"detail": "Conflict"} == await answered(host, providing(Scoped(opened), Scoped[Session]))
    assert [409] == events


async def test_what_cannot_be_opened_is_an_error() -> None:
    """It reaches the handler's caller, and nothing is closed that wasn't opened."""
    host = FastAPI()

    @asynccontextmanager
    async def opened() -> AsyncIterator[Session]:
        raise ConnectionRefusedError
        yield Session()

    @host.get("/")
    async def endpoint(session: OneSession) -> None: ...

    with pytest.raises(ConnectionRefusedError):
        await answered(host, providing(Scoped(opened), Scoped[Session]))


async def test_none_where_nothing_provides_it() -> None:
    """Optional is optional here, too."""
    host = FastAPI()

    @host.get("/")
    async def endpoint(session: Annotated[Session | None, Resource(scope="request")]) -> bool:
        return session is None

    assert await answered(host)


async def test_named_marks_are_for_components() -> None:
    """The kernel's mark beside it is left alone; the name stands in Resource()."""
    host = FastAPI()

    @host.get("/")
    async def endpoint(it: Annotated[Database, Named("replica"), Resource("replica")]) -> str:
        return it.name

    assert "replica" == await answered(host, providing(Database("replica"), (Database, "replica")))
