"""The template of the route that answered, found in what the routers leave in the scope."""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Iterable, Iterator
from typing import Any, NamedTuple

from starlette.types import Scope

_DEEPEST = 10
_MOST_KNOWN = 10_000
_MOST_VAIN_WALKS = 100


class RouteTemplates:
    """Finds templates like ``/v1/items/{id}``, with the prefixes of mounts and included routers.

    Neither Starlette nor FastAPI tells the whole template, and FastAPI not always a route. But both name the endpoint;
    so the routes are looked through when an endpoint is first seen, and from then on it's one look-up. Where one
    endpoint has several templates, the path decides.
    """

    def __init__(self) -> None:
        self._known: dict[int, _Known] = {}
        self._vain_walks = 0

    def of(self, scope: Scope) -> str | None:
        """The template of the route that was taken for this scope; none if no route was, and if no router told.

        Litestar's are told by itself. A layer or a mounted application that gives the router a copy of the scope hides
        what the router leaves there.
        """
        endpoint = scope.get("endpoint")
        if endpoint is None:
            return scope.get("path_template")
        _, template, places = self._known.get(id(endpoint)) or self._look_for(endpoint, scope)
        return _chosen(places, scope) if template is None and places else template

    def _look_for(self, endpoint: Any, scope: Scope) -> _Known:
        if len(self._known) > _MOST_KNOWN:
            self._known.clear()
        if self._vain_walks < _MOST_VAIN_WALKS:
            self._walk(scope)
        # A router that is made anew for each request isn't to be searched each time.
        self._vain_walks += id(endpoint) not in self._known
        return self._known.setdefault(id(endpoint), _Known(endpoint, None, ()))

    def _walk(self, scope: Scope) -> None:
        places: dict[int, list[_Place]] = {}
        for place in _places(_routes_in(scope.get("router") or scope.get("app")), _Place(None, "", (), None), ()):
            places.setdefault(id(place.endpoint), []).append(place)
        for key, found in places.items():
            templates = {place.template for place in found}
            single = templates.pop() if len(templates) == 1 else None
            # With the endpoint itself, so that nothing else gets its id.
            self._known[key] = _Known(found[0].endpoint, single, tuple(found))


class _Place(NamedTuple):
    """Where an endpoint stands."""

    endpoint: Any
    template: str
    patterns: tuple[re.Pattern[str], ...]
    """What the routers on the way match, one after the other, each but the last leaving a rest named ``path``."""
    methods: Collection[str] | None


class _Known(NamedTuple):
    endpoint: Any
    template: str | None
    """None if there are several, and if there is none."""
    places: tuple[_Place, ...]


def _places(routes: Iterable[Any], outside: _Place, above: tuple[int, ...]) -> Iterator[_Place]:
    flatten = getattr(sys.modules.get("fastapi.routing"), "iter_route_contexts", None)
    for route in routes if flatten is None else flatten(routes):
        template = getattr(route, "path_format", None)
        pattern = getattr(route, "path_regex", None)
        patterns = outside.patterns if pattern is None else (*outside.patterns, pattern)
        app = getattr(route, "app", None)
        inner = getattr(route, "routes", None) or ()
        is_mount = inner or ((template or "").endswith("/{path}") and getattr(route, "endpoint", None) is None)
        if not is_mount:
            if template is not None:
                methods = getattr(route, "methods", None)
                yield _Place(getattr(route, "endpoint", None), outside.template + template, patterns, methods)
            continue
        inner = inner or _routes_in(app)
        # A host has no path.
        prefix = outside.template + (template or "").removesuffix("/{path}")
        if not inner:
            yield _Place(app, outside.template + (template or ""), patterns, None)
        elif id(app) not in above and len(above) < _DEEPEST:
            yield from _places(inner, _Place(None, prefix, patterns, None), (*above, id(app)))


def _routes_in(app: Any) -> Iterable[Any]:
    """The routes of an application, also if it is wrapped in layers, or hosted."""
    for _ in range(_DEEPEST):
        routes = getattr(app, "routes", None)
        if routes:
            return list(routes)
        app = getattr(app, "app", None) or getattr(app, "host", None)
        if app is None:
            break
    return ()


def _chosen(places: Iterable[_Place], scope: Scope) -> str | None:
    root: str = scope.get("app_root_path", scope.get("root_path", ""))
    path: str = scope["path"].removeprefix(root)
    fitting = [place for place in places if _fits(place.patterns, path)]
    method = scope.get("method")
    answering = [place for place in fitting if place.methods is None or method in place.methods]
    # The router takes the first, too.
    return next((place.template for place in (*answering, *fitting)), None)


def _fits(patterns: Iterable[re.Pattern[str]], path: str) -> bool:
    for pattern in patterns:
        match = pattern.match(path)
        if match is None:
            return False
        path = f"/{match.groupdict().get('path', '')}"
    return True
