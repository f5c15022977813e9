"""Make a plan of parts. No clock, no event loop, and no I/O but reading settings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from bandmaster.kernel.contributions.keys import Key
from bandmaster.kernel.contributions.model import (
    Contribution,
    ErrorHandlerContribution,
    LifespanContribution,
    MiddlewareContribution,
    OnStartFailure,
    Provenance,
    RouteContribution,
    group_of,
)
from bandmaster.kernel.contributions.signatures import Kind, Need
from bandmaster.kernel.discovery.trust import LeftOut
from bandmaster.kernel.errors import PlanError, Problem, Problems
from bandmaster.kernel.planning.budgets import evaluate_budget
from bandmaster.kernel.planning.component_order import Edges, find_edges, order_components
from bandmaster.kernel.planning.conditions import Conditions, SettingsReader, evaluate_conditions
from bandmaster.kernel.planning.deadlines import SHORT_SHARE, Deadlines, StopPath, fits, share_seconds
from bandmaster.kernel.planning.facts import collect_facts
from bandmaster.kernel.planning.layer_order import order_layers
from bandmaster.kernel.planning.missing_providers import check_providers
from bandmaster.kernel.planning.parts import Omission, Parts, check_exceptions, describe_part, sort_parts
from bandmaster.kernel.planning.plan import Component, Edge, Layer, Plan, Stage
from bandmaster.kernel.planning.start_policies import (
    StartPolicy,
    check_reliance,
    choose_policies,
    find_reliance,
)
from bandmaster.kernel.planning.wiring import Wiring, wire
from bandmaster.kernel.text import render_duration, suggest

_DEFAULTS = Deadlines()
_FOR_REQUESTS = (MiddlewareContribution, RouteContribution, ErrorHandlerContribution)


def make_plan(
    contributions: Iterable[Contribution],
    *,
    role: str | None = None,
    serves: bool | None = None,
    overrides: Mapping[Any, Any] | None = None,
    read_settings: SettingsReader | None = None,
    context: type | None = None,
    deadlines: Deadlines = _DEFAULTS,
    on_start_failure: Mapping[str, OnStartFailure] = MappingProxyType({}),
    processes: int = 1,
    known: Iterable[str] = (),
    disabled: Iterable[Contribution] = (),
    replaces: Mapping[tuple[str, str], Provenance] | None = None,
    left_out: Iterable[LeftOut] = (),
    warnings: Iterable[str] = (),
) -> Plan:
    """Make the plan of a set of parts; the order in which the parts come doesn't matter.

    ``serves`` says whether layers, routes and error handlers are planned; None means for the role ``web`` and for no
    role. ``on_start_failure`` overrides the policies of components, by name. ``known`` names parts that exist but were
    left out, so that an ordering may name them. ``left_out`` are the installed ones of them, which a hint may name.
    ``disabled`` are parts from code that are left out, and ``replaces`` has the origins of disabled parts that others
    stand in for, by group and name. ``read_settings`` makes settings of their types; None reads them from the
    environment. Where it makes none for a condition, the part stays in the plan.

    Raises:
        PlanError: the parts don't fit together; ``problems`` holds everything that is wrong with them.
        ValueError: an argument is of the wrong kind.
    """
    problems = Problems()
    for warning in warnings:
        problems.warn(warning)
    every = list(contributions)
    serves = role in (None, "web") if serves is None else serves
    served = every if serves else [part for part in every if not isinstance(part, _FOR_REQUESTS)]
    replacing = _check_override_keys(overrides or {})
    parts = sort_parts(served, role, known, problems).omit(Omission(part, "it is disabled") for part in disabled)
    read = read_settings or _read_from_environment
    conditions = evaluate_conditions(parts.conditional, parts.values.values(), replacing, read, problems)
    parts = parts.omit(conditions.omitted)
    check_exceptions(parts.error_handlers, conditions.undecided, problems)
    wiring = wire(parts, replacing, context, conditions.undecided, problems)
    check_providers(parts, wiring, replacing, context, conditions.undecided, problems, left_out=list(left_out))
    policies = choose_policies(wiring.running, on_start_failure)
    check_reliance(parts, wiring, policies, problems)
    settings = _read_all_settings(parts, wiring, conditions, replacing, read, problems)
    _check_setting_names(parts, deadlines, on_start_failure, problems)
    edges = find_edges(parts, wiring, problems)
    stages = order_components(wiring.running, edges, problems)
    layers = order_layers(parts, problems)
    budgets = {
        name: evaluate_budget(part, wiring.needs[name], settings, problems) for name, part in wiring.running.items()
    }
    facts = {name: collect_facts(part, wiring.needs[name], settings, problems) for name, part in wiring.running.items()}
    share, slowest = _share_grace(stages, edges, wiring.running, deadlines, problems)
    problems.raise_if_any(PlanError)
    components = tuple(_build_components(stages, edges, wiring, budgets, facts, deadlines, share, policies))
    by_name = {component.name: component for component in components}
    return Plan(
        components=components,
        stages=tuple(stages),
        layers=tuple(Layer(parts.layers[name], wiring.layer_needs[name]) for name in layers),
        routes=tuple(parts.routes.values()),
        error_handlers=tuple(parts.error_handlers.values()),
        values=MappingProxyType(dict(wiring.values)),
        providers=wiring.order_providers(component.name for component in components),
        role=role,
        settings=MappingProxyType(settings),
        overrides=MappingProxyType(replacing),
        replaced=MappingProxyType({**wiring.replaced_values, **wiring.replaced}),
        omitted=parts.omitted,
        replaces=MappingProxyType(dict(replaces or {})),
        other_roles=(*parts.other_roles.values(), *parts.other_values.values()),
        unserved=tuple(
            sorted(
                (part for part in every if not serves and isinstance(part, _FOR_REQUESTS)), key=lambda part: part.name
            )
        ),
        processes=processes,
        slowest_stop=tuple(by_name[name] for name in reversed(slowest.names)),
        stop_seconds=slowest.seconds(share),
        contributions=tuple(sorted(every, key=lambda part: (group_of(part), part.name, describe_part(part)))),
        warnings=tuple(problems.warnings),
    )


def _read_from_environment(kinds: Iterable[type[Any]]) -> tuple[Mapping[type[Any], Any], Sequence[Problem]]:
    # Imported only where there are settings to read: pydantic takes longer to import than the whole kernel.
    from bandmaster.kernel.settings.reading import read_settings

    return read_settings(kinds)


def _check_override_keys(overrides: Mapping[Any, Any]) -> dict[Key, Any]:
    try:
        return {Key.of(key): value for key, value in overrides.items()}
    except ValueError as error:
        raise ValueError(f"overrides: {error}") from error


def _read_all_settings(
    parts: Parts,
    wiring: Wiring,
    conditions: Conditions,
    overrides: Mapping[Key, Any],
    read: SettingsReader,
    problems: Problems,
) -> dict[type[Any], Any]:
    """The settings of all parts, those included that were read for conditions already."""
    wanted = wiring.settings_types(overrides)
    given = {kind: overrides[Key(kind)] for kind in wanted if Key(kind) in overrides}
    missing = [kind for kind in wanted if kind not in given and kind not in conditions.read]
    values, found = read(missing) if missing else ({}, ())
    problems.extend(_name_readers(problem, parts, wiring, conditions) for problem in (*conditions.problems, *found))
    return {**conditions.settings, **values, **given}


def _name_readers(problem: Problem, parts: Parts, wiring: Wiring, conditions: Conditions) -> Problem:
    """The problem of a settings type, with the parts that read that type."""
    needs_of: list[tuple[Contribution, tuple[Need, ...]]] = [
        *((part, wiring.needs[name]) for name, part in wiring.running.items()),
        *((parts.layers[name], needs) for name, needs in wiring.layer_needs.items()),
    ]
    readers = [
        describe_part(part)
        for part, needs in needs_of
        if any(need.kind is Kind.SETTINGS and need.key.type.__name__ == problem.subject for need in needs)
    ]
    for kind, asking in conditions.readers.items():
        if kind.__name__ == problem.subject:
            readers += map(describe_part, asking)
    if not readers:
        return problem
    named = " and ".join(dict.fromkeys(readers))
    return replace(problem, hint=f"{problem.hint} {problem.subject} is read by {named}.".lstrip())


def _check_setting_names(
    parts: Parts, deadlines: Deadlines, on_start_failure: Mapping[str, OnStartFailure], problems: Problems
) -> None:
    """Warn of settings for components that aren't there. A part that is left out may be there in another process."""
    components = {*parts.lifespans, *parts.other_roles, *parts.known}
    settings: tuple[tuple[str, Mapping[str, object]], ...] = (
        ("BANDMASTER_START_TIMEOUTS", deadlines.starts),
        ("BANDMASTER_STOP_TIMEOUTS", deadlines.stops),
        ("BANDMASTER_ON_START_FAILURE", on_start_failure),
    )
    for variable, names in settings:
        for name in sorted(names.keys() - components):
            problems.warn(f"{variable} names {name!r}, which no component has.{suggest(name, components)}")


def _share_grace(
    stages: Sequence[Stage],
    edges: Edges,
    running: Mapping[str, LifespanContribution],
    deadlines: Deadlines,
    problems: Problems,
) -> tuple[float, StopPath]:
    """The deadline of stops that declare none, and the path whose stops take longest."""
    declared = {name: deadlines.choose_stop(name, part.stop_timeout)[0] for name, part in running.items()}
    waits_for = {name: list(awaited) for name, awaited in edges.items()}
    share, path = share_seconds([stage.components for stage in stages], waits_for, declared, deadlines.left_for_stops)
    if share <= 0 or not fits(path, share, deadlines.left_for_stops):
        longest = sorted((-seconds, name) for name, seconds in declared.items() if seconds is not None)[:3]
        listing = ", ".join(f"{name!r} {render_duration(-seconds)}" for seconds, name in longest)
        problems.add(
            f"the stops' deadlines add up to {render_duration(path.declared)} on the slowest path"
            + (f", with {path.undeclared} more that declare none" if path.undeclared else "")
            + f", but BANDMASTER_DRAIN_DELAY and BANDMASTER_DRAIN_TIMEOUT leave "
            f"{render_duration(deadlines.left_for_stops)} of BANDMASTER_TERMINATION_GRACE.",
            "Raise BANDMASTER_TERMINATION_GRACE (and the platform's), or lower BANDMASTER_DRAIN_TIMEOUT"
            + (", BANDMASTER_STOP_TIMEOUT" if deadlines.stop is not None else "")
            + f" or the deadlines of stops, the longest of which are {listing}.",
        )
    elif path.undeclared and share < SHORT_SHARE:
        problems.warn(
            f"stops that declare no deadline have only {render_duration(share)} each: {path.undeclared} of them follow "
            "one another, and BANDMASTER_DRAIN_DELAY and BANDMASTER_DRAIN_TIMEOUT leave "
            f"{render_duration(deadlines.left_for_stops)} of BANDMASTER_TERMINATION_GRACE."
        )
    return share, path


def _build_components(
    stages: Sequence[Stage],
    edges: Edges,
    wiring: Wiring,
    budgets: Mapping[str, Mapping[str, int]],
    facts: Mapping[str, tuple[str, ...]],
    deadlines: Deadlines,
    share: float,
    policies: Mapping[str, StartPolicy],
) -> Iterable[Component]:
    for index, stage in enumerate(stages):
        for name in stage.components:
            part = wiring.running[name]
            start, start_source = deadlines.choose_start(name, part.start_timeout)
            stop, stop_source = deadlines.choose_stop(name, part.stop_timeout)
            yield Component(
                contribution=part,
                stage=index,
                needs=wiring.needs[name],
                provides=wiring.provides[name],
                waits_for=tuple(Edge(other, why) for other, why in sorted(edges[name].items())),
                start_timeout=start,
                stop_timeout=share if stop is None else stop,
                budget=MappingProxyType(dict(budgets[name])),
                on_start_failure=policies[name],
                relies_on=find_reliance(wiring, name),
                start_timeout_source=start_source,
                stop_timeout_source=stop_source,
                facts=facts[name],
            )
