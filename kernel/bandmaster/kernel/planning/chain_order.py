"""Order the decorators of one type: by priority, then by the order that other edges demand, then by name. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from bandmaster.kernel.contributions.model import LifespanContribution
from bandmaster.kernel.contributions.signatures import Need
from bandmaster.kernel.planning import toposort
from bandmaster.kernel.planning.providers import Providers


def sort_decorators(
    running: Mapping[str, LifespanContribution], needs: Mapping[str, Sequence[Need]], providers: Providers
) -> list[str]:
    """Every decorator of a plan; those of one chain come innermost first."""
    chains = {id(chain): chain for chain in providers.decorated.values()}
    several = sorted(
        (chain for chain in chains.values() if len(chain.decorators) > 1), key=lambda chain: chain.decorators
    )
    if not several:
        return list(providers.decorated)
    # Whoever asks for a decorated object waits for the whole chain, in whichever order the chain will be.
    waits_for = {name: _list_awaited(part, needs[name], providers) for name, part in running.items()}
    for name, part in running.items():
        for other in part.before:
            waits_for.get(other, set()).add(name)
    chained: list[str] = []
    for chain in several:
        before = {name: _find_reachable(name, waits_for).intersection(chain.decorators) for name in chain.decorators}
        rank = {name: running[name].priority for name in chain.decorators}
        order = toposort.sort(chain.decorators, before, rank)
        # Decorators in a cycle have no order; the cycle is a problem of the plan.
        order += [name for name in chain.decorators if name not in order]
        for inner, outer in pairwise(order):
            waits_for[outer].add(inner)
        chained += order
    return [*(name for name in providers.decorated if name not in chained), *chained]


def _list_awaited(part: LifespanContribution, needs: Iterable[Need], providers: Providers) -> set[str]:
    awaited = {*part.requires, *part.after}
    for need in needs:
        if need.decorated:
            chain = providers.decorated.get(part.name)
            awaited |= {chain.provider.name} if chain is not None and chain.provider.kind == "component" else set()
        else:
            awaited.update(name for chain in providers.find_chains(need) for name in chain.components)
    return awaited - {part.name}


def _find_reachable(start: str, waits_for: Mapping[str, Iterable[str]]) -> set[str]:
    """Every name for which one waits, directly or by others."""
    found: set[str] = set()
    waiting = [start]
    while waiting:
        for other in waits_for.get(waiting.pop(), ()):
            if other not in found:
                found.add(other)
                waiting.append(other)
    return found - {start}
