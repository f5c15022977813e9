"""Find stores in memory that several processes would have to share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bandmaster.kernel import KernelSettings, Plan, Problem


def find_unshared(
    message: str, hint: str, kernel: KernelSettings, plan: Plan, *kinds: type[Any]
) -> Iterator[Problem | str]:
    """The finding about a store in memory that provides some types, if any part asks for one of them.

    Several processes are refused in production, and warned of elsewhere; one process in production is warned of.
    """
    if not is_asked_for(plan, *kinds):
        return
    if plan.processes > 1:
        shared = f"{message}, which {plan.processes} processes don't share"
        if kernel.is_production:
            yield from kernel.refuse_in_production(shared, hint)
        else:
            yield f"{shared}. {hint}"
    elif kernel.is_production:
        yield f"{message}, and is lost when the process ends. {hint}"


def is_asked_for(plan: Plan, *kinds: type[Any]) -> bool:
    """Whether a component or a layer of the plan asks for one of the types, or for all objects of one."""
    needs = [part.needs for part in plan.components] + [layer.needs for layer in plan.layers]
    asked = [need.key.type if need.collection is None else need.collection.member for each in needs for need in each]
    return any(kind in asked for kind in kinds)
