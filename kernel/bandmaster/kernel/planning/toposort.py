"""Sort names topologically and find cycles. Pure."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any


def sort(names: Iterable[str], waits_for: Mapping[str, Iterable[str]], rank: Mapping[str, Any]) -> list[str]:
    """Sort names so that each comes after the names to wait for; of several candidates the lowest rank comes first.

    Names in a cycle, and names that wait for one, are left out.
    """
    names = list(names)
    open_edges = dict.fromkeys(names, 0)
    followers: dict[str, list[str]] = {name: [] for name in names}
    for name in names:
        for earlier in set(waits_for.get(name, ())):
            if earlier in followers:
                followers[earlier].append(name)
                open_edges[name] += 1
    heap = [(rank[name], name) for name in names if not open_edges[name]]
    heapq.heapify(heap)
    order = []
    while heap:
        _, name = heapq.heappop(heap)
        order.append(name)
        for follower in followers[name]:
            open_edges[follower] -= 1
            if not open_edges[follower]:
                heapq.heappush(heap, (rank[follower], follower))
    return order


def find_cycles(names: Iterable[str], waits_for: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """Cycles that together cover every name in a cycle, each as ``[a, b, a]`` where ``a`` waits for ``b``."""
    cyclic = _find_cyclic(sorted(names), waits_for)
    found: list[list[str]] = []
    covered: set[str] = set()
    for name in cyclic:
        cycle = [] if name in covered else _find_shortest_cycle(name, cyclic)
        if cycle:
            found.append(cycle)
            covered.update(cycle)
    return found


def _find_cyclic(names: list[str], waits_for: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
    """The names in cycles, and on paths between cycles, each with those of these names to wait for."""
    # First without the names that wait for no cycle, then without those for which no cycle waits.
    rank = dict.fromkeys(names, 0)
    before = set(sort(names, waits_for, rank))
    left = [name for name in names if name not in before]
    awaited_by: dict[str, list[str]] = {name: [] for name in left}
    for name in left:
        for other in waits_for.get(name, ()):
            if other in awaited_by:
                awaited_by[other].append(name)
    behind = set(sort(left, awaited_by, rank))
    inside = {name for name in left if name not in behind}
    return {name: sorted(inside.intersection(waits_for[name])) for name in left if name in inside}


def _find_shortest_cycle(start: str, waits_for: Mapping[str, Iterable[str]]) -> list[str]:
    reached_from: dict[str, str] = {}
    queue = deque([start])
    while queue:
        name = queue.popleft()
        for other in waits_for[name]:
            if other == start:
                path = []
                while name != start:
                    path.append(name)
                    name = reached_from[name]
                return [start, *reversed(path), start]
            if other not in reached_from:
                reached_from[other] = name
                queue.append(other)
    return []
