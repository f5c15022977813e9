"""Who may start and who may stop, by counting. Pure: no I/O, no clock, no loop."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


class Schedule:
    """The counts behind the order of starts and stops.

    Components are numbered in plan order. Between two stages stands a barrier, a node that starts by itself when the
    whole earlier stage has started, and is over when the whole later stage has stopped: so stages cost one edge for
    each component, not one for each pair.
    """

    __slots__ = ("_followers", "_leaders", "_live", "_size", "_unstarted_leaders", "_unstopped_followers", "stopping")

    def __init__(self, stages: Sequence[Sequence[int]], waits_for: Sequence[Iterable[int]]) -> None:
        self._size = len(waits_for)
        nodes = self._size + max(len(stages) - 1, 0)
        self._followers: list[list[int]] = [[] for _ in range(nodes)]
        self._leaders: list[list[int]] = [[] for _ in range(nodes)]
        for index, stage in enumerate(stages):
            barrier = self._size + index
            for node in stage:
                if index:
                    self._edge(barrier - 1, node)
                if index < len(stages) - 1:
                    self._edge(node, barrier)
        for node, leaders in enumerate(waits_for):
            for leader in leaders:
                self._edge(leader, node)
        self._unstarted_leaders = [len(leaders) for leaders in self._leaders]
        self._unstopped_followers = [0] * nodes
        self._live = bytearray(nodes)
        self.stopping = False

    def _edge(self, leader: int, follower: int) -> None:
        self._followers[leader].append(follower)
        self._leaders[follower].append(leader)

    def first(self) -> list[int]:
        """Those that wait for nobody."""
        return [node for node in range(self._size) if not self._unstarted_leaders[node]]

    def begun(self, node: int) -> None:
        """Its start has begun, so it has to be over before what it waited for may stop."""
        self._live[node] = 1

    def started(self, node: int) -> list[int]:
        """It has started: those that may start now."""
        free: list[int] = []
        passed = [node]
        while passed:
            for follower in self._followers[passed.pop()]:
                self._unstarted_leaders[follower] -= 1
                if not self._unstarted_leaders[follower]:
                    (free if follower < self._size else passed).append(follower)
        return free

    def stop(self) -> None:
        """Nothing starts any more."""
        self.stopping = True
        for node in range(self._size):
            if self._live[node]:
                self._mark_barriers(node)
        for node, live in enumerate(self._live):
            if live:
                for leader in self._leaders[node]:
                    self._unstopped_followers[leader] += 1

    def _mark_barriers(self, node: int) -> None:
        for leader in self._leaders[node]:
            if leader >= self._size:
                self._live[leader] = 1

    def free(self) -> list[int]:
        """All that may stop now, since everything that waited for them is over."""
        return [node for node in range(self._size) if self._live[node] and not self._unstopped_followers[node]]

    def over(self, node: int) -> list[int]:
        """It has stopped, or will never be waited for again: those that may stop now. Saying so twice is harmless."""
        if not self._live[node]:
            return []
        self._live[node] = 0
        if not self.stopping:
            return []
        free: list[int] = []
        passed = [node]
        while passed:
            for leader in self._leaders[passed.pop()]:
                self._unstopped_followers[leader] -= 1
                if not self._unstopped_followers[leader] and self._live[leader]:
                    if leader < self._size:
                        free.append(leader)
                    else:
                        self._live[leader] = 0
                        passed.append(leader)
        return free
