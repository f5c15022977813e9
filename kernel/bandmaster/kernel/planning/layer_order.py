"""The order of layers, outermost first."""

from __future__ import annotations

from collections.abc import Mapping

from bandmaster.kernel.contributions.model import MiddlewareContribution
from bandmaster.kernel.errors import Problem
from bandmaster.kernel.planning import toposort as ordering
from bandmaster.kernel.planning.parts import Inventory, who
from bandmaster.kernel.planning.suggestions import Slips


def order_layers(parts: Inventory, problems: list[Problem], warnings: list[str]) -> list[str]:
    """The names of the layers by priority, then as they declare, then by name."""
    layers = parts.layers
    outside: dict[str, list[str]] = {name: [] for name in layers}
    slips = Slips(layers, parts.known, problems, warnings)
    for name, layer in layers.items():
        for side, others in (("inside", layer.after), ("outside", layer.before)):
            for other in others:
                inner, outer = (name, other) if side == "inside" else (other, name)
                if other == name:
                    problems.append(Problem(f"{who(layer)} is to stand {side} itself.", subject=name))
                elif other not in layers:
                    slips.check(layer, other, f"stand {side}")
                elif layers[inner].priority < layers[outer].priority:
                    problems.append(_against_priorities(layer, layers[other], side))
                else:
                    outside[inner].append(outer)
    problems += [_cycle(cycle, layers) for cycle in ordering.cycles(layers, outside)]
    return ordering.sort(layers, outside, {name: layer.priority for name, layer in layers.items()})


def _against_priorities(layer: MiddlewareContribution, other: MiddlewareContribution, side: str) -> Problem:
    return Problem(
        f"{who(layer)} is to stand {side} {who(other)}, against their priorities ({layer.priority} and "
        f"{other.priority}; lower is further out).",
        "Change one of the priorities, or take the before= or after= away.",
        layer.name,
    )


def _cycle(cycle: list[str], layers: Mapping[str, MiddlewareContribution]) -> Problem:
    brought_by = ", ".join(f"{name!r} ({layers[name].provenance})" for name in cycle[:-1])
    return Problem(
        f"layers {' → '.join(cycle)} are each to stand inside the next: {brought_by}.",
        "Take one of their before= or after= away.",
        cycle[0],
    )
