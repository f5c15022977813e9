"""The internals of FastAPI that the package relies on, as the installed version has them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI
from fastapi.exceptions import ResponseValidationError
from fastapi.testclient import TestClient
from pydantic import BaseModel

from bandmaster.contrib.fastapi.frameworks import (
    VALIDATION_SCHEMAS,
    TypedDepends,
    describe_endpoint,
    list_dependencies,
    list_routes,
)


class Database: ...


@dataclass(frozen=True)
class Marker(TypedDepends):
    """A marker whose dependency returns the name of the annotated type."""

    def make_dependency(self, annotation: Any) -> Callable[..., Any]:
        return (lambda: annotation.__name__) if isinstance(annotation, type) else annotation


def test_a_marker_receives_the_annotated_type() -> None:
    """FastAPI puts the annotated type into a copy of the marker, and calls the function that replaces it."""
    app = FastAPI()

    @app.get("/")
    def endpoint(name: Annotated[Database, Marker()]) -> str:
        return str(name)

    assert "Database" == TestClient(app).get("/").json()


def test_routes_of_included_routers_have_their_whole_paths() -> None:
    """A route has its path, its methods and the tree of its dependencies; a mount has its application."""
    app, outer, inner, mounted = FastAPI(openapi_url=None), APIRouter(prefix="/outer"), APIRouter(), FastAPI()
    inner.add_api_route("/{id}", lambda: None, methods=["GET"])
    inner.add_api_websocket_route("/live", lambda: None)
    outer.include_router(inner)
    app.include_router(outer, prefix="/v1")
    app.mount("/in", mounted)
    route, socket, mount = list_routes(app)
    assert ("/v1/outer/{id}", {"GET"}, True) == (route.path, set(route.methods), route.dependant is not None)
    assert ("/v1/outer/live", [], True) == (socket.path, [*socket.methods], socket.dependant is not None)
    assert ("/in", None, mounted) == (mount.path, mount.dependant, mount.app)


def test_dependencies_are_listed_in_their_order() -> None:
    """The tree has each parameter with its function, those of the router first."""
    app = FastAPI(openapi_url=None)

    def first() -> None: ...

    def second() -> None: ...

    def third(nested: None = Depends(second)) -> None: ...

    @app.get("/", dependencies=[Depends(first)])
    def endpoint(other: None = Depends(third)) -> None: ...

    (route,) = list_routes(app)
    found = list_dependencies(route.dependant)
    assert [first, third] == [each.call for each in found]
    assert "other" == found[1].parameter
    assert [("nested", second)] == [(each.parameter, each.call) for each in list_dependencies(found[1].dependant)]


def test_validation_schemas_have_their_names() -> None:
    """FastAPI declares its validation errors under these names."""
    app = FastAPI()
    app.get("/{number}")(lambda number: None)
    assert set(VALIDATION_SCHEMAS) == set(app.openapi()["components"]["schemas"])


def test_an_invalid_response_names_its_handler() -> None:
    """`ResponseValidationError` has the function, the file and the line of the handler."""

    class Item(BaseModel):
        price: int

    app = FastAPI()

    @app.get("/", response_model=Item)
    def endpoint() -> dict[str, str]:
        return {"price": "many"}

    with pytest.raises(ResponseValidationError) as caught:
        TestClient(app).get("/")
    assert describe_endpoint(caught.value).startswith(f"endpoint ({__file__}:")
