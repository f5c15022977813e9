"""Whether a plan provides the resources that routes ask for."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, WebSocket
from starlette.applications import Starlette

from bandmaster.contrib.fastapi import Resource, check_resources, dependency
from bandmaster.kernel import LifespanBand, LifespanContribution, Named, RouteContribution, Scoped, create_app


class Database: ...


class Session: ...


class Cache: ...


def provide(kind: Any) -> LifespanContribution:
    @asynccontextmanager
    async def enter():
        yield None

    return LifespanContribution(name="part", factory=enter, band=LifespanBand.PERSISTENCE, provides=(kind,))


def find_problems(host: Any, *parts: Any, **options: Any) -> list[tuple[str, str]]:
    app = create_app(host, contributions=parts, discover=False, **options)
    return [(problem.message, problem.hint) for problem in check_resources(app.host, app.plan)]


CONTRIBUTE = "Contribute a component that does, install one, or pass overrides={type: value}."


def needs_database(database: Annotated[Database, Resource()]) -> None: ...


async def reads(database: Annotated[Database, Resource()]) -> None: ...


async def follows(websocket: WebSocket, session: Annotated[Session, Resource("live", scope="function")]) -> None: ...


async def looks(cache: Annotated[Cache | None, Resource()]) -> None: ...


def shop() -> FastAPI:
    host = FastAPI()
    router = APIRouter(prefix="/orders", dependencies=[Depends(needs_database)])
    router.get("/{number}")(looks)
    router.websocket("/live")(follows)
    host.include_router(router, prefix="/api")
    host.get("/direct")(reads)
    host.get("/cache")(looks)
    return host


@pytest.mark.requirement("FA-4")
def test_each_missing_resource_is_one_problem() -> None:
    """A problem lists the routes, those in included routers and WebSockets too. An optional resource may be missing."""
    asking = ("GET /api/orders/{number}", "WebSocket /api/orders/live", "GET /direct")
    assert [
        (
            f"{', '.join(asking)}: needs Database, which nothing provides.",
            CONTRIBUTE,
        ),
        (
            "WebSocket /api/orders/live: needs Session named 'live' for each request, which nothing provides.",
            CONTRIBUTE,
        ),
    ] == find_problems(shop())


@pytest.mark.requirement("FA-4")
def test_provided_and_overridden_resources_are_not_missing() -> None:
    """Components, the kernel's overrides and FastAPI's overrides provide resources."""
    host = shop()
    assert [] == find_problems(host, provide(Database), overrides={(Scoped[Session], "live"): object()})
    host.dependency_overrides[dependency(Session, "live", scope="function")] = lambda: None
    assert [] == find_problems(host, provide(Database))


def test_the_hint_names_the_other_lifetime() -> None:
    """A resource that exists with another lifetime is suggested with that lifetime."""
    host = FastAPI()
    host.get("/")(reads)
    assert ["It is provided anew for each request: ask for it with Resource(scope='request')."] == [
        hint for _, hint in find_problems(host, provide(Scoped[Database]))
    ]
    host = FastAPI()
    host.websocket("/")(follows)
    assert ["It is provided once for the whole application: ask for it with Resource(), without a scope."] == [
        hint for _, hint in find_problems(host, provide((Session, "live")))
    ]


async def misnames(
    database: Annotated[Database, Named("replica"), Resource()],
    other: Annotated[Database, Named("replica"), Resource("replica")],
) -> None: ...


def test_a_lost_name_is_a_problem() -> None:
    """FastAPI passes on the type alone, so the handler would get another database than the named one."""
    host = FastAPI()
    host.get("/")(misnames)
    overrides = {Database: Database(), (Database, "replica"): Database()}
    assert [
        ("GET / has Named('replica') beside Resource(), which FastAPI doesn't hand on.", "Write Resource('replica').")
    ] == find_problems(host, overrides=overrides)


def test_mounted_apps_and_contributed_routers_are_searched() -> None:
    """Routes have their full paths, and of many routes the first are listed."""
    host, inner, router = FastAPI(), FastAPI(), APIRouter()
    for name in "abc":
        inner.get(f"/{name}")(reads)
    host.mount("/inner", inner)
    router.get("/deep")(reads)
    parts = [RouteContribution(name="router", routes=router, prefix="/more")]
    assert [
        ("GET /inner/a, GET /inner/b, GET /inner/c and 1 more: needs Database, which nothing provides.", CONTRIBUTE)
    ] == find_problems(host, *parts)


def test_other_hosts_ask_for_nothing() -> None:
    """Starlette has no dependencies, and a bare ASGI app has no routes."""

    async def app(scope: Any, receive: Any, send: Any) -> None: ...

    assert [[], []] == [find_problems(Starlette()), find_problems(app)]


def test_one_of_several_without_a_name() -> None:
    """A problem names the parts that provide the type, for an optional resource as well; a collection is none."""

    async def reads_all(all_of_them: Annotated[Sequence[Cache], Resource()]) -> None: ...

    host = FastAPI()
    host.get("/")(looks)
    host.get("/all")(reads_all)
    first, second = (replace(provide(Cache), name=name) for name in ("first", "second"))
    assert [
        (
            "GET /: needs Cache, which 'first' and 'second' provide.",
            "Ask for one by its name, Resource('...'), or for all by Sequence[Cache].",
        )
    ] == find_problems(host, first, second)
    assert [] == find_problems(host)
    assert [] == find_problems(host, first)
