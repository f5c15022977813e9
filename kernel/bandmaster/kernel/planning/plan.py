"""The plan: everything in its place, with a reason for each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

from bandmaster.kernel.contributions.bands import LifespanBand
from bandmaster.kernel.contributions.keys import Key
from bandmaster.kernel.contributions.model import (
    Contribution,
    ErrorHandlerContribution,
    LifespanContribution,
    MiddlewareContribution,
    RouteContribution,
)
from bandmaster.kernel.contributions.signatures import Kind, Need
from bandmaster.kernel.text import duration, listed, near

_T = TypeVar("_T")


class Edge(NamedTuple):
    """One component waits for another."""

    to: str
    why: str


@dataclass(frozen=True, slots=True)
class Component:
    """One component in its place."""

    contribution: LifespanContribution
    stage: int
    """The index of its stage; stages are barriers."""
    needs: tuple[Need, ...]
    provides: tuple[Key, ...]
    waits_for: tuple[Edge, ...]
    """Every declared edge, also those to earlier stages, which hold anyway."""
    start_timeout: float
    stop_timeout: float
    budget: Mapping[str, int]

    @property
    def name(self) -> str:
        """Unique among the components."""
        return self.contribution.name


@dataclass(frozen=True, slots=True)
class Stage:
    """The components of one (band, priority): all that no edge orders start at once."""

    band: LifespanBand
    priority: int
    components: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of the request stack in its place."""

    contribution: MiddlewareContribution
    needs: tuple[Need, ...]

    @property
    def name(self) -> str:
        """Unique among the layers."""
        return self.contribution.name


@dataclass(frozen=True)
class Plan:
    """The checked, frozen order of everything, with a reason for each place."""

    components: tuple[Component, ...]
    """In start order; the stop order is its exact reverse."""
    stages: tuple[Stage, ...]
    layers: tuple[Layer, ...]
    """Outermost first."""
    routes: tuple[RouteContribution, ...] = ()
    error_handlers: tuple[ErrorHandlerContribution, ...] = ()
    role: str | None = None
    settings: Mapping[type, Any] = field(default_factory=dict[type, Any], repr=False)
    overrides: Mapping[Key, Any] = field(default_factory=dict[Key, Any], repr=False)
    replaced: Mapping[str, Key] = field(default_factory=dict[str, Key])
    """Components that aren't started, because an override provides what they would."""
    other_roles: tuple[LifespanContribution, ...] = ()
    """Components that belong to other roles."""
    unserved: tuple[Contribution, ...] = ()
    """Layers, routes and error handlers, where there is nothing to serve requests with."""
    processes: int = 1
    slowest_stop: tuple[Component, ...] = ()
    """The components whose stops, one after the other, take longest; in stop order."""
    stop_seconds: float = 0
    """The longest that all stops together may take."""
    contributions: tuple[Contribution, ...] = ()
    """Every part from which the plan was made, also those that its role doesn't start or an override replaces."""
    warnings: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[Component]:
        return iter(self.components)

    def __repr__(self) -> str:
        names = ", ".join(component.name for component in self.components)
        return f"<Plan{f' for {self.role}' if self.role else ''}: {names or 'no components'}>"

    @cached_property
    def by_name(self) -> Mapping[str, Component]:
        """The components by name."""
        return MappingProxyType({component.name: component for component in self.components})

    @cached_property
    def provided(self) -> Mapping[Key, str]:
        """Which component provides a key."""
        return MappingProxyType({key: component.name for component in self.components for key in component.provides})

    @cached_property
    def dependents(self) -> Mapping[str, tuple[Edge, ...]]:
        """For each component, who waits for it, and why."""
        found: dict[str, list[Edge]] = {component.name: [] for component in self.components}
        for component in self.components:
            for edge in component.waits_for:
                found[edge.to].append(Edge(component.name, edge.why))
        return MappingProxyType({name: tuple(edges) for name, edges in found.items()})

    @cached_property
    def budget(self) -> Mapping[str, int]:
        """What all components of one process may hold at most, by resource."""
        total: dict[str, int] = {}
        for component in self.components:
            for resource, amount in component.budget.items():
                total[resource] = total.get(resource, 0) + amount
        return MappingProxyType(dict(sorted(total.items())))

    def settings_of(self, kind: type[_T]) -> _T | None:
        """The settings of that type: those that override, else those that were read; none if no part reads any."""
        given: _T | None = self.overrides.get(Key(kind))
        return self.settings.get(kind) if given is None else given

    def explain(self, name: str) -> Explanation:
        """Why a part stands where it stands: what it waits for, who waits for it, who brought it.

        Raises:
            KeyError: there is no such part; the message names the nearest.
        """
        return explain(self, name)


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why one part stands where it stands. ``str()`` of it is for people."""

    name: str
    place: str
    """Where it stands, and by what rule."""
    brought_by: str
    waits_for: tuple[Edge, ...] = ()
    waited_for_by: tuple[Edge, ...] = ()
    facts: tuple[str, ...] = ()
    """What it needs, provides and may use up."""

    def __str__(self) -> str:
        lines = [f"{self.name}: {self.place}", f"  brought by {self.brought_by}"]
        lines += [f"  waits for {edge.to}: {edge.why}" for edge in self.waits_for]
        lines += [f"  {edge.to} waits for it: {edge.why}" for edge in self.waited_for_by]
        return "\n".join([*lines, *(f"  {fact}" for fact in self.facts)])


def explain(plan: Plan, name: str) -> Explanation:
    """What `Plan.explain` answers."""
    if name in plan.by_name:
        return _explain_component(plan, plan.by_name[name])
    for index, layer in enumerate(plan.layers):
        if layer.name == name:
            return _explain_layer(plan, layer, index)
    if name in plan.replaced:
        return Explanation(name, f"not started: an override provides {plan.replaced[name]}", "overrides")
    for part in plan.other_roles:
        if part.name == name:
            roles = listed(sorted(part.roles or ()))
            return Explanation(name, f"not started: it belongs to the roles {roles}, not {plan.role!r}", _by(part))
    for unserved in plan.unserved:
        if unserved.name == name:
            return Explanation(name, f"not used: in role {plan.role!r} no requests are served", _by(unserved))
    into_host: list[RouteContribution | ErrorHandlerContribution] = [*plan.routes, *plan.error_handlers]
    for other in into_host:
        if other.name == name:
            return Explanation(name, "goes into the host application", _by(other))
    known = [*plan.by_name, *(layer.name for layer in plan.layers), *plan.replaced]
    known += [part.name for part in plan.other_roles] + [part.name for part in (*into_host, *plan.unserved)]
    raise KeyError(f"there is no {name!r} in the plan.{near(name, known)}")


def _explain_component(plan: Plan, component: Component) -> Explanation:
    part = component.contribution
    position = plan.components.index(component) + 1
    stage = plan.stages[component.stage]
    place = f"component {position} of {len(plan.components)}, in stage {stage.band} {stage.priority}"
    if component.stage:
        earlier = plan.stages[component.stage - 1]
        place += f", which starts when all of {earlier.band} {earlier.priority} has started"
    beside = [
        other
        for other in stage.components
        if other != part.name
        and not any(edge.to == other for edge in (*component.waits_for, *plan.dependents[part.name]))
    ]
    facts = [_source(plan, need) for need in component.needs]
    facts += [f"provides {key}" for key in component.provides]
    facts += [f"starts beside {listed(beside)}"] if beside else []
    facts += [f"has {duration(component.start_timeout)} to start and {duration(component.stop_timeout)} to stop"]
    facts += [f"may hold {amount} of {resource}" for resource, amount in component.budget.items()]
    facts += [f"belongs to the roles {listed(sorted(part.roles))}"] if part.roles else []
    return Explanation(part.name, place, _by(part), component.waits_for, plan.dependents[part.name], tuple(facts))


def _explain_layer(plan: Plan, layer: Layer, index: int) -> Explanation:
    part = layer.contribution
    place = f"layer {index + 1} of {len(plan.layers)} from outside, in {part.band} {part.priority}"
    there = {other.name: other.contribution for other in plan.layers}
    facts = [f"stands inside {name!r}, as it declares" for name in part.after if name in there]
    facts += [f"stands outside {name!r}, as it declares" for name in part.before if name in there]
    facts += [f"stands inside {name!r}, as that declares" for name, other in there.items() if part.name in other.before]
    facts += [f"stands outside {name!r}, as that declares" for name, other in there.items() if part.name in other.after]
    facts += [f"serves {listed(sorted(part.scopes))} in {'ASGI' if part.form == 'asgi' else 'hook'} form"]
    facts += [_source(plan, need) for need in layer.needs]
    return Explanation(part.name, place, _by(part), facts=tuple(facts))


def _source(plan: Plan, need: Need) -> str:
    if need.key in plan.overrides:
        source = "an override"
    elif need.key in plan.provided:
        source = repr(plan.provided[need.key])
    elif need.kind is Kind.CONTEXT:
        source = "the kernel"
    elif need.kind is Kind.SETTINGS:
        source = "the environment"
    else:
        source = "its default" if need.has_default else "nobody, so it is None"
    return f"takes {need} from {source}"


def _by(part: LifespanContribution | MiddlewareContribution | RouteContribution | ErrorHandlerContribution) -> str:
    entry_point = part.provenance.entry_point
    return f"{part.provenance}, {entry_point}" if part.provenance.distribution and entry_point else str(part.provenance)
