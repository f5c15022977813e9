"""Turns of phrase that errors share: near misses, lists, durations."""

from __future__ import annotations

from collections.abc import Iterable


def near(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """`` Did you mean 'x'?``, or nothing."""
    found = nearest(name, known, cutoff=cutoff)
    return "" if found is None else f" Did you mean {found!r}?"


def nearest(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """The known name that is most like ``name``, if one is; upper and lower case are alike."""
    from difflib import get_close_matches  # needed only once something is misspelt

    # In order, so that the same names give the same answer.
    lowered = {candidate.lower(): candidate for candidate in sorted(known, reverse=True)}
    matches = get_close_matches(name.lower(), lowered, n=1, cutoff=cutoff)
    return lowered[matches[0]] if matches else None


def listed(names: Iterable[str]) -> str:
    """Names as prose: ``'a', 'b' and 'c'``."""
    *most, last = [repr(name) for name in names] or ["nothing"]
    return f"{', '.join(most)} and {last}" if most else last


def duration(seconds: float) -> str:
    """A duration as people read it: ``12 ms``, ``3.4 s``."""
    if seconds <= 0.0005:
        return "<1 ms"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f}".removesuffix(".0") + " s"
