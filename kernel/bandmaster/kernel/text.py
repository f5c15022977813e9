"""Text for people: near misses, lists and durations."""

from __future__ import annotations

from collections.abc import Iterable


def suggest(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """`` Did you mean 'x'?`` with the nearest known name, or nothing."""
    found = find_nearest(name, known, cutoff=cutoff)
    return "" if found is None else f" Did you mean {found!r}?"


def find_nearest(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """The known name that is most like ``name``, regardless of upper and lower case; None if no name is close."""
    from difflib import get_close_matches  # needed only once something is misspelt

    # In order, so that the same names give the same answer.
    lowered = {candidate.lower(): candidate for candidate in sorted(known, reverse=True)}
    matches = get_close_matches(name.lower(), lowered, n=1, cutoff=cutoff)
    return lowered[matches[0]] if matches else None


def list_names(names: Iterable[str]) -> str:
    """Names as a list in a sentence: ``'a', 'b' and 'c'``."""
    return join_words(map(repr, names)) or "nothing"


def join_words(words: Iterable[str]) -> str:
    """Words or phrases as a list in a sentence: ``a layer, a value and a component``."""
    *most, last = list(words) or [""]
    return f"{', '.join(most)} and {last}" if most else last


def count_noun(count: int, one: str, many: str = "") -> str:
    """A number with its noun: ``no layers``, ``1 layer``, ``2 layers``."""
    return f"{count or 'no'} {one if count == 1 else many or f'{one}s'}"


def render_duration(seconds: float) -> str:
    """A duration with a unit: ``12 ms``, ``3.4 s``."""
    if seconds <= 0.0005:
        return "<1 ms"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f}".removesuffix(".0") + " s"
