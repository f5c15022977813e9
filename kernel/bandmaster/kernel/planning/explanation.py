"""Explain why a part stands at its place in the plan. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bandmaster.kernel.contributions.keys import Key, type_name
from bandmaster.kernel.contributions.model import Contribution, LifespanContribution, group_of
from bandmaster.kernel.contributions.signatures import Kind, Need
from bandmaster.kernel.planning.deadlines import name_source
from bandmaster.kernel.planning.offered_keys import find_omissions, list_value_keys
from bandmaster.kernel.planning.start_policies import describe_policy, may_be_missing
from bandmaster.kernel.text import join_words, list_names, render_duration, suggest

if TYPE_CHECKING:
    from bandmaster.kernel.planning.plan import Component, Edge, Layer, Plan


@dataclass(frozen=True, slots=True)
class Explanation:
    """The place of one part in the plan, with the reasons. ``str()`` gives a text for people."""

    name: str
    place: str
    """The position, and the deciding rule."""
    brought_by: str
    waits_for: tuple[Edge, ...] = ()
    waited_for_by: tuple[Edge, ...] = ()
    facts: tuple[str, ...] = ()
    """Needs, provided types, deadlines, budget, roles."""

    def __str__(self) -> str:
        lines = [f"{self.name}: {self.place}", f"  brought by {self.brought_by}"]
        lines += [f"  waits for {edge.to}: {edge.why}" for edge in self.waits_for]
        lines += [f"  {edge.to} waits for it: {edge.why}" for edge in self.waited_for_by]
        return "\n".join([*lines, *(f"  {fact}" for fact in self.facts)])


def explain(plan: Plan, name: str) -> Explanation:
    """See `Plan.explain`."""
    explanation = _explain_used(plan, name) or _explain_unused(plan, name)
    if explanation is None:
        raise KeyError(f"there is no {name!r} in the plan.{suggest(name, _list_names(plan))}")
    return explanation


def _explain_used(plan: Plan, name: str) -> Explanation | None:
    if name in plan.by_name:
        return _explain_component(plan, plan.by_name[name])
    for index, layer in enumerate(plan.layers):
        if layer.name == name:
            return _explain_layer(plan, layer, index)
    for value in plan.values.values():
        if value.name == name:
            facts = [*_list_replaced(plan, value)]
            facts += [f"provides {key}" for key in list_value_keys(value)]
            facts += _describe_chains(plan, name)
            place = "a value, ready before anything starts"
            return Explanation(name, place, _describe_origin(value), facts=tuple(facts))
    into_host: list[Contribution] = [*plan.routes, *plan.error_handlers]
    for part in into_host:
        if part.name == name:
            place = "goes into the host application"
            return Explanation(name, place, _describe_origin(part), facts=tuple(_list_replaced(plan, part)))
    return None


def _explain_unused(plan: Plan, name: str) -> Explanation | None:
    if name in plan.replaced:
        key = plan.replaced[name]
        decorates = {part.name: part.decorates for part in plan.contributions if isinstance(part, LifespanContribution)}
        place = f"not started: an override provides {key}"
        place += ", which it decorates" if decorates.get(name) is not None else " in its place"
        return Explanation(name, place, "overrides")
    for part in plan.other_roles:
        if part.name == name:
            roles = list_names(sorted(part.roles or ()))
            place = f"not started: it belongs to the roles {roles}, not {plan.role!r}"
            return Explanation(name, place, _describe_origin(part))
    for omission in plan.omitted:
        if omission.part.name == name:
            return Explanation(name, f"left out: {omission.reason}", _describe_origin(omission.part))
    for unserved in plan.unserved:
        if unserved.name == name:
            place = f"not used: in role {plan.role!r} no requests are served"
            return Explanation(name, place, _describe_origin(unserved))
    return None


def _list_names(plan: Plan) -> list[str]:
    parts: list[Contribution | Layer] = [*plan.layers, *plan.values.values(), *plan.other_roles]
    parts += [*plan.routes, *plan.error_handlers, *plan.unserved, *(omission.part for omission in plan.omitted)]
    return [*plan.by_name, *plan.replaced, *(part.name for part in parts)]


def _explain_component(plan: Plan, component: Component) -> Explanation:
    part = component.contribution
    position = plan.components.index(component) + 1
    stage = plan.stages[component.stage]
    place = f"component {position} of {len(plan.components)}, in stage {stage.band} {stage.priority}"
    if component.stage:
        earlier = plan.stages[component.stage - 1]
        place += f", which starts when all of {earlier.band} {earlier.priority} has started"
    ordered = {part.name, *_find_awaited(plan, part.name)}
    beside = [
        other for other in stage.components if other not in ordered and part.name not in _find_awaited(plan, other)
    ]
    facts = [*_list_replaced(plan, part)]
    facts += [_describe_source(plan, need, part.name) for need in component.needs]
    facts += [f"provides {key}" for key in component.provides if key != part.decorates]
    facts += _describe_chains(plan, part.name)
    facts += [f"starts beside {list_names(beside)}"] if beside else []
    start = (
        f"{render_duration(component.start_timeout)} to start ({name_source('start', component.start_timeout_source)})"
    )
    stop = f"{render_duration(component.stop_timeout)} to stop ({name_source('stop', component.stop_timeout_source)})"
    facts += [f"has {start} and {stop}"]
    facts += describe_policy(plan, component)
    facts += [f"may hold {amount} of {resource}" for resource, amount in component.budget.items()]
    facts += component.facts
    facts += [f"belongs to the roles {list_names(sorted(part.roles))}"] if part.roles else []
    return Explanation(
        part.name, place, _describe_origin(part), component.waits_for, plan.dependents[part.name], tuple(facts)
    )


def _find_awaited(plan: Plan, name: str) -> set[str]:
    """Every component of the same stage for which one waits, directly or by others."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        component = plan.by_name[waiting.pop()]
        here = {edge.to for edge in component.waits_for if plan.by_name[edge.to].stage == component.stage}
        waiting += here - found
        found |= here
    return found


def _explain_layer(plan: Plan, layer: Layer, index: int) -> Explanation:
    part = layer.contribution
    place = f"layer {index + 1} of {len(plan.layers)} from outside, in {part.band} {part.priority}"
    there = {other.name: other.contribution for other in plan.layers}
    facts = [*_list_replaced(plan, part)]
    facts += [f"stands inside {name!r}, as it declares" for name in part.after if name in there]
    facts += [f"stands outside {name!r}, as it declares" for name in part.before if name in there]
    facts += [f"stands inside {name!r}, as that declares" for name, other in there.items() if part.name in other.before]
    facts += [f"stands outside {name!r}, as that declares" for name, other in there.items() if part.name in other.after]
    facts += [f"serves {list_names(sorted(part.scopes))} in {'ASGI' if part.form == 'asgi' else 'hook'} form"]
    facts += [_describe_source(plan, need) for need in layer.needs]
    return Explanation(part.name, place, _describe_origin(part), facts=tuple(facts))


def _describe_source(plan: Plan, need: Need, component: str | None = None) -> str:
    chains = plan.providers.find_chains(need)
    if need.decorated and component is not None:
        inner = plan.providers.decorated[component]
        place = inner.decorators.index(component)
        source = str(replace(inner, decorators=inner.decorators[:place]))
        return f"takes {need} from {source}, and provides its own to everybody else"
    if chains:
        source = join_words(map(str, chains))
        if may_be_missing(plan, need):
            source += f", or {'its default' if need.has_default else 'None'} if that is degraded"
    elif need.kind is Kind.CONTEXT:
        source = "the kernel"
    elif need.kind is Kind.SETTINGS:
        source = "the environment"
    elif need.has_default:
        source = "its default"
    else:
        source = "nobody, so it is None" if need.empty is None else "nobody, so it is empty"
    member = need.key if need.collection is None else Key(need.collection.member)
    omissions = find_omissions(plan.omitted, member) if need.collection is not None or not chains else ()
    missing = "; ".join(f"{each.part.name!r} would provide one, but {each.reason}" for each in omissions)
    return f"takes {need} from {source}" + (f" ({missing})" if missing else "")


def _describe_chains(plan: Plan, name: str) -> Iterator[str]:
    """The place of a part in the chains of decorators."""
    for chains in plan.providers.by_type.values():
        for chain in chains:
            if chain.decorators and name in (chain.provider.name, *chain.decorators):
                yield f"{type_name(chain.type)}: from {chain}"


def _list_replaced(plan: Plan, part: Contribution) -> Iterator[str]:
    origin = plan.replaces.get((group_of(part), part.name))
    if origin is not None:
        yield f"replaces the disabled part of that name ({origin})"


def _describe_origin(part: Contribution) -> str:
    entry_point = part.provenance.entry_point
    return f"{part.provenance}, {entry_point}" if part.provenance.distribution and entry_point else str(part.provenance)
