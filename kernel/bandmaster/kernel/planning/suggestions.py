"""Names in ``after=`` and ``before=`` that nobody has, and that look like a slip."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from bandmaster.kernel.contributions.model import LifespanContribution, MiddlewareContribution
from bandmaster.kernel.errors import Problem
from bandmaster.kernel.planning.parts import who
from bandmaster.kernel.text import nearest

# Closer than for a name that must be there: an ordering may well name a part that isn't installed.
_ALIKE = 0.75


class Slips:
    """Finds them, for the parts of one group."""

    def __init__(
        self,
        there: Mapping[str, LifespanContribution] | Mapping[str, MiddlewareContribution],
        known: Collection[str],
        problems: list[Problem],
        warnings: list[str],
    ) -> None:
        self._there = there
        self._known = known
        self._problems = problems
        self._warnings = warnings
        self._nearest: dict[str, str | None] = {}

    def check(self, part: LifespanContribution | MiddlewareContribution, other: str, deed: str) -> None:
        """Ordering never implies requirement, so an unknown name is fine, unless it is much like a known one."""
        alike = None if other in self._known else self._alike(part, other)
        if alike is None:
            return
        message = f"{who(part)} is to {deed} {other!r}, which nobody contributes."
        hint = f"Did you mean {alike!r} ({self._there[alike].provenance})?"
        if alike.startswith(other) or other.startswith(alike):
            # 'redis' beside 'redis2': as likely another part as a slip.
            self._warnings.append(f"{message} {hint}")
        else:
            self._problems.append(Problem(message, hint, part.name))

    def _alike(self, part: LifespanContribution | MiddlewareContribution, other: str) -> str | None:
        if other not in self._nearest:
            self._nearest[other] = nearest(other, self._there, cutoff=_ALIKE)
        found = self._nearest[other]
        return found if found != part.name else nearest(other, self._there.keys() - {part.name}, cutoff=_ALIKE)
