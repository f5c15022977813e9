"""Order the layers of the request stack, outermost first. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from bandmaster.kernel.contributions.model import MiddlewareContribution
from bandmaster.kernel.errors import Problem, Problems
from bandmaster.kernel.planning import toposort
from bandmaster.kernel.planning.misspelt_names import OrderingNames
from bandmaster.kernel.planning.parts import Parts, describe_part


def order_layers(parts: Parts, problems: Problems) -> list[str]:
    """The names of the layers by priority, then by ``before`` and ``after``, then by name."""
    layers = parts.layers
    outside: dict[str, list[str]] = {name: [] for name in layers}
    names = OrderingNames(layers, parts.known, problems)
    for name, layer in layers.items():
        for side, others in (("inside", layer.after), ("outside", layer.before)):
            for other in others:
                inner, outer = (name, other) if side == "inside" else (other, name)
                if other == name:
                    problems.add(f"{describe_part(layer)} is to stand {side} itself.", subject=name)
                elif other not in layers:
                    names.check(layer, other, f"stand {side}")
                elif layers[inner].priority < layers[outer].priority:
                    problems.extend([_describe_contradiction(layer, layers[other], side)])
                else:
                    outside[inner].append(outer)
    problems.extend(_describe_cycle(cycle, layers) for cycle in toposort.find_cycles(layers, outside))
    return toposort.sort(layers, outside, {name: layer.priority for name, layer in layers.items()})


def _describe_contradiction(layer: MiddlewareContribution, other: MiddlewareContribution, side: str) -> Problem:
    return Problem(
        f"{describe_part(layer)} is to stand {side} {describe_part(other)}, against their priorities ({layer.priority} "
        f"and {other.priority}; lower is further out).",
        "Change one of the priorities, or take the before= or after= away.",
        layer.name,
    )


def _describe_cycle(cycle: list[str], layers: Mapping[str, MiddlewareContribution]) -> Problem:
    brought_by = ", ".join(f"{name!r} ({layers[name].provenance})" for name in cycle[:-1])
    return Problem(
        f"layers {' → '.join(cycle)} are each to stand inside the next: {brought_by}.",
        "Take one of their before= or after= away.",
        cycle[0],
    )
