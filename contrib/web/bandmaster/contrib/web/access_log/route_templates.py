"""Find the path template of the route that served a request."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from typing import Any, NamedTuple

from starlette.types import Scope

from bandmaster.contrib.web.frameworks import (
    find_outermost_app,
    find_routes,
    flatten_routes,
    read_local_path,
    read_route,
)

_MAX_DEPTH = 10
"""Levels of mounts inside mounts that are searched."""
_MAX_ENDPOINTS = 10_000
"""Endpoints that are remembered; with more, all are forgotten."""
_MAX_FAILED_SEARCHES = 100
"""Searches without a result after which the routes are not searched again."""


class RouteTemplates:
    """Finds templates such as ``/v1/items/{id}``, with the prefixes of mounts and included routers.

    Neither Starlette nor FastAPI reports the whole template, but both leave the endpoint in the scope. So all routes
    are searched when an endpoint is first seen, and later requests need one look-up. Where an endpoint has several
    templates, the path decides.
    """

    def __init__(self) -> None:
        self._known: dict[int, _Endpoint] = {}
        self._failed_searches = 0

    def of(self, scope: Scope) -> str | None:
        """The template of the route that served this scope; None if no route did, or if the router left no trace.

        Litestar reports its templates itself. A layer or a mounted application that passes the router a copy of the
        scope hides the endpoint.
        """
        endpoint = scope.get("endpoint")
        if endpoint is None:
            return scope.get("path_template")
        _, template, places = self._known.get(id(endpoint)) or self._find(endpoint, scope)
        return _select_template(places, scope) if template is None and places else template

    def _find(self, endpoint: Any, scope: Scope) -> _Endpoint:
        if len(self._known) > _MAX_ENDPOINTS:
            self._known.clear()
        if self._failed_searches < _MAX_FAILED_SEARCHES:
            self._search(scope)
        # An application that makes routers anew for each request would otherwise be searched each time.
        self._failed_searches += id(endpoint) not in self._known
        return self._known.setdefault(id(endpoint), _Endpoint(endpoint, None, ()))

    def _search(self, scope: Scope) -> None:
        places: dict[int, list[_Place]] = {}
        for place in _find_places(find_routes(find_outermost_app(scope)), _Place(None, "", (), None), ()):
            places.setdefault(id(place.endpoint), []).append(place)
        for key, found in places.items():
            templates = {place.template for place in found}
            single = templates.pop() if len(templates) == 1 else None
            # The reference keeps the endpoint alive, so that no other object gets its id.
            self._known[key] = _Endpoint(found[0].endpoint, single, tuple(found))


class _Place(NamedTuple):
    """A route that leads to an endpoint."""

    endpoint: Any
    template: str
    patterns: tuple[re.Pattern[str], ...]
    """The patterns of the routers on the way. Each but the last leaves the rest of the path in a group ``path``."""
    methods: Collection[str] | None


class _Endpoint(NamedTuple):
    """An endpoint with the places where it was found."""

    endpoint: Any
    template: str | None
    """None if there are several templates, and if there is none."""
    places: tuple[_Place, ...]


def _find_places(routes: Iterable[Any], outside: _Place, above: tuple[int, ...]) -> Iterator[_Place]:
    for route in flatten_routes(routes):
        facts = read_route(route)
        template = facts.template or ""
        patterns = outside.patterns if facts.pattern is None else (*outside.patterns, facts.pattern)
        is_mount = facts.routes or (template.endswith("/{path}") and facts.endpoint is None)
        if not is_mount:
            if facts.template is not None:
                yield _Place(facts.endpoint, outside.template + template, patterns, facts.methods)
            continue
        inner = facts.routes or find_routes(facts.app)
        if not inner:
            yield _Place(facts.app, outside.template + template, patterns, None)
        # An application may be mounted in itself.
        elif id(facts.app) not in above and len(above) < _MAX_DEPTH:
            prefix = _Place(None, outside.template + template.removesuffix("/{path}"), patterns, None)
            yield from _find_places(inner, prefix, (*above, id(facts.app)))


def _select_template(places: Iterable[_Place], scope: Scope) -> str | None:
    path = read_local_path(scope)
    matching = [place for place in places if _matches(place.patterns, path)]
    method = scope.get("method")
    answering = [place for place in matching if place.methods is None or method in place.methods]
    # Like the router: the first route that matches, or else the first that matches but refuses the method.
    return next((place.template for place in (*answering, *matching)), None)


def _matches(patterns: Iterable[re.Pattern[str]], path: str) -> bool:
    for pattern in patterns:
        match = pattern.match(path)
        if match is None:
            return False
        path = f"/{match.groupdict().get('path', '')}"
    return True
