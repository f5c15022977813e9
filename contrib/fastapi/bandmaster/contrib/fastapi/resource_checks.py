"""What the routes of a host ask for, and whether a plan provides it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, NamedTuple, get_args, get_origin

from fastapi import routing

from bandmaster.contrib.fastapi.resource import Asked, ResourceMark, advice, asked_by
from bandmaster.kernel import Named, Plan, Problem

_DEEPEST_MOUNT = 10
_TOLD = 3


class Need(NamedTuple):
    """One place below a route that is to be filled with a resource."""

    route: str
    """For people: ``GET /orders``."""
    asked: Asked
    lost_name: str | None = None
    """What `Named` said beside it, which FastAPI doesn't hand on."""


def check_resources(host: Any, plan: Plan) -> list[Problem]:
    """What the routes of a FastAPI app, and of those mounted in it, ask for and wouldn't get; each is told once.

    What stands in ``dependency_overrides`` isn't asked for any more. A test may hold this against an application::

        assert [] == check_resources(app.host, app.plan)
    """
    there = {tuple(key) for key in (*plan.provided, *plan.overrides)}
    problems: list[Problem] = []
    unmet: dict[Asked, dict[str, None]] = {}
    for route, asked, lost_name in needs_of(host):
        if lost_name is not None:
            message = f"{route} has Named({lost_name!r}) beside Resource(), which FastAPI doesn't hand on."
            problems.append(Problem(message, f"Write Resource({lost_name!r}).", route))
        elif not asked.optional and asked.address not in there:
            unmet.setdefault(asked, {})[route] = None
    for asked, routes in unmet.items():
        asking = [*routes]
        told = ", ".join(asking[:_TOLD]) + (f" and {len(asking) - _TOLD} more" if len(asking) > _TOLD else "")
        message = f"{told}: needs {_text(asked)}, which nothing provides."
        hint = advice(asked, there)
        problems.append(Problem(message, f"{hint[0].upper()}{hint[1:]}.", asking[0]))
    return problems


def _text(asked: Asked) -> str:
    kind = asked.kind.__qualname__ if isinstance(asked.kind, type) and not get_args(asked.kind) else str(asked.kind)
    name = "" if asked.name is None else f" named {asked.name!r}"
    return kind.rpartition("<locals>.")[2] + name + ("" if asked.scope is None else " for each request")


def needs_of(host: Any) -> Iterator[Need]:
    """What the routes of an app ask for, in their order; nothing where they aren't FastAPI's."""
    yield from _below(host, "", 0)


def _below(app: Any, prefix: str, depth: int) -> Iterator[Need]:
    overrides: Mapping[Any, Any] = getattr(app, "dependency_overrides", {})
    for route in _flat(getattr(app, "routes", None) or ()):
        path = prefix + (getattr(route, "path", None) or "")
        dependant = getattr(route, "dependant", None)
        mounted = getattr(route, "app", None)
        if dependant is not None:
            methods = ",".join(sorted(getattr(route, "methods", None) or ["WebSocket"]))
            yield from _asked(f"{methods} {path}", dependant, overrides)
        elif hasattr(mounted, "routes") and depth < _DEEPEST_MOUNT:
            yield from _below(mounted, path, depth + 1)


def _flat(routes: Any) -> Iterator[Any]:
    # Newer versions keep included routers as they are, and say by this what comes of them.
    contexts: Any = getattr(routing, "iter_route_contexts", iter)
    return iter(contexts(routes))


def _asked(route: str, dependant: Any, overrides: Mapping[Any, Any]) -> Iterator[Need]:
    """Depth first, as FastAPI goes. What is overridden isn't looked into."""
    lost: dict[str, str] | None = None
    for part in dependant.dependencies:
        asked = asked_by(part.call)
        if part.call in overrides:
            continue
        if asked is None:
            yield from _asked(route, part, overrides)
            continue
        if lost is None:
            lost = _lost_names(dependant.call)
        yield Need(route, asked, lost.get(part.name))


def _lost_names(call: Any) -> dict[str, str]:
    """Parameters that have `Named` beside a ``Resource()`` that doesn't say that name itself."""
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
