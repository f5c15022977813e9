"""What a plan may hold, against what is allowed. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bandmaster.kernel.errors import Problem
from bandmaster.kernel.planning.plan import Plan

_CLOSE = 0.8


@dataclass(frozen=True, slots=True)
class Share:
    """One resource, as one process and as all of them may hold it."""

    resource: str
    each: int
    total: int
    limit: int | None
    """What the setting ``limits`` allows; none if it doesn't say."""

    @property
    def is_over(self) -> bool:
        """Whether it is more than is allowed."""
        return self.limit is not None and self.total > self.limit

    @property
    def is_close(self) -> bool:
        """Whether it is more than 80 % of what is allowed, if not more than all."""
        return self.limit is not None and not self.is_over and self.total > _CLOSE * self.limit

    @property
    def percent(self) -> str:
        """How much of what is allowed it is."""
        return f"{self.total / self.limit:.0%}" if self.limit else ""


def shares(plan: Plan, limits: Mapping[str, int]) -> list[Share]:
    """Every resource of the plan's budget."""
    return [
        Share(resource, each, each * plan.processes, limits.get(resource)) for resource, each in plan.budget.items()
    ]


def judged(plan: Plan, limits: Mapping[str, int], *, refuse: bool) -> tuple[list[Problem], list[str]]:
    """Problems and warnings of a plan's budget; without ``refuse`` what is too much is a warning as well.

    Only limits that are set are known before the start: it is then that servers are asked.
    """
    problems: list[Problem] = []
    warnings: list[str] = []
    for share in shares(plan, limits):
        message = (
            f"the plan may hold {share.total} of {share.resource} ({share.each} in each of {plan.processes} "
            f"process{'' if plan.processes == 1 else 'es'}), "
            f"{share.percent or 'more than all'} of the {share.limit} that BANDMASTER_LIMITS allows."
        )
        if share.is_over and refuse:
            hint = "Lower pool sizes or processes, raise the limit, or set BANDMASTER_OVER_BUDGET=warn."
            problems.append(Problem(message, hint, share.resource))
        elif share.is_over or share.is_close:
            warnings.append(message)
    return problems, warnings
