"""Deadlines of starts and stops, so that all stops together fit into the platform's grace. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

LONGEST_SHARE = 10.0
"""Seconds: the most that a stop without a declared deadline gets."""
SHORT_SHARE = 1.0
"""Seconds: a plan warns where stops without a declared deadline get less than this."""


TimeoutSource: TypeAlias = Literal["operator", "component", "setting", "grace"]
"""Where a time-out comes from: a setting for this one component, the component's own declaration, the setting for all
components, or an equal share of the grace that draining leaves."""


def name_source(phase: Literal["start", "stop"], source: TimeoutSource) -> str:
    """Where a time-out comes from, in words: the variable, where there is one."""
    variable = f"BANDMASTER_{phase.upper()}_TIMEOUT"
    return {
        "operator": f"{variable}S",
        "component": "as it declares",
        "setting": variable,
        "grace": "an equal share of the grace",
    }[source]


@dataclass(frozen=True, slots=True)
class Deadlines:
    """The settings from which deadlines follow, in seconds."""

    start: float = 30.0
    stop: float | None = None
    """For stops that declare none; None shares ``left_for_stops`` among them."""
    left_for_stops: float = 30.0
    """The part of the grace that draining leaves."""
    starts: Mapping[str, float] = field(default_factory=dict[str, float])
    """The start deadlines of single components, by name, in place of declared ones."""
    stops: Mapping[str, float] = field(default_factory=dict[str, float])
    """The stop deadlines of single components, by name, in place of declared ones."""

    def choose_start(self, name: str, declared: float | None) -> tuple[float, TimeoutSource]:
        """The deadline of a start, and where it comes from."""
        if name in self.starts:
            return self.starts[name], "operator"
        return (self.start, "setting") if declared is None else (declared, "component")

    def choose_stop(self, name: str, declared: float | None) -> tuple[float | None, TimeoutSource]:
        """The deadline of a stop, None for a share of the grace, and where it comes from."""
        if name in self.stops:
            return self.stops[name], "operator"
        if declared is not None:
            return declared, "component"
        return self.stop, "grace" if self.stop is None else "setting"


@dataclass(frozen=True, slots=True)
class StopPath:
    """Components that stop one after another, in start order."""

    names: tuple[str, ...] = ()
    declared: float = 0.0
    """The sum of the stop deadlines that are declared, in seconds."""
    undeclared: int = 0
    """How many components declare no stop deadline."""

    def seconds(self, share: float) -> float:
        """How long the stops take at most, where each undeclared one has ``share`` seconds."""
        return self.declared + self.undeclared * share

    def extend(self, name: str, declared: float | None) -> StopPath:
        """The path with one more component."""
        if declared is None:
            return StopPath((*self.names, name), self.declared, self.undeclared + 1)
        return StopPath((*self.names, name), self.declared + declared, self.undeclared)

    def join(self, other: StopPath) -> StopPath:
        """The path followed by another."""
        return StopPath(self.names + other.names, self.declared + other.declared, self.undeclared + other.undeclared)


def find_slowest_path(
    stages: Sequence[Sequence[str]],
    waits_for: Mapping[str, Sequence[str]],
    declared: Mapping[str, float | None],
    share: float,
) -> StopPath:
    """The path that takes longest to stop: along the edges within a stage, and from stage to stage."""
    whole = StopPath()
    for stage in stages:
        best: dict[str, StopPath] = {}
        for name in stage:
            before = [best[other] for other in waits_for.get(name, ()) if other in best]
            longest = max(before, key=lambda path: path.seconds(share), default=StopPath())
            best[name] = longest.extend(name, declared[name])
        whole = whole.join(max(best.values(), key=lambda path: path.seconds(share)))
    return whole


def share_seconds(
    stages: Sequence[Sequence[str]],
    waits_for: Mapping[str, Sequence[str]],
    declared: Mapping[str, float | None],
    left: float,
) -> tuple[float, StopPath]:
    """The largest equal share, for stops that declare none, with which every path fits into ``left`` seconds.

    At most `LONGEST_SHARE`; zero or negative where the declared stops leave nothing.
    """
    share = LONGEST_SHARE
    while True:
        path = find_slowest_path(stages, waits_for, declared, share)
        if not path.undeclared or fits(path, share, left):
            return share, path
        # Another path may be the slowest with the smaller share. Each round shrinks it, so this ends.
        share = (left - path.declared) / path.undeclared
        if share <= 0:
            return share, path


def fits(path: StopPath, share: float, left: float) -> bool:
    """Whether a path takes no longer than ``left`` seconds, rounding aside."""
    seconds = path.seconds(max(share, 0))
    return seconds <= left or math.isclose(seconds, left)
