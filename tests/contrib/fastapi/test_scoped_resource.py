"""Resources that live as long as a request, and those that are missing or degraded."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import pytest
from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException, WebSocket
from tests.contrib.fastapi.resources import (
    Cache,
    Database,
    OneSession,
    Session,
    fetch_json,
    provide,
    sessions,
)

from bandmaster.contrib.fastapi import Resource, dependency
from bandmaster.kernel import (
    DegradedError,
    LifespanBand,
    Named,
    Scoped,
    TransientError,
    create_app,
    lifespan,
)
from bandmaster.kernel.testing import run

pytestmark = pytest.mark.anyio


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
