"""Find the requirements of an application's routes.

Relies on attributes of Starlette's and FastAPI's routes that neither documents. ``test_route_reading.py`` fails if a
new version changes one of them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from bandmaster.contrib.oidc.access.requirements import Requirement, RequirementLayer, require

_MAX_DEPTH = 10
"""Levels of mounts inside mounts that are searched; an application may be mounted in itself."""
_MAX_LAYERS = 20
"""Layers around one app that are looked through."""


class RequiredRoute(NamedTuple):
    """One route with all requirements."""

    path: str
    """The template, such as ``/orders/{id}``, with the prefixes of mounts and routers."""
    methods: frozenset[str]
    """Empty for any, and for WebSockets."""
    requirements: tuple[Requirement, ...]
    """Those around the route, and those among its dependencies."""
    mistakes: tuple[str, ...]
    """The requirements that have no effect, each with the remedy: anybody may call the route."""
    takes_user: bool
    """Whether a dependency asks for the principal without requiring one."""


def read_required_routes(app: Any, *, mounts: bool = True) -> Iterator[RequiredRoute]:
    """The routes of an application, and with ``mounts`` those of mounted applications."""
    yield from _read_routes(app, "", (), 0, mounts=mounts)


def _read_routes(
    app: Any, prefix: str, outside: tuple[Requirement, ...], depth: int, *, mounts: bool
) -> Iterator[RequiredRoute]:
    if depth > _MAX_DEPTH:
        return
    around = (*outside, *_read_app_requirements(app))
    for route in _flatten_routes(_list_routes(app)):
        path = prefix + (getattr(route, "path_format", None) or getattr(route, "path", None) or "")
        inner = getattr(route, "app", None)
        wrapped = (*around, *_find_layers(inner))
        dependant = getattr(route, "dependant", None)
        below = _unwrap(inner)
        if dependant is None and getattr(route, "endpoint", None) is None and _list_routes(below):
            if mounts:
                yield from _read_routes(below, path.removesuffix("/{path}"), wrapped, depth + 1, mounts=mounts)
            continue
        dependencies = list(_list_dependencies(dependant))
        calls = [each.call for each in dependencies]
        yield RequiredRoute(
            path,
            frozenset(getattr(route, "methods", None) or ()),
            (*wrapped, *(call for call in calls if isinstance(call, Requirement))),
            (*_find_dropped(route, wrapped), *_find_misused(dependencies)),
            any(getattr(call, TAKES_USER, False) for call in calls),
        )


def list_apps(app: Any, path: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """An application and those that are mounted there, each with the path of the mount."""
    yield path, app
    for route in _list_routes(app) if depth < _MAX_DEPTH else ():
        inner = _unwrap(getattr(route, "app", None))
        if getattr(route, "endpoint", None) is None and _list_routes(inner):
            yield from list_apps(inner, path + getattr(route, "path", ""), depth + 1)


TAKES_USER = "_bandmaster_takes_user"
"""The attribute that marks a dependency which asks for the principal without requiring one."""


def _list_routes(app: Any) -> Iterable[Any]:
    return getattr(app, "routes", None) or ()


def _flatten_routes(routes: Iterable[Any]) -> Iterable[Any]:
    # Newer versions of FastAPI keep an included router as one route, and resolve it with this undocumented function.
    flatten = getattr(sys.modules.get("fastapi.routing"), "iter_route_contexts", None)
    return routes if flatten is None else flatten(routes)


def _read_app_requirements(app: Any) -> Iterator[Requirement]:
    """The requirements among the middleware of an app and of the app's router."""
    yield from (one for one in getattr(app, "user_middleware", None) or () if isinstance(one, Requirement))
    router = getattr(app, "router", app)
    yield from _find_layers(getattr(router, "middleware_stack", None))


def _find_layers(app: Any) -> tuple[Requirement, ...]:
    """The requirements around an app, outermost first."""
    found: list[Requirement] = []
    for _ in range(_MAX_LAYERS):
        if isinstance(app, RequirementLayer):
            found.append(app.requirement)
        # A Starlette app has no app inside, and a router's is a method.
        app = vars(app).get("app") if hasattr(app, "__dict__") else None
        if app is None:
            break
    return tuple(found)


def _unwrap(app: Any) -> Any:
    for _ in range(_MAX_LAYERS):
        if not isinstance(app, RequirementLayer):
            break
        app = app.app
    return app


def _list_dependencies(dependant: Any) -> Iterator[Any]:
    """The dependencies of a route at every level, in FastAPI's order."""
    for each in getattr(dependant, "dependencies", None) or ():
        yield each
        yield from _list_dependencies(each)


def _find_dropped(route: Any, wrapped: tuple[Requirement, ...]) -> Iterator[str]:
    """The requirements of a Starlette route in an APIRouter, of which FastAPI takes the endpoint alone."""
    original = getattr(route, "original_route", route)
    for one in _find_layers(getattr(original, "app", None)) if original is not route else ():
        if one not in wrapped:
            yield (
                f"FastAPI drops {one!r}, the middleware of a Starlette route in an APIRouter. Add the route "
                f"to the app itself (app.router.routes.append), or write dependencies=[Depends({one!r})]"
            )


def _find_misused(dependencies: Iterable[Any]) -> Iterator[str]:
    for each in dependencies:
        if each.call is require:
            yield "Depends(require) calls require and checks nothing. Write Depends(require())"
        scopes = getattr(each, "own_oauth_scopes", None)
        if isinstance(each.call, Requirement) and scopes:
            arguments = ", ".join(map(repr, (*each.call.scopes, *scopes)))
            written = f"Security({each.call!r}, scopes={list(scopes)!r})"
            yield f"the scopes of {written} aren't read. Write require({arguments})"
