"""Order out of edges: topological, ties by key, cycles drawn. Pure."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any


def sort(names: Iterable[str], waits_for: Mapping[str, Iterable[str]], rank: Mapping[str, Any]) -> list[str]:
    """Names in an order in which each comes after all that it waits for; where several may come, the lowest rank.

    What stands in a cycle, or waits for one, is left out.
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


def cycles(names: Iterable[str], waits_for: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """Cycles that together hold every name that is in one, each as ``[a, b, a]`` where a waits for b."""
    knotted = _knotted(sorted(names), waits_for)
    found: list[list[str]] = []
    drawn: set[str] = set()
    for name in knotted:
        cycle = [] if name in drawn else _shortest_way_back(name, knotted)
        if cycle:
            found.append(cycle)
            drawn.update(cycle)
    return found


def _knotted(names: list[str], waits_for: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
    """What is left without those that wait for no cycle, and without those that no cycle waits for."""
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


def _shortest_way_back(start: str, waits_for: Mapping[str, Iterable[str]]) -> list[str]:
    reached_from: dict[str, str] = {}
    queue = deque([start])
    while queue:
        name = queue.popleft()
        for other in waits_for[name]:
            if other == start:
                way = []
                while name != start:
                    way.append(name)
                    name = reached_from[name]
                return [start, *reversed(way), start]
            if other not in reached_from:
                reached_from[other] = name
                queue.append(other)
    return []
