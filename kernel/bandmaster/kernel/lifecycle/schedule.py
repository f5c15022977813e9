"""Decide which components may start and which may stop. Pure: no I/O, no clock, no event loop."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


class Schedule:
    """The order of starts and stops, kept by counting.

    Components are nodes, numbered in plan order. An edge leads from a node to each follower, a node that waits for it:
    a follower starts after all its leaders, and a leader stops after all its followers. Between two stages stands a
    barrier, a further node that starts by itself when the whole earlier stage has started, and is over when the whole
    later stage has stopped. Stages so cost one edge for each component, and not one for each pair of components.
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
                    self._add_edge(barrier - 1, node)
                if index < len(stages) - 1:
                    self._add_edge(node, barrier)
        for node, leaders in enumerate(waits_for):
            for leader in leaders:
                self._add_edge(leader, node)
        self._unstarted_leaders = [len(leaders) for leaders in self._leaders]
        self._unstopped_followers = [0] * nodes
        self._live = bytearray(nodes)
        self.stopping = False

    def _add_edge(self, leader: int, follower: int) -> None:
        self._followers[leader].append(follower)
        self._leaders[follower].append(leader)

    def list_first(self) -> list[int]:
        """List the components without leaders, which may start at once."""
        return [node for node in range(self._size) if not self._unstarted_leaders[node]]

    def mark_begun(self, node: int) -> None:
        """Record the beginning of a start: the component has to be over before its leaders may stop."""
        self._live[node] = 1

    def mark_started(self, node: int) -> list[int]:
        """Record a start, and list the components that may start now."""
        free: list[int] = []
        passed = [node]
        while passed:
            for follower in self._followers[passed.pop()]:
                self._unstarted_leaders[follower] -= 1
                if not self._unstarted_leaders[follower]:
                    (free if follower < self._size else passed).append(follower)
        return free

    def begin_stop(self) -> None:
        """Turn from starting to stopping: count the followers that each component has to wait for."""
        self.stopping = True
        # A barrier takes part only if a component behind it has begun: otherwise nothing behind it has to stop.
        for node in range(self._size):
            if self._live[node]:
                for leader in self._leaders[node]:
                    if leader >= self._size:
                        self._live[leader] = 1
        for node, live in enumerate(self._live):
            if live:
                for leader in self._leaders[node]:
                    self._unstopped_followers[leader] += 1

    def list_stoppable(self) -> list[int]:
        """List the components that may stop now, since all their followers are over."""
        return [node for node in range(self._size) if self._live[node] and not self._unstopped_followers[node]]

    def mark_over(self, node: int) -> list[int]:
        """Record that a component is over or abandoned, and list the components that may stop now.

        An abandoned component may still end later, so a second call for it does nothing.
        """
        if not self._live[node]:
            return []
        self._live[node] = 0
        if not self.stopping:
            return []
        free: list[int] = []
        passed = [node]  # the node and the barriers that fall with it
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
