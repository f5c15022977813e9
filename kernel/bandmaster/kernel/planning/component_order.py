"""Order the components: an edge for each dependency, a stage for each priority. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Literal

from bandmaster.kernel.contributions.keys import type_name
from bandmaster.kernel.contributions.model import LifespanContribution
from bandmaster.kernel.errors import Problem, Problems
from bandmaster.kernel.planning import toposort
from bandmaster.kernel.planning.misspelt_names import OrderingNames
from bandmaster.kernel.planning.parts import Parts, describe_part
from bandmaster.kernel.planning.plan import Stage
from bandmaster.kernel.planning.wiring import Wiring
from bandmaster.kernel.text import find_nearest

Edges = Mapping[str, Mapping[str, str]]
"""For each component, the components to wait for, and the reasons."""


def find_edges(parts: Parts, wiring: Wiring, problems: Problems) -> Edges:
    """Edges from needs, ``requires``, ``after`` and ``before``. A name that is required and missing is a problem."""
    edges: dict[str, dict[str, str]] = {name: {} for name in wiring.running}
    names = OrderingNames(parts.lifespans, parts.known | parts.other_roles.keys(), problems)
    for name, part in wiring.running.items():
        for provider, reason in _list_needed(name, wiring):
            if provider != name:
                edges[name].setdefault(provider, reason)
        for other, how, reason in _list_orderings(part):
            if other == name:
                problems.add(f"{describe_part(part)}: {reason}, which is itself.", subject=name)
            elif other in wiring.running and how == "before":
                edges[other].setdefault(name, f"{name!r} is declared to start before it")
            elif other in wiring.running:
                edges[name].setdefault(other, reason)
            elif other in wiring.replaced or other in parts.values:
                pass  # overrides and values are there before anything starts
            elif how == "requires":
                problems.extend([_describe_missing(parts, part, other)])
            else:
                names.check(part, other, f"start {how}")
    return edges


def order_components(running: Mapping[str, LifespanContribution], edges: Edges, problems: Problems) -> list[Stage]:
    """The stages, lowest first, each with components in an order in which they could start one by one."""
    within: dict[str, list[str]] = {name: [] for name in running}
    for name, part in running.items():
        for other, why in edges[name].items():
            awaited = running[other]
            if awaited.priority == part.priority:
                within[name].append(other)
            elif awaited.priority > part.priority:
                problems.extend([_describe_later_stage(part, awaited, why)])
    problems.extend(_describe_cycle(cycle, running, edges) for cycle in toposort.find_cycles(running, within))
    # Bands are disjoint ranges, so that a priority implies its band.
    stages: dict[int, list[str]] = {priority: [] for priority in sorted({part.priority for part in running.values()})}
    for name in toposort.sort(running, within, {name: part.priority for name, part in running.items()}):
        stages[running[name].priority].append(name)
    return [Stage(running[names[0]].band, priority, tuple(names)) for priority, names in stages.items() if names]


def _list_needed(name: str, wiring: Wiring) -> Iterator[tuple[str, str]]:
    """The components that provide the needs of a component, with the reasons to wait for them."""
    providers = wiring.providers
    for need in wiring.needs[name]:
        if need.decorated:
            for provider in providers.find_sources(need, name):
                yield provider.name if provider.kind == "component" else name, f"it decorates its {need.key}"
            continue
        for chain in providers.find_chains(need):
            if not chain.components:
                continue
            wanted = f"its {need.key}" if need.collection is None else f"every {type_name(chain.type)}"
            around = f", around the one of {chain.provider}" if chain.decorators else ""
            yield chain.components[-1], f"it needs {wanted}{around}"


def _list_orderings(part: LifespanContribution) -> Iterator[tuple[str, Literal["requires", "after", "before"], str]]:
    for other in part.requires:
        yield other, "requires", f"it requires {other!r}"
    for other in part.after:
        yield other, "after", f"it is declared to start after {other!r}"
    for other in part.before:
        yield other, "before", f"it is declared to start before {other!r}"


def _describe_missing(parts: Parts, part: LifespanContribution, other: str) -> Problem:
    near = find_nearest(other, parts.lifespans.keys() - {part.name})
    if other in parts.other_roles:
        hint = f"It {parts.describe_roles(parts.other_roles[other])}."
    elif omission := next((each for each in parts.omitted if each.part.name == other and each.settings), None):
        hint = f"It is left out: {omission.reason}."
    elif other in parts.known:
        hint = "It is disabled; enable it, or disable this one too."
    elif near is not None:
        hint = f"Did you mean {near!r} ({parts.lifespans[near].provenance})?"
    else:
        hint = "Install the part that brings it."
    return Problem(f"{describe_part(part)} requires {other!r}, which isn't there.", hint, part.name)


def _describe_later_stage(part: LifespanContribution, later: LifespanContribution, why: str) -> Problem:
    place = f"{later.band} {later.priority}" if later.band is part.band else str(later.band)
    return Problem(
        f"{describe_part(part)} is to wait for {describe_part(later)}, which starts in a later stage: {why}.",
        f"Move {part.name!r} to {place} or later (now {part.band} {part.priority}), or {later.name!r} to {part.band} "
        f"{part.priority} or earlier (now {later.band} {later.priority}).",
        part.name,
    )


def _describe_cycle(cycle: list[str], running: Mapping[str, LifespanContribution], edges: Edges) -> Problem:
    steps = [
        f"{waiting!r} waits for {awaited!r} ({edges[waiting][awaited]}; {running[waiting].provenance})"
        for waiting, awaited in pairwise(cycle)
    ]
    return Problem(
        f"lifespans {' → '.join(cycle)} wait for each other: {', '.join(steps)}.",
        "Take one of these edges away, or let both use a third component.",
        cycle[0],
    )
