"""Find names in ``after=`` and ``before=`` that no part has and that look misspelt. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from bandmaster.kernel.contributions.model import LifespanContribution, MiddlewareContribution
from bandmaster.kernel.errors import Problems
from bandmaster.kernel.planning.parts import describe_part
from bandmaster.kernel.text import find_nearest

# Stricter than for a name that is required: an ordering may name a part that isn't installed.
_CUTOFF = 0.75


class OrderingNames:
    """Checks the names in orderings against the parts of one group."""

    def __init__(
        self,
        parts: Mapping[str, LifespanContribution] | Mapping[str, MiddlewareContribution],
        known: Collection[str],
        problems: Problems,
    ) -> None:
        self._parts = parts
        self._known = known
        self._problems = problems
        # Many parts may name the same missing one, and a search compares it with all others.
        self._nearest: dict[str, str | None] = {}

    def check(self, part: LifespanContribution | MiddlewareContribution, other: str, ordering: str) -> None:
        """Report an unknown name that is much like a known one; any other is fine, for an ordering requires nothing."""
        near = None if other in self._known else self._find_nearest(part, other)
        if near is None:
            return
        message = f"{describe_part(part)} is to {ordering} {other!r}, which nobody contributes."
        hint = f"Did you mean {near!r} ({self._parts[near].provenance})?"
        if near.startswith(other) or other.startswith(near):
            # 'redis' beside 'redis2': as likely another part as a misspelt name.
            self._problems.warn(f"{message} {hint}")
        else:
            self._problems.add(message, hint, part.name)

    def _find_nearest(self, part: LifespanContribution | MiddlewareContribution, other: str) -> str | None:
        if other not in self._nearest:
            self._nearest[other] = find_nearest(other, self._parts, cutoff=_CUTOFF)
        found = self._nearest[other]
        return found if found != part.name else find_nearest(other, self._parts.keys() - {part.name}, cutoff=_CUTOFF)
