"""Parts in, order out. Pure: no I/O, no clock, no loop."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from types import MappingProxyType
from typing import Any

from bandmaster.kernel import ordering
from bandmaster.kernel.contributions import (
    Contribution,
    ErrorHandlerContribution,
    LifespanContribution,
    MiddlewareContribution,
    RouteContribution,
    check_budget,
)
from bandmaster.kernel.deadlines import LONGEST_SHARE, Deadlines, fair_share
from bandmaster.kernel.errors import PlanError, Problem
from bandmaster.kernel.keys import Key, type_name
from bandmaster.kernel.plan import Component, Edge, Layer, Plan, Stage
from bandmaster.kernel.signatures import Kind, Need, SignatureError, read_needs, read_provides
from bandmaster.kernel.wording import duration, listed, near

SettingsReader = Callable[[Iterable[type[Any]]], tuple[Mapping[type[Any], Any], Sequence[Problem]]]

_DEFAULTS = Deadlines()


def make_plan(
    contributions: Iterable[Contribution],
    *,
    role: str | None = None,
    overrides: Mapping[Any, Any] | None = None,
    read_settings: SettingsReader | None = None,
    context: type | None = None,
    deadlines: Deadlines = _DEFAULTS,
    processes: int = 1,
    known: Iterable[str] = (),
    warnings: Iterable[str] = (),
) -> Plan:
    """The plan of a set of parts: the same set gives the same plan, in whatever order it comes.

    ``known`` names parts that exist but were left out, so that an ordering may name them.

    Raises:
        PlanError: the parts don't fit together; ``problems`` holds everything that is wrong with them.
    """
    draft = _Draft(role=role, context=context, known=set(known), warnings=list(warnings))
    draft.sort_into_groups(contributions)
    draft.read_signatures()
    draft.apply_overrides({Key.of(key): value for key, value in (overrides or {}).items()})
    draft.find_providers()
    draft.read_settings(read_settings or _read_nothing)
    draft.draw_edges()
    order, stages = draft.order_components()
    layers = draft.order_layers()
    components = draft.place(order, stages, deadlines)
    if draft.problems:
        raise PlanError(draft.problems)
    return Plan(
        components=tuple(components),
        stages=tuple(stages),
        layers=tuple(layers),
        routes=tuple(sorted(draft.routes.values(), key=lambda part: part.name)),
        error_handlers=tuple(sorted(draft.error_handlers.values(), key=lambda part: part.name)),
        role=role,
        settings=MappingProxyType(draft.settings),
        overrides=MappingProxyType(draft.overrides),
        replaced=MappingProxyType(draft.replaced),
        other_roles=tuple(draft.other_roles.values()),
        processes=processes,
        stop_seconds=draft.stop_seconds,
        warnings=tuple(draft.warnings),
    )


def _read_nothing(kinds: Iterable[type[Any]]) -> tuple[Mapping[type[Any], Any], Sequence[Problem]]:
    return {kind: kind() for kind in kinds}, ()


def who(part: Contribution) -> str:
    """A part as errors name it: group, name, where it stands, who brought it."""
    if isinstance(part, LifespanContribution):
        return f"lifespan {part.name!r} ({part.band}, {part.provenance})"
    if isinstance(part, MiddlewareContribution):
        return f"layer {part.name!r} ({part.band}, {part.provenance})"
    kind = "routes" if isinstance(part, RouteContribution) else "error handler"
    return f"{kind} {part.name!r} ({part.provenance})"


@dataclass
class _Draft:
    """A plan in the making: each step reads what the steps before it found, and adds problems."""

    role: str | None
    context: type | None
    known: set[str]
    warnings: list[str]
    problems: list[Problem] = field(default_factory=list)
    lifespans: dict[str, LifespanContribution] = field(default_factory=dict)
    other_roles: dict[str, LifespanContribution] = field(default_factory=dict)
    layers: dict[str, MiddlewareContribution] = field(default_factory=dict)
    routes: dict[str, RouteContribution] = field(default_factory=dict)
    error_handlers: dict[str, ErrorHandlerContribution] = field(default_factory=dict)
    needs: dict[str, list[Need]] = field(default_factory=dict)
    layer_needs: dict[str, list[Need]] = field(default_factory=dict)
    provides: dict[str, tuple[Key, ...]] = field(default_factory=dict)
    providers: dict[Key, str] = field(default_factory=dict)
    overrides: dict[Key, Any] = field(default_factory=dict)
    replaced: dict[str, Key] = field(default_factory=dict)
    settings: dict[type[Any], Any] = field(default_factory=dict)
    edges: dict[str, dict[str, str]] = field(default_factory=dict)
    """For each component, whom it waits for and why."""
    budgets: dict[str, dict[str, int]] = field(default_factory=dict)
    stop_seconds: float = 0

    def problem(self, message: str, hint: str = "", subject: str = "") -> None:
        self.problems.append(Problem(message, hint, subject))

    # -- groups ------------------------------------------------------------------------------------------------

    def sort_into_groups(self, contributions: Iterable[Contribution]) -> None:
        groups: list[tuple[type[Any], dict[str, Any]]] = [
            (LifespanContribution, self.lifespans),
            (MiddlewareContribution, self.layers),
            (RouteContribution, self.routes),
            (ErrorHandlerContribution, self.error_handlers),
        ]
        for part in sorted(contributions, key=lambda part: (part.name, str(part.provenance))):
            group = next(parts for kind, parts in groups if isinstance(part, kind))
            if part.name in group:
                self._duplicate(group[part.name], part)
            group.setdefault(part.name, part)
        for name, part in list(self.lifespans.items()):
            if self.role is not None and part.roles is not None and self.role not in part.roles:
                self.other_roles[name] = self.lifespans.pop(name)

    def _duplicate(self, first: Contribution, second: Contribution) -> None:
        self.problem(
            f"{who(first)} and {who(second)} have the same name.",
            "Names are unique across all distributions: uninstall one, or rename the one that is yours.",
            second.name,
        )

    # -- signatures --------------------------------------------------------------------------------------------

    def read_signatures(self) -> None:
        for name, part in self.lifespans.items():
            try:
                self.needs[name] = read_needs(part.factory, context=self.context)
                returned = read_provides(part.factory)
            except SignatureError as error:
                self.problem(f"{who(part)}: {error}.", subject=name)
                self.needs.setdefault(name, [])
                returned = []
            keys = [*returned, *(Key.of(extra) for extra in part.provides)]
            self.provides[name] = tuple(dict.fromkeys(keys))
        for name, layer in self.layers.items():
            # The app is handed over by position, whatever it is called.
            given = {*layer.options, "app"} if layer.form == "asgi" else set(layer.options)
            try:
                self.layer_needs[name] = read_needs(layer.layer, given=given)
            except SignatureError as error:
                self.problem(f"{who(layer)}: {error}.", subject=name)

    # -- overrides, providers, settings ------------------------------------------------------------------------

    def apply_overrides(self, overrides: dict[Key, Any]) -> None:
        self.overrides = overrides
        for name in sorted(self.lifespans):
            key = next((key for key in self.provides[name] if key in overrides), None)
            if key is not None:
                self.replaced[name] = key
        used = {key for keys in self.provides.values() for key in keys}
        used |= {need.key for needs in (*self.needs.values(), *self.layer_needs.values()) for need in needs}
        for key in overrides:
            if key not in used:
                nearest = near(str(key), map(str, used))
                self.warnings.append(f"overrides has a {key}, which nothing here provides or needs.{nearest}")

    def find_providers(self) -> None:
        for name, part in self.lifespans.items():
            if name in self.replaced:
                continue
            for key in self.provides[name]:
                other = self.providers.setdefault(key, name)
                if other != name:
                    self.problem(
                        f"{who(self.lifespans[other])} and {who(part)} both provide {_a(key)}.",
                        "Tell them apart with Annotated[..., Named('...')], or disable one.",
                        name,
                    )

    def read_settings(self, read: SettingsReader) -> None:
        wanted: dict[type[Any], str] = {}
        for needs, parts in ((self.needs, self.lifespans), (self.layer_needs, self.layers)):
            for name in sorted(needs):
                if name in self.replaced and parts is self.lifespans:
                    continue
                for need in needs[name]:
                    if need.kind is Kind.SETTINGS and need.key not in self.providers:
                        wanted.setdefault(need.key.type, name)
        given = {kind: self.overrides[Key(kind)] for kind in wanted if Key(kind) in self.overrides}
        values, problems = read(sorted(wanted.keys() - given.keys(), key=lambda kind: kind.__qualname__))
        self.settings = {**values, **given}
        self.problems += problems

    # -- edges -------------------------------------------------------------------------------------------------

    def draw_edges(self) -> None:
        self.edges = {name: {} for name in self.lifespans}
        for name, part in self.lifespans.items():
            if name in self.replaced:
                continue
            self._edges_from_needs(part)
            for other in part.requires:
                self._edge_by_name(part, other, "it requires {}", required=True)
            for other in part.after:
                self._edge_by_name(part, other, "it is declared to start after {}", required=False)
            for other in part.before:
                self._edge_by_name(part, other, "it is declared to start before {}", required=False, reverse=True)
        for name, needs in self.layer_needs.items():
            for need in needs:
                self._provider(self.layers[name], need)

    def _edges_from_needs(self, part: LifespanContribution) -> None:
        for need in self.needs[part.name]:
            provider = self._provider(part, need)
            if provider == part.name:
                self.problem(f"{who(part)} needs {_a(need.key)}, which it provides itself.", subject=part.name)
            elif provider is not None:
                self._edge(part.name, provider, f"it needs its {need.key}")

    def _provider(self, part: LifespanContribution | MiddlewareContribution, need: Need) -> str | None:
        """The component that fills a need, if a component does; a problem where nothing can."""
        if need.kind is Kind.CONTEXT or need.key in self.overrides:
            return None
        if need.key in self.providers:
            return self.providers[need.key]
        if need.kind is Kind.RESOURCE and not need.optional:
            self.problem(
                f"{who(part)} needs {_a(need.key)}, which nothing provides.", self._how_to_get(need), part.name
            )
        return None

    def _how_to_get(self, need: Need) -> str:
        key = need.key
        for name, taken in self.replaced.items():
            if key in self.provides[name]:
                return f"{name!r} would, but isn't started since {taken} is overridden; override {key} as well."
        elsewhere = self._in_other_roles(key)
        if elsewhere:
            return elsewhere
        for other in sorted(self.providers, key=str):
            if other.type == key.type:
                return f"{self.providers[other]!r} provides {_a(other)}; name the one that is meant with Named."
            if isinstance(key.type, type) and isinstance(other.type, type) and issubclass(other.type, key.type):
                return (
                    f"{self.providers[other]!r} provides {_a(other)}, which is one; resources are found by exact type, "
                    f"so let it declare provides={key}."
                )
        nearest = near(str(key), map(str, self.providers))
        install = _distribution_of(key.module)
        tries = f"Install {install}, or pass" if install else "Contribute a component that does, or pass"
        return f"{tries} overrides={{{key}: ...}}.{nearest}"

    def _in_other_roles(self, key: Key) -> str:
        for name, part in self.other_roles.items():
            try:
                keys = [*read_provides(part.factory), *map(Key.of, part.provides)]
            except SignatureError:
                continue
            if key in keys:
                return (
                    f"{name!r} would, but belongs to the roles {listed(sorted(part.roles or ()))}, not {self.role!r}."
                )
        return ""

    def _edge_by_name(
        self, part: LifespanContribution, other: str, why: str, *, required: bool, reverse: bool = False
    ) -> None:
        reason = why.format(repr(other))
        if other == part.name:
            self.problem(f"{who(part)}: {reason}, which is itself.", subject=part.name)
        elif other in self.lifespans:
            if other in self.replaced:
                return
            waiting, awaited = (other, part.name) if reverse else (part.name, other)
            self._edge(waiting, awaited, f"{part.name!r} is declared to start before it" if reverse else reason)
        elif required:
            self._missing_requirement(part, other)
        elif other not in self.other_roles and other not in self.known:
            # Ordering never implies requirement, so an unknown name is fine, unless it looks like a slip.
            nearest = near(other, self.lifespans.keys() - {part.name}, cutoff=0.75)
            if nearest:
                verb = "before" if reverse else "after"
                self.problem(
                    f"{who(part)} is to start {verb} {other!r}, which nobody contributes.", nearest.strip(), part.name
                )

    def _missing_requirement(self, part: LifespanContribution, other: str) -> None:
        if other in self.other_roles:
            roles = listed(sorted(self.other_roles[other].roles or ()))
            hint = f"It belongs to the roles {roles}, not {self.role!r}."
        elif other in self.known:
            hint = "It is disabled; enable it, or disable this one too."
        else:
            hint = near(other, self.lifespans.keys() - {part.name}).strip() or "Install the part that brings it."
        self.problem(f"{who(part)} requires {other!r}, which isn't there.", hint, part.name)

    def _edge(self, waiting: str, awaited: str, why: str) -> None:
        self.edges[waiting].setdefault(awaited, why)

    # -- order -------------------------------------------------------------------------------------------------

    def order_components(self) -> tuple[list[str], list[Stage]]:
        running = {name: part for name, part in self.lifespans.items() if name not in self.replaced}
        within: dict[str, list[str]] = {name: [] for name in running}
        for name, part in running.items():
            for other, why in self.edges[name].items():
                if _stage_of(running[other]) > _stage_of(part):
                    self._backwards(part, running[other], why)
                elif _stage_of(running[other]) == _stage_of(part):
                    within[name].append(other)
        for cycle in ordering.cycles(running, within):
            self._cycle(cycle)
        rank = {name: _stage_of(part) for name, part in running.items()}
        order = ordering.sort(running, within, rank)
        order.sort(key=rank.__getitem__)
        stages: dict[int, list[str]] = {}
        for name in order:
            stages.setdefault(rank[name], []).append(name)
        return order, [
            Stage(running[names[0]].band, priority, tuple(names)) for priority, names in sorted(stages.items())
        ]

    def _backwards(self, part: LifespanContribution, later: LifespanContribution, why: str) -> None:
        place = f"{later.band} {later.priority}" if later.band is part.band else str(later.band)
        self.problem(
            f"{who(part)} is to wait for {who(later)}, which starts in a later stage: {why}.",
            f"Move {part.name!r} to {place} or later (now {part.band} {part.priority}), or {later.name!r} to "
            f"{part.band} {part.priority} or earlier (now {later.band} {later.priority}).",
            part.name,
        )

    def _cycle(self, cycle: list[str]) -> None:
        steps = [
            f"{waiting!r} waits for {awaited!r} ({self.edges[waiting][awaited]}; {self.lifespans[waiting].provenance})"
            for waiting, awaited in pairwise(cycle)
        ]
        self.problem(
            f"lifespans {' → '.join(cycle)} wait for each other: {', '.join(steps)}.",
            "Take one of these edges away, or let both use a third component.",
            cycle[0],
        )

    def order_layers(self) -> list[Layer]:
        behind: dict[str, list[str]] = {name: [] for name in self.layers}
        for name, layer in self.layers.items():
            for other in layer.after:
                self._layer_edge(layer, other, inner=name, outer=other, edges=behind)
            for other in layer.before:
                self._layer_edge(layer, other, inner=other, outer=name, edges=behind)
        for cycle in ordering.cycles(self.layers, behind):
            self.problem(
                f"layers {' → '.join(cycle)} are each to stand inside the next.",
                "Take one of their before= or after= away.",
                cycle[0],
            )
        rank = {name: layer.priority for name, layer in self.layers.items()}
        order = ordering.sort(self.layers, behind, rank)
        return [Layer(self.layers[name], tuple(self.layer_needs.get(name, ()))) for name in order]

    def _layer_edge(
        self, layer: MiddlewareContribution, other: str, *, inner: str, outer: str, edges: dict[str, list[str]]
    ) -> None:
        side = "inside" if other == outer else "outside"
        if other == layer.name:
            self.problem(f"{who(layer)} is to stand {side} itself.", subject=layer.name)
        elif other not in self.layers:
            nearest = near(other, self.layers.keys() - {layer.name}, cutoff=0.75)
            if nearest and other not in self.known:
                self.problem(
                    f"{who(layer)} is to stand {side} {other!r}, which nobody contributes.", nearest.strip(), layer.name
                )
        elif self.layers[inner].priority < self.layers[outer].priority:
            self.problem(
                f"{who(layer)} is to stand {side} {who(self.layers[other])}, against their priorities "
                f"({layer.priority} and {self.layers[other].priority}; lower is further out).",
                "Change one of the priorities, or take the before= or after= away.",
                layer.name,
            )
        else:
            edges[inner].append(outer)

    # -- deadlines, budgets ------------------------------------------------------------------------------------

    def place(self, order: list[str], stages: list[Stage], deadlines: Deadlines) -> list[Component]:
        for name in order:
            self.budgets[name] = self._budget(self.lifespans[name])
        share = self._share_of_the_grace(stages, deadlines)
        stage_of = {name: index for index, stage in enumerate(stages) for name in stage.components}
        return [
            Component(
                contribution=part,
                stage=stage_of[name],
                needs=tuple(self.needs[name]),
                provides=self.provides[name],
                waits_for=tuple(Edge(other, why) for other, why in sorted(self.edges[name].items())),
                start_timeout=part.start_timeout or deadlines.start,
                stop_timeout=part.stop_timeout or share,
                budget=MappingProxyType(self.budgets[name]),
            )
            for name in order
            for part in [self.lifespans[name]]
        ]

    def _share_of_the_grace(self, stages: list[Stage], deadlines: Deadlines) -> float:
        names = [stage.components for stage in stages]
        declared = {name: self.lifespans[name].stop_timeout or deadlines.stop for stage in names for name in stage}
        if self.problems:
            return LONGEST_SHARE  # the order isn't complete, and there will be no plan
        share, path = fair_share(names, self.edges_as_lists(), declared, deadlines.left_for_stops)
        self.stop_seconds = path.seconds(max(share, 0))
        if share <= 0 or self.stop_seconds > deadlines.left_for_stops + 1e-9:
            self.problem(
                f"the stops' deadlines add up to {duration(path.declared)} on the slowest path"
                + (f", with {path.undeclared} more that declare none" if path.undeclared else "")
                + f", but draining leaves {duration(deadlines.left_for_stops)} of the grace.",
                "Raise BANDMASTER_TERMINATION_GRACE (and the platform's), or lower drain_timeout or the stop_timeouts.",
            )
        return share if share > 0 else LONGEST_SHARE

    def edges_as_lists(self) -> dict[str, list[str]]:
        return {name: list(edges) for name, edges in self.edges.items()}

    def _budget(self, part: LifespanContribution) -> dict[str, int]:
        if not callable(part.budget):
            return dict(part.budget)
        settings = [need for need in self.needs[part.name] if need.kind is Kind.SETTINGS]
        try:
            return check_budget(part.budget(**self._budget_arguments(part.budget, settings)))
        except _NoSettingsYet:
            return {}  # why they can't be read is among the problems already
        except (SignatureError, ValueError) as error:
            self.problem(f"{who(part)}: its budget can't be had: {error}.", subject=part.name)
            return {}

    def _budget_arguments(self, budget: Callable[..., Any], settings: list[Need]) -> dict[str, Any]:
        parameters = list(inspect.signature(budget).parameters.values())
        if len(parameters) == 1 and parameters[0].annotation is inspect.Parameter.empty and len(settings) == 1:
            wanted = [(parameters[0].name, settings[0].key.type)]
        else:
            wanted = [(need.parameter, need.key.type) for need in read_needs(budget)]
        missing = [kind for _, kind in wanted if kind not in self.settings]
        if missing:
            if any(need.key.type in missing for need in settings):
                raise _NoSettingsYet
            raise SignatureError(f"it asks for {listed(map(type_name, missing))}, which isn't among its settings")
        return {name: self.settings[kind] for name, kind in wanted}


class _NoSettingsYet(Exception):
    """The settings that a budget is a function of can't be read."""


def _stage_of(part: LifespanContribution) -> int:
    # Bands are disjoint ranges, so a priority says the band as well.
    return part.priority


def _a(key: Key) -> str:
    return f"{'an' if str(key)[:1] in 'AEIOU' else 'a'} {key}"


def _distribution_of(module: str) -> str:
    """The distribution that a bandmaster module ships in, for the advice to install it."""
    parts = module.split(".")
    return f"bandmaster-{parts[2]}" if parts[:2] == ["bandmaster", "contrib"] and len(parts) > 2 else ""
