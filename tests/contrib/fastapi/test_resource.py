"""Resources in FastAPI handlers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, Generic, Protocol, TypeVar

import pytest
from fastapi import Depends, FastAPI, WebSocket
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
        (Annotated[Database, Resource(scope="request")], r"no component provides Scoped\[Database\]"),
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
