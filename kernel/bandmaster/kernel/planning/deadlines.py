"""How long starts and stops may take, so that all stops fit into the platform's grace."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

LONGEST_SHARE = 10.0
"""Seconds; a stop that declares no deadline never gets more than this."""
SHORT_SHARE = 1.0
"""Seconds; with less than this for each, a warning says so."""


@dataclass(frozen=True, slots=True)
class Deadlines:
    """The kernel's settings that deadlines follow from, in seconds."""

    start: float = 30.0
    stop: float | None = None
    """For stops that declare none; none shares out what is left."""
    left_for_stops: float = 30.0
    """What draining leaves of the grace."""


@dataclass(frozen=True, slots=True)
class Path:
    """The slowest way down through all stages, were every stop to use its deadline up."""

    declared: float
    """Seconds that stops on it have declared."""
    undeclared: int
    """How many stops on it have declared nothing."""

    def seconds(self, share: float) -> float:
        """How long it takes with that share for each undeclared stop."""
        return self.declared + self.undeclared * share


def slowest(
    stages: Sequence[Sequence[str]],
    waits_for: Mapping[str, Sequence[str]],
    declared: Mapping[str, float | None],
    share: float,
) -> Path:
    """The slowest path; within a stage along its edges, from stage to stage in sequence."""
    total, count = 0.0, 0
    for stage in stages:
        best: dict[str, Path] = {}
        for name in stage:
            before = [best[other] for other in waits_for.get(name, ()) if other in best]
            longest = max(before, key=lambda path: path.seconds(share), default=Path(0.0, 0))
            own = declared[name]
            best[name] = (
                Path(longest.declared, longest.undeclared + 1)
                if own is None
                else Path(longest.declared + own, longest.undeclared)
            )
        worst = max(best.values(), key=lambda path: path.seconds(share))
        total, count = total + worst.declared, count + worst.undeclared
    return Path(total, count)


def fair_share(
    stages: Sequence[Sequence[str]],
    waits_for: Mapping[str, Sequence[str]],
    declared: Mapping[str, float | None],
    left: float,
) -> tuple[float, Path]:
    """The largest equal share, for stops that declare nothing, with which every path fits into ``left`` seconds.

    Not above `LONGEST_SHARE`; negative or zero where what is declared leaves nothing.
    """
    share = LONGEST_SHARE
    while True:
        path = slowest(stages, waits_for, declared, share)
        if not path.undeclared or fits(path, share, left):
            return share, path
        # Another path may be the slowest with the smaller share. Each turn shrinks it, so this ends.
        share = (left - path.declared) / path.undeclared
        if share <= 0:
            return share, path


def fits(path: Path, share: float, left: float) -> bool:
    """Whether a path takes no longer than ``left`` seconds, rounding aside."""
    seconds = path.seconds(max(share, 0))
    return seconds <= left or math.isclose(seconds, left)
