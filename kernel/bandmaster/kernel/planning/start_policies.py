"""Choose the reaction to a failed start of each component, and find parts that can't do without one. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bandmaster.kernel.contributions.model import LifespanContribution, OnStartFailure
from bandmaster.kernel.contributions.signatures import Need
from bandmaster.kernel.errors import Problems
from bandmaster.kernel.planning.parts import Parts, describe_part
from bandmaster.kernel.planning.wiring import Wiring, render_key
from bandmaster.kernel.text import list_names, render_duration

if TYPE_CHECKING:
    from bandmaster.kernel.planning.plan import Component, Layer, Plan

VARIABLE = "BANDMASTER_ON_START_FAILURE"


@dataclass(frozen=True, slots=True)
class StartPolicy:
    """The reaction to a failed start of one component."""

    reaction: OnStartFailure = "stop"
    setting: str = ""
    """The environment variable that has chosen the reaction; empty for the component's own declaration."""

    def __str__(self) -> str:
        return f"{self.reaction}, by {self.setting}" if self.setting else self.reaction


def choose_policies(
    running: Mapping[str, LifespanContribution], chosen: Mapping[str, OnStartFailure]
) -> dict[str, StartPolicy]:
    """The policy of each component: the choice of operators by name, else the component's own declaration."""
    return {
        name: StartPolicy(chosen[name], VARIABLE) if name in chosen else StartPolicy(part.on_start_failure)
        for name, part in running.items()
    }


def check_reliance(parts: Parts, wiring: Wiring, policies: Mapping[str, StartPolicy], problems: Problems) -> None:
    """Report each part that can't do without a component that may be degraded, unless the part may degrade as well."""
    degradable = {name for name, policy in policies.items() if policy.reaction == "degrade"}

    def report(asked: str, subject: str, moves: str, provider: str) -> None:
        may_be_missing = f"{describe_part(wiring.running[provider])} may be missing"
        message = f"{asked}, but {may_be_missing}: its on_start_failure is {policies[provider]}."
        problems.add(message, f"{moves}, or choose another policy for {provider!r}: stop or retry.", subject)

    def find_uncertain(needs: Iterable[Need], component: str | None = None) -> Iterator[tuple[Need, str]]:
        for need in needs:
            if (provider := _find_indispensable(wiring, need, component)) in degradable:
                yield need, provider

    for name in sorted(wiring.running.keys() - degradable):
        asker, also = describe_part(wiring.running[name]), f"let {name!r} degrade as well"
        for need, provider in find_uncertain(wiring.needs[name], name):
            report(f"{asker} needs {render_key(need.key)}", name, f"Ask for {need.key} | None, {also}", provider)
        for other in wiring.running[name].requires:
            if other in degradable:
                report(f"{asker} requires {other!r}", name, f"Order it by after=, {also}", other)
    for name, needs in wiring.layer_needs.items():
        for need, provider in find_uncertain(needs):
            asked = f"{describe_part(parts.layers[name])} needs {render_key(need.key)}"
            report(asked, name, f"Ask for {need.key} | None", provider)


def find_reliance(wiring: Wiring, name: str) -> tuple[str, ...]:
    """The components without which a component isn't started: providers of needs, and components required by name."""
    providers = (_find_indispensable(wiring, need, name) for need in wiring.needs[name])
    required = (other for other in wiring.running[name].requires if other in wiring.running)
    return tuple(sorted({other for other in (*providers, *required) if other not in ("", name)}))


def _find_indispensable(wiring: Wiring, need: Need, component: str | None) -> str:
    """The component that provides a parameter which has to have a value; empty if there is none.

    A collection has to have none: its member is missing where a component is degraded.
    """
    is_collection = need.collection is not None and need.key not in wiring.providers.by_key
    sources = () if need.optional or is_collection else wiring.providers.find_sources(need, component)
    return sources[0].name if len(sources) == 1 and sources[0].kind == "component" else ""


def may_be_missing(plan: Plan, need: Need) -> bool:
    """Whether an optional parameter gets no value if the component that provides the value is degraded."""
    return need.optional and any(
        source.kind == "component" and plan.by_name[source.name].on_start_failure.reaction == "degrade"
        for source in plan.providers.find_sources(need)
        if need.collection is None
    )


def describe_policy(plan: Plan, component: Component) -> Iterator[str]:
    """Sentences without a subject about a component's policy; none for a plain ``stop`` that relies on no other."""
    policy = component.on_start_failure
    source = f", by {policy.setting}" if policy.setting else ""
    if policy.reaction == "retry":
        limit = render_duration(component.start_timeout)
        yield f"is tried again if its start fails, for {limit} in all{source}"
    elif policy.reaction == "degrade":
        yield f"is left out if its start fails{_describe_consequences(plan, component)}{source}"
    elif policy.setting:
        yield f"ends the run if its start fails{source}"
    lost = [name for name in component.relies_on if plan.by_name[name].on_start_failure.reaction == "degrade"]
    if lost:
        yield f"is left out if {list_names(lost)} {'are' if len(lost) > 1 else 'is'}"


def _describe_consequences(plan: Plan, component: Component) -> str:
    relying = [other.name for other in plan.components if component.name in other.relies_on]
    parts: list[Component | Layer] = [*plan.components, *plan.layers]
    asking = [part.name for part in parts if any(_asks_for(plan, need, component.name) for need in part.needs)]
    consequences = [f"{list_names(asking)} then {'get' if len(asking) > 1 else 'gets'} None"] if asking else []
    consequences += [f"{list_names(relying)} {'are' if len(relying) > 1 else 'is'} left out as well"] if relying else []
    return f" ({'; '.join(consequences)})" if consequences else ""


def _asks_for(plan: Plan, need: Need, component: str) -> bool:
    return may_be_missing(plan, need) and component in (source.name for source in plan.providers.find_sources(need))
