"""What the routes of a host ask for, and whether a plan provides it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Annotated, Any, NamedTuple, get_args, get_origin

from bandmaster.contrib.fastapi.lookups import Lookup, Mark
from bandmaster.kernel import Named, Plan, Problem

_DEEPEST_MOUNT = 10
_TOLD = 3


class Need(NamedTuple):
    """One parameter somewhere below a route that is to be filled with a resource."""

    route: str
    """For people: ``GET /orders``."""
    lookup: Lookup
    overridden: bool
    """Whether the app's ``dependency_overrides`` stand in for it."""
    lost_name: str | None = None
    """What `Named` said, which FastAPI doesn't hand on."""


def check_resources(host: Any, plan: Plan) -> list[Problem]:
    """What the routes of a FastAPI app, and of those mounted in it, ask for and wouldn't get, each told once.

    A test may hold it against an application: ``assert [] == check_resources(app.host, app.plan)``.
    """
    there = {tuple(key) for key in (*plan.provided, *plan.overrides)}
    problems: list[Problem] = []
    unmet: dict[Lookup, list[str]] = {}
    for need in needs_of(host):
        lookup = need.lookup
        if need.lost_name is not None:
            problems.append(_lost(need))
        elif not (need.overridden or lookup.optional or lookup.address in there):
            unmet.setdefault(lookup, []).append(need.route)
    for lookup, routes in unmet.items():
        asking = list(dict.fromkeys(routes))
        others = f" and {len(asking) - _TOLD} more" if len(asking) > _TOLD else ""
        message = f"{', '.join(asking[:_TOLD])}{others}: needs {lookup}, which nothing provides."
        problems.append(Problem(message, f"{lookup.advice(there)}.", asking[0]))
    return problems


def _lost(need: Need) -> Problem:
    said = f"Named({need.lost_name!r})"
    return Problem(
        f"{need.route}: asks for {need.lookup} with {said} beside it, which FastAPI doesn't hand on.",
        f"Write Resource({need.lost_name!r}) in place of both.",
        need.route,
    )


def needs_of(host: Any) -> Iterator[Need]:
    """What the routes of an app ask for, in their order; nothing for an app that isn't FastAPI's."""
    yield from _below(host, "", 0)


def _below(app: Any, prefix: str, depth: int) -> Iterator[Need]:
    for route in _flat(getattr(app, "routes", None) or ()):
        path = prefix + (getattr(route, "path", None) or "")
        dependant = getattr(route, "dependant", None)
        inner = getattr(route, "app", None)
        if dependant is not None:
            methods = ",".join(sorted(getattr(route, "methods", None) or ())) or "WebSocket"
            provider = getattr(route, "dependency_overrides_provider", None) or app
            overrides = getattr(provider, "dependency_overrides", {})
            yield from _asked(f"{methods} {path}", dependant, overrides)
        elif hasattr(inner, "routes") and depth < _DEEPEST_MOUNT:
            yield from _below(inner, path, depth + 1)


def _flat(routes: Any) -> Iterator[Any]:
    # Newer versions keep included routers as they are, and say by this what comes of them.
    import fastapi.routing

    contexts = getattr(fastapi.routing, "iter_route_contexts", None)
    return iter(routes) if contexts is None else contexts(routes)


def _asked(route: str, dependant: Any, overrides: Any) -> Iterator[Need]:
    """Depth first, as FastAPI solves them. A dependency that is overridden is not looked into."""
    lost = _lost_names(dependant.call) if any(isinstance(part.call, Lookup) for part in dependant.dependencies) else {}
    for part in dependant.dependencies:
        if isinstance(part.call, Lookup):
            yield Need(route, part.call, part.call in overrides, lost.get(part.name))
        elif part.call not in overrides:
            yield from _asked(route, part, overrides)


def _lost_names(call: Any) -> dict[str, str]:
    """Parameters that are annotated with `Named` beside ``Resource()``."""
    try:
        parameters = inspect.signature(call, eval_str=True).parameters.values()
    except (NameError, TypeError, ValueError):
        return {}
    lost: dict[str, str] = {}
    for parameter in parameters:
        marks = get_args(parameter.annotation)[1:] if get_origin(parameter.annotation) is Annotated else ()
        names = [mark.name for mark in marks if isinstance(mark, Named)]
        if names and any(isinstance(mark, Mark) and mark.name != names[-1] for mark in marks):
            lost[parameter.name] = names[-1]
    return lost
