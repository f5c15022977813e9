"""Parts in, plan out: no clock, no loop, no I/O but the settings that it has read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from bandmaster.kernel.contributions.keys import Key
from bandmaster.kernel.contributions.model import (
    Contribution,
    ErrorHandlerContribution,
    LifespanContribution,
    MiddlewareContribution,
    RouteContribution,
)
from bandmaster.kernel.errors import PlanError, Problem
from bandmaster.kernel.planning.budgets import budget_of
from bandmaster.kernel.planning.component_order import Edges, draw_edges, order
from bandmaster.kernel.planning.deadlines import SHORT_SHARE, Deadlines, fair_share, fits
from bandmaster.kernel.planning.layer_order import order_layers
from bandmaster.kernel.planning.parts import take_stock
from bandmaster.kernel.planning.plan import Component, Edge, Layer, Plan, Stage
from bandmaster.kernel.planning.wiring import Wiring, wire
from bandmaster.kernel.text import duration

SettingsReader = Callable[[Iterable[type[Any]]], tuple[Mapping[type[Any], Any], Sequence[Problem]]]

_DEFAULTS = Deadlines()


def make_plan(
    contributions: Iterable[Contribution],
    *,
    role: str | None = None,
    serves: bool | None = None,
    overrides: Mapping[Any, Any] | None = None,
    read_settings: SettingsReader | None = None,
    context: type | None = None,
    deadlines: Deadlines = _DEFAULTS,
    processes: int = 1,
    known: Iterable[str] = (),
    warnings: Iterable[str] = (),
) -> Plan:
    """The plan of a set of parts: the same set gives the same plan, in whatever order it comes.

    ``serves`` says whether there is an application to serve requests with: if not, layers, routes and error handlers are
    left out. None means that there is, for the role ``web`` and for no role at all. ``known`` names parts that exist but were left out, so that an ordering may name them. ``read_settings`` makes
    settings of their types; none means that they are read from the environment.

    Raises:
        PlanError: the parts don't fit together; ``problems`` holds everything that is wrong with them.
        ValueError: an argument is of the wrong kind.
    """
    problems: list[Problem] = []
    told = list(warnings)
    serves = role in (None, "web") if serves is None else serves
    contributions, unserved = (list(contributions), []) if serves else _apart(contributions)
    replacing = _by_key(overrides or {})
    parts = take_stock(contributions, role, known, problems)
    wiring = wire(parts, replacing, context, problems, told)
    settings = _settings(wiring, replacing, read_settings or _from_environment, problems)
    edges = draw_edges(parts, wiring, problems, told)
    stages = order(wiring.running, edges, problems)
    layers = order_layers(parts, problems, told)
    budgets = {name: budget_of(part, wiring.needs[name], settings, problems) for name, part in wiring.running.items()}
    share, stop_seconds = _share_of_the_grace(stages, edges, wiring.running, deadlines, problems, told)
    if problems:
        raise PlanError(problems)
    return Plan(
        components=tuple(_components(stages, edges, wiring, budgets, deadlines, share)),
        stages=tuple(stages),
        layers=tuple(Layer(parts.layers[name], wiring.layer_needs[name]) for name in layers),
        routes=tuple(parts.routes.values()),
        error_handlers=tuple(parts.error_handlers.values()),
        role=role,
        settings=MappingProxyType(settings),
        overrides=MappingProxyType(replacing),
        replaced=MappingProxyType(dict(wiring.replaced)),
        other_roles=tuple(parts.other_roles.values()),
        unserved=tuple(unserved),
        processes=processes,
        stop_seconds=stop_seconds,
        warnings=tuple(told),
    )


def _apart(contributions: Iterable[Contribution]) -> tuple[list[Contribution], list[Contribution]]:
    """What runs where nothing is served, and the rest."""
    parts = list(contributions)
    requests = (MiddlewareContribution, RouteContribution, ErrorHandlerContribution)
    unserved = [part for part in parts if isinstance(part, requests)]
    return [part for part in parts if not isinstance(part, requests)], sorted(unserved, key=lambda part: part.name)


def _from_environment(kinds: Iterable[type[Any]]) -> tuple[Mapping[type[Any], Any], Sequence[Problem]]:
    # Not imported before somebody wants settings: pydantic costs more than the whole kernel.
    from bandmaster.kernel.settings.reading import read_settings

    return read_settings(kinds)


def _by_key(overrides: Mapping[Any, Any]) -> dict[Key, Any]:
    try:
        return {Key.of(key): value for key, value in overrides.items()}
    except ValueError as error:
        raise ValueError(f"overrides: {error}") from error


def _settings(
    wiring: Wiring, overrides: Mapping[Key, Any], read: SettingsReader, problems: list[Problem]
) -> dict[type[Any], Any]:
    wanted = wiring.settings(overrides)
    given = {kind: overrides[Key(kind)] for kind in wanted if Key(kind) in overrides}
    missing = [kind for kind in wanted if kind not in given]
    values, found = read(missing) if missing else ({}, ())
    problems += found
    return {**values, **given}


def _share_of_the_grace(
    stages: Sequence[Stage],
    edges: Edges,
    running: Mapping[str, LifespanContribution],
    deadlines: Deadlines,
    problems: list[Problem],
    warnings: list[str],
) -> tuple[float, float]:
    """The deadline of stops that declare none, and the seconds that all stops together may take."""
    declared = {name: part.stop_timeout or deadlines.stop for name, part in running.items()}
    waits_for = {name: list(awaited) for name, awaited in edges.items()}
    share, path = fair_share([stage.components for stage in stages], waits_for, declared, deadlines.left_for_stops)
    if share <= 0 or not fits(path, share, deadlines.left_for_stops):
        longest = sorted((-seconds, name) for name, seconds in declared.items() if seconds is not None)[:3]
        problems.append(
            Problem(
                f"the stops' deadlines add up to {duration(path.declared)} on the slowest path"
                + (f", with {path.undeclared} more that declare none" if path.undeclared else "")
                + f", but draining leaves {duration(deadlines.left_for_stops)} of the grace.",
                "Raise BANDMASTER_TERMINATION_GRACE (and the platform's), or lower drain_timeout or the stop_timeouts, "
                f"the longest of which are {', '.join(f'{name!r} {duration(-seconds)}' for seconds, name in longest)}.",
            )
        )
    elif path.undeclared and share < SHORT_SHARE:
        warnings.append(
            f"stops that declare no stop_timeout have only {duration(share)} each: {path.undeclared} of them follow one "
            f"another, and draining leaves {duration(deadlines.left_for_stops)} of the grace."
        )
    return share, path.seconds(share)


def _components(
    stages: Sequence[Stage],
    edges: Edges,
    wiring: Wiring,
    budgets: Mapping[str, Mapping[str, int]],
    deadlines: Deadlines,
    share: float,
) -> Iterable[Component]:
    for index, stage in enumerate(stages):
        for name in stage.components:
            part = wiring.running[name]
            yield Component(
                contribution=part,
                stage=index,
                needs=wiring.needs[name],
                provides=wiring.provides[name],
                waits_for=tuple(Edge(other, why) for other, why in sorted(edges[name].items())),
                start_timeout=part.start_timeout or deadlines.start,
                stop_timeout=part.stop_timeout or deadlines.stop or share,
                budget=MappingProxyType(dict(budgets[name])),
            )
