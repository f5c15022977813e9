"""The plan: the frozen order of components, layers, routes and error handlers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

from bandmaster.kernel.contributions.bands import LifespanBand
from bandmaster.kernel.contributions.keys import Key, type_name
from bandmaster.kernel.contributions.model import (
    Contribution,
    ErrorHandlerContribution,
    LifespanContribution,
    MiddlewareContribution,
    Provenance,
    RouteContribution,
    ValueContribution,
)
from bandmaster.kernel.contributions.signatures import Need
from bandmaster.kernel.errors import PlanError, Problems
from bandmaster.kernel.planning.deadlines import TimeoutSource
from bandmaster.kernel.planning.explanation import Explanation, explain
from bandmaster.kernel.planning.parts import Omission
from bandmaster.kernel.planning.providers import Providers
from bandmaster.kernel.planning.start_policies import StartPolicy

_NO_PROVIDERS = Providers({}, {}, {})
_T = TypeVar("_T")


class Edge(NamedTuple):
    """One component waits for another."""

    to: str
    why: str


@dataclass(frozen=True, slots=True)
class Component:
    """One component, with the place in the plan."""

    contribution: LifespanContribution
    stage: int
    """The index of the stage. Stages are barriers."""
    needs: tuple[Need, ...]
    provides: tuple[Key, ...]
    """The types it provides; of a component that decorates one, that type as well."""
    waits_for: tuple[Edge, ...]
    """Every declared edge, also to earlier stages, for which the stages' barriers would do."""
    start_timeout: float
    stop_timeout: float
    budget: Mapping[str, int]
    start_timeout_source: TimeoutSource = "component"
    stop_timeout_source: TimeoutSource = "component"
    on_start_failure: StartPolicy = StartPolicy()
    relies_on: tuple[str, ...] = ()
    """Components without which this one isn't started: it is degraded with them."""
    facts: tuple[str, ...] = ()
    """Facts that the component tells about itself, such as an address that operators register elsewhere."""

    @property
    def name(self) -> str:
        """Unique among the components."""
        return self.contribution.name


@dataclass(frozen=True, slots=True)
class Stage:
    """The components of one (band, priority): those that no edge orders start at once."""

    band: LifespanBand
    priority: int
    components: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer, with the place in the request stack."""

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
    """In start order. The stop order is the exact reverse."""
    stages: tuple[Stage, ...]
    layers: tuple[Layer, ...]
    """Outermost first."""
    values: Mapping[Key, ValueContribution] = field(default_factory=dict[Key, ValueContribution], repr=False)
    """The ready objects that are provided from the beginning, by type, and by type and name."""
    routes: tuple[RouteContribution, ...] = ()
    error_handlers: tuple[ErrorHandlerContribution, ...] = ()
    role: str | None = None
    settings: Mapping[type, Any] = field(default_factory=dict[type, Any], repr=False)
    overrides: Mapping[Key, Any] = field(default_factory=dict[Key, Any], repr=False)
    providers: Providers = field(default=_NO_PROVIDERS, repr=False)
    """Who provides each type: one part, a chain of decorators around one, or several parts."""
    replaced: Mapping[str, Key] = field(default_factory=dict[str, Key])
    """Components and values that aren't used, since an override provides one of their types; so aren't the components
    that decorate an overridden one."""
    omitted: tuple[Omission, ...] = ()
    """Parts that their conditions leave out, and parts handed over in code that are disabled."""
    replaces: Mapping[tuple[str, str], Provenance] = field(default_factory=dict[tuple[str, str], Provenance])
    """The origin of each disabled part in whose place code has handed over another, by group and name."""
    other_roles: tuple[LifespanContribution | ValueContribution, ...] = ()
    """Components and values that belong to other roles."""
    unserved: tuple[Contribution, ...] = ()
    """Layers, routes and error handlers of a role that serves no requests."""
    processes: int = 1
    slowest_stop: tuple[Component, ...] = ()
    """The components whose stops, one after the other, take longest; in stop order."""
    stop_seconds: float = 0
    """The longest that all stops together may take."""
    contributions: tuple[Contribution, ...] = ()
    """Every part from which the plan was made, those of other roles and replaced ones included."""
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
        """The name of the component or value that provides a key; of a decorated one, the outermost decorator's.

        Keys that several provide are left out: `Providers.by_key` has them.
        """
        found = {key: self.providers.find_part(key) for key in self.providers.by_key}
        return MappingProxyType({key: chain.outermost.name for key, chain in found.items() if chain is not None})

    @cached_property
    def dependents(self) -> Mapping[str, tuple[Edge, ...]]:
        """For each component, the components that wait for that one, and the reasons."""
        found: dict[str, list[Edge]] = {component.name: [] for component in self.components}
        for component in self.components:
            for edge in component.waits_for:
                found[edge.to].append(Edge(component.name, edge.why))
        return MappingProxyType({name: tuple(edges) for name, edges in found.items()})

    @cached_property
    def budget(self) -> Mapping[str, int]:
        """The most that all components of one process may hold, by resource."""
        total: dict[str, int] = {}
        for component in self.components:
            for resource, amount in component.budget.items():
                total[resource] = total.get(resource, 0) + amount
        return MappingProxyType(dict(sorted(total.items())))

    def settings_of(self, kind: type[_T]) -> _T | None:
        """The settings of that type: an override, else as read; None if no part reads that type."""
        given: _T | None = self.overrides.get(Key(kind))
        return self.settings.get(kind) if given is None else given

    def values_of(self, kind: type[_T]) -> tuple[_T, ...]:
        """Every ready object of exactly that type: overrides first, then values in the order of their names.

        A part that collects descriptions of other parts asks so, such as which tasks they have. Nothing is started.

        Raises:
            PlanError: a component provides that type, or an override isn't of it.
        """
        problems = Problems()
        found = [value for key, value in self.overrides.items() if key.type is kind]
        for value in found:
            if not isinstance(value, kind):
                problems.add(f"an override provides {value!r} as {type_name(kind)}, which it isn't.")
        for component in self.components:
            if any(key.type is kind for key in component.provides):
                verb = "provides" if component.contribution.decorates is None else "decorates"
                problems.add(
                    f"the component {component.name!r} {verb} {type_name(kind)}, which is collected without a start.",
                    "Contribute it as a value: value(..., name=...).",
                    component.name,
                )
        problems.raise_if_any(PlanError)
        parts = {part.name: part for key, part in self.values.items() if key.type is kind}
        return (*found, *(part.value for _, part in sorted(parts.items())))

    def explain(self, name: str) -> Explanation:
        """Explain the place of a part: edges in both directions, needs, provided types, distribution.

        Raises:
            KeyError: no part has that name; the message names the nearest.
        """
        return explain(self, name)
