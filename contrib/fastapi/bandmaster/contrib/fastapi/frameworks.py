"""The internals of FastAPI that this package relies on.

``tests/contrib/fastapi/test_frameworks.py`` fails if a new version changes one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from fastapi import routing
from fastapi.exceptions import ResponseValidationError
from fastapi.params import Depends

MAX_DEPTH = 10
"""Levels of mounted applications that are searched; an application may be mounted within itself."""

VALIDATION_SCHEMAS = ("HTTPValidationError", "ValidationError")
"""The names under which FastAPI describes its own validation errors in OpenAPI documents."""


@dataclass(frozen=True)
class TypedDepends(Depends):
    """A ``Depends`` with a function made from the annotated type. Subclasses make the function.

    Of ``Annotated[T, Depends()]`` FastAPI makes a copy of the marker with ``T`` as its dependency, and would call
    ``T``. The marker is a frozen dataclass, so the copy passes through ``__post_init__``.
    """

    def make_dependency(self, annotation: Any) -> Callable[..., Any]:
        """The function for an annotation; a function that was made already is returned unchanged."""
        raise NotImplementedError

    def __post_init__(self) -> None:
        if self.dependency is not None:
            object.__setattr__(self, "dependency", self.make_dependency(self.dependency))
        inherited: Callable[[], None] | None = getattr(super(), "__post_init__", None)
        if inherited is not None:  # older versions have none
            inherited()


class RouteFacts(NamedTuple):
    """The attributes of a route that its dependencies are found by."""

    path: str
    methods: Iterable[str]
    """Empty for WebSockets."""
    dependant: Any
    """The tree of the functions that FastAPI calls for the route; None for routes of Starlette and for mounts."""
    app: Any
    """The mounted application; None for other routes."""


def list_routes(app: Any) -> Iterator[RouteFacts]:
    """The routes of an application, those of included routers in their place; none if the app has no routes."""
    # Newer versions keep an included router as one route, and resolve it with this undocumented function.
    flatten: Any = getattr(routing, "iter_route_contexts", iter)
    for route in flatten(getattr(app, "routes", None) or ()):
        yield RouteFacts(
            path=getattr(route, "path", None) or "",
            methods=getattr(route, "methods", None) or (),
            dependant=getattr(route, "dependant", None),
            app=getattr(route, "app", None),
        )


def list_mounted_apps(app: Any, depth: int = 0) -> Iterator[Any]:
    """The applications mounted in an application, and those mounted in them, to `MAX_DEPTH` levels."""
    for route in list_routes(app) if depth < MAX_DEPTH else ():
        if route.dependant is None and hasattr(route.app, "routes"):
            yield route.app
            yield from list_mounted_apps(route.app, depth + 1)


class Dependency(NamedTuple):
    """One parameter of a function that FastAPI fills by calling another function."""

    parameter: str
    call: Callable[..., Any]
    dependant: Any
    """The tree below the dependency."""


def list_dependencies(dependant: Any) -> list[Dependency]:
    """The dependencies of a function in the order in which FastAPI calls them."""
    return [Dependency(each.name, each.call, each) for each in dependant.dependencies]


def describe_endpoint(error: ResponseValidationError) -> str:
    """The handler with the refused response, with file and line where this version of FastAPI reports them."""
    if not error.endpoint_file:
        return "a handler"
    return f"{error.endpoint_function} ({error.endpoint_file}:{error.endpoint_line})"


def find_unhandled_handler(app: Any) -> Any:
    """The handler that an app has for exceptions which no other handler is for; None without one.

    Both frameworks keep the handler in ``exception_handlers``, under status 500 or ``Exception``; the later one counts.
    """
    handlers = getattr(app, "exception_handlers", {})
    found = [handler for exception, handler in handlers.items() if exception in (500, Exception)]
    return found[-1] if found else None
