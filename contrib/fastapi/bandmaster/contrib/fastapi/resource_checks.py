"""Check that a plan provides the resources that the routes of a FastAPI host ask for."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, NamedTuple, get_args, get_origin

from bandmaster.contrib.fastapi.frameworks import MAX_DEPTH, list_dependencies, list_routes
from bandmaster.contrib.fastapi.resource import ResourceMark, ResourceQuery, find_query, suggest_fix
from bandmaster.kernel import Application, CheckContribution, Key, Named, Plan, Problem

_MAX_ROUTES_NAMED = 3
"""Routes that one problem lists; further routes are counted."""


class Need(NamedTuple):
    """One resource that a route, or a dependency of the route, asks for."""

    route: str
    """The method and the path, as people write them: ``GET /orders``."""
    query: ResourceQuery
    lost_name: str | None = None
    """The name in a `Named` beside the marker, which FastAPI doesn't pass on to the marker."""


def check_resources(host: Any, plan: Plan) -> list[Problem]:
    """Find the resources that routes of a FastAPI app, or of its mounted apps, ask for and that the plan lacks.

    Each missing resource is one problem. Dependencies in ``dependency_overrides`` don't count. A test may check an
    application with one line::

        assert [] == check_resources(app.host, app.plan)
    """
    problems: list[Problem] = []
    missing: dict[ResourceQuery, dict[str, None]] = {}
    for route, query, lost_name in list_needs(host):
        if lost_name is not None:
            message = f"{route} has Named({lost_name!r}) beside Resource(), which FastAPI doesn't hand on."
            problems.append(Problem(message, f"Write Resource({lost_name!r}).", route))
            continue
        several = Key(*query.key) in plan.providers.by_key
        # None would hide that one of several is to be chosen.
        if plan.providers.describe_fault(Key(*query.key)) and (several or not query.optional):
            missing.setdefault(query, {})[route] = None
    for query, asking in missing.items():
        fault = plan.providers.describe_fault(Key(*query.key))
        message = f"{_render_routes([*asking])}: needs {_render_query(query)}, {fault}."
        if Key(*query.key) in plan.providers.by_key:
            hint = f"Ask for one by its name, Resource('...'), or for all by Sequence[{_render_kind(query.kind)}]."
        else:
            hint = suggest_fix(query, {tuple(key) for key in plan.providers.by_key})
            hint = f"{hint[0].upper()}{hint[1:]}."
        problems.append(Problem(message, hint, next(iter(asking))))
    return problems


def _render_routes(routes: list[str]) -> str:
    more = len(routes) - _MAX_ROUTES_NAMED
    return ", ".join(routes[:_MAX_ROUTES_NAMED]) + (f" and {more} more" if more > 0 else "")


def _render_query(query: ResourceQuery) -> str:
    name = "" if query.name is None else f" named {query.name!r}"
    return _render_kind(query.kind) + name + ("" if query.scope is None else " for each request")


def _render_kind(kind: Any) -> str:
    name = kind.__qualname__ if isinstance(kind, type) and not get_args(kind) else str(kind)
    return name.rpartition("<locals>.")[2]


def list_needs(host: Any, prefix: str = "", depth: int = 0) -> Iterator[Need]:
    """The resources that the routes of an app ask for, in the order of the routes; none if the app isn't FastAPI's."""
    overrides: Mapping[Any, Any] = getattr(host, "dependency_overrides", {})
    for route in list_routes(host):
        path = prefix + route.path
        if route.dependant is not None:
            methods = ",".join(sorted(route.methods or ["WebSocket"]))
            yield from _list_needs_below(f"{methods} {path}", route.dependant, overrides)
        elif hasattr(route.app, "routes") and depth < MAX_DEPTH:
            yield from list_needs(route.app, path, depth + 1)


def _list_needs_below(route: str, dependant: Any, overrides: Mapping[Any, Any]) -> Iterator[Need]:
    """Search depth first, in FastAPI's order, but not below a dependency that is overridden."""
    lost: dict[str, str] | None = None
    for parameter, call, below in list_dependencies(dependant):
        if call in overrides:
            continue
        query = find_query(call)
        if query is None:
            yield from _list_needs_below(route, below, overrides)
            continue
        if lost is None:
            lost = _find_lost_names(dependant.call)
        yield Need(route, query, lost.get(parameter))


def _find_lost_names(call: Any) -> dict[str, str]:
    """Parameters with a `Named` beside a ``Resource()`` of another name, or of none."""
    try:
        parameters = inspect.signature(call, eval_str=True).parameters.values()
    except (NameError, TypeError, ValueError):
        return {}
    lost: dict[str, str] = {}
    for parameter in parameters:
        marks = get_args(parameter.annotation)[1:] if get_origin(parameter.annotation) is Annotated else ()
        names = [mark.name for mark in marks if isinstance(mark, Named)]
        if names and any(isinstance(mark, ResourceMark) and mark.name != names[-1] for mark in marks):
            lost[parameter.name] = names[-1]
    return lost


def _check_application(application: Application) -> list[Problem]:
    return check_resources(application.host, application.plan)


handler_resources = CheckContribution(
    name="handler_resources",
    check=_check_application,
    description="Finds resources that handlers ask for and that nothing provides.",
)
"""The check of `bandmaster check` for FastAPI hosts."""
