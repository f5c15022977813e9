"""Turns of phrase that errors share: near misses, lists, durations."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def near(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """`` Did you mean 'x'?``, or nothing."""
    lowered = {candidate.lower(): candidate for candidate in known}
    matches = get_close_matches(name.lower(), lowered, n=1, cutoff=cutoff)
    return f" Did you mean {lowered[matches[0]]!r}?" if matches else ""


def listed(names: Iterable[str]) -> str:
    """Names as prose: ``'a', 'b' and 'c'``."""
    *most, last = [repr(name) for name in names] or ["nothing"]
    return f"{', '.join(most)} and {last}" if most else last


def duration(seconds: float) -> str:
    """A duration as people read it: ``12 ms``, ``3.4 s``."""
    if seconds < 0.0005:
        return "<1 ms"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f}".removesuffix(".0") + " s"
