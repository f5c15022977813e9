"""The most that components may hold of each resource, and how that compares with limits. Pure."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bandmaster.kernel.contributions.checks import check_budget
from bandmaster.kernel.contributions.keys import type_name
from bandmaster.kernel.contributions.model import LifespanContribution
from bandmaster.kernel.contributions.places import find_place
from bandmaster.kernel.contributions.signatures import Kind, Need, parameters, read_needs
from bandmaster.kernel.errors import Problem, Problems, SignatureError
from bandmaster.kernel.planning.parts import describe_part
from bandmaster.kernel.planning.plan import Plan
from bandmaster.kernel.text import list_names


def evaluate_budget(
    part: LifespanContribution, needs: Sequence[Need], settings: Mapping[type[Any], Any], problems: Problems
) -> Mapping[str, int]:
    """The budget of a component in numbers; empty, with a problem, where the budget function fails."""
    if not callable(part.budget):
        return part.budget
    settings_types = list(dict.fromkeys(need.key.type for need in needs if need.kind is Kind.SETTINGS))
    try:
        wanted = read_settings_parameters(part.budget, settings_types)
        if any(kind not in settings for kind in wanted.values()):
            return {}  # the settings can't be read, which is among the problems already
        return check_budget(part.budget(**{name: settings[kind] for name, kind in wanted.items()}))
    except ValueError as error:
        reason = str(error)
    except Exception as error:  # noqa: BLE001  # a part's own function; its error is one problem of several
        reason = f"{type(error).__name__}: {error}"
    place = f" ({find_place(part.budget)})" if callable(part.budget) else ""
    problems.add(f"{describe_part(part)}: its budget can't be had: {reason}{place}.", subject=part.name)
    return {}


def read_settings_parameters(function: Callable[..., Any], settings_types: Sequence[type[Any]]) -> dict[str, type[Any]]:
    """The settings type for each parameter of a function of a component's settings.

    Raises:
        SignatureError: the function asks for something else than the settings of the component.
    """
    required = [parameter for parameter in parameters(function) if parameter.default is parameter.empty]
    if len(required) == len(settings_types) == 1 and required[0].annotation is inspect.Parameter.empty:
        return {required[0].name: settings_types[0]}
    wanted = {
        need.parameter: need.key.type
        for need in read_needs(function)
        if not need.has_default or need.key.type in settings_types
    }
    others = [kind for kind in wanted.values() if kind not in settings_types]
    if others:
        raise SignatureError(f"it asks for {list_names(map(type_name, others))}, which isn't among its settings")
    return wanted


@dataclass(frozen=True, slots=True)
class BudgetShare:
    """The most that a plan may hold of one resource, and the limit of that resource."""

    resource: str
    each: int
    """The most that one process may hold."""
    processes: int
    limit: int | None
    """None if no limit is known."""
    limited_by: str = "BANDMASTER_LIMITS"

    @property
    def total(self) -> int:
        """The most that all processes together may hold."""
        return self.each * self.processes

    @property
    def is_over(self) -> bool:
        """Whether the total is above the limit."""
        return self.limit is not None and self.total > self.limit

    @property
    def is_close(self) -> bool:
        """Whether the total is above 80 % of the limit, and not above the limit itself."""
        # In whole numbers: 0.8 times a number may come out just below it.
        return self.limit is not None and not self.is_over and self.total * 5 > self.limit * 4

    @property
    def percent(self) -> str:
        """The total as a percentage of the limit; empty without a limit, or with a limit of zero."""
        return f"{self.total / self.limit:.0%}" if self.limit else ""

    def __str__(self) -> str:
        processes = "one process" if self.processes == 1 else f"each of {self.processes} processes"
        return (
            f"the plan may hold {self.total} of {self.resource} ({self.each} in {processes}), "
            f"{self.percent or 'more than all'} of the {self.limit} that {self.limited_by} allows"
        )


TO_REDUCE = "Lower pool sizes or processes, raise the limit, or set BANDMASTER_OVER_BUDGET=warn."
"""The hint for a budget above the limit."""


def compare_budget(plan: Plan, limits: Mapping[str, int]) -> list[BudgetShare]:
    """Every resource of the plan's budget, with the limit where one is set."""
    return [BudgetShare(resource, each, plan.processes, limits.get(resource)) for resource, each in plan.budget.items()]


def judge_budget(shares: Sequence[BudgetShare], *, refuse: bool) -> tuple[list[Problem], list[str]]:
    """The problems and the warnings of budget shares; unless ``refuse``, a share above the limit is a warning, too."""
    problems = [Problem(f"{share}.", TO_REDUCE, share.resource) for share in shares if share.is_over and refuse]
    warnings = [f"{share}." for share in shares if share.is_close or (share.is_over and not refuse)]
    return problems, warnings
