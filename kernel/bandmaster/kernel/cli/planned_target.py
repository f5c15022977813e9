"""Load and plan the target of a command. Nothing is started."""

from __future__ import annotations

from dataclasses import dataclass

from bandmaster.kernel.contributions.model import LifespanContribution
from bandmaster.kernel.errors import Problem
from bandmaster.kernel.hosting.default_target import resolve_target
from bandmaster.kernel.hosting.targets import load_application
from bandmaster.kernel.lifecycle.kernel import Kernel
from bandmaster.kernel.planning.budgets import compare_budget, judge_budget
from bandmaster.kernel.planning.plan import Plan
from bandmaster.kernel.settings.kernel import KernelSettings
from bandmaster.kernel.text import suggest


@dataclass(frozen=True, slots=True)
class PlannedTarget:
    """A target with the kernel of the role that a command asks for."""

    target: str | None
    kernel: Kernel
    problems: tuple[Problem, ...]
    """The problems for which the kernel would refuse to start, although there is a plan."""
    warnings: tuple[str, ...]

    @property
    def plan(self) -> Plan:
        """The kernel's plan."""
        return self.kernel.plan

    @property
    def title(self) -> str:
        """The target as headings name it."""
        return name_target(self.target)


def name_target(target: str | None) -> str:
    """A target as headings name it."""
    return target or "everything installed"


def plan_target(
    target: str | None, app_dir: str = ".", role: str | None = None, *, settings: KernelSettings | None = None
) -> PlannedTarget:
    """Load and plan a target, for another role than the target's own if one is named.

    Raises:
        TargetError, DiscoveryError, PlanError: the target can't be imported, its parts can't be loaded or planned.
    """
    target, app_dir = resolve_target(target, app_dir)
    app = load_application(target, app_dir, role=role or "web", settings=settings)
    kernel = app.kernel if role in (None, app.kernel.role) else app.kernel.for_role(role)
    problems, over_budget = judge_budget(
        compare_budget(kernel.plan, kernel.settings.limits), refuse=kernel.settings.over_budget == "refuse"
    )
    warnings = (*kernel.plan.warnings, *app.warnings, *_check_role(role, kernel.plan), *over_budget)
    return PlannedTarget(target, kernel, tuple(problems), warnings)


def _check_role(role: str | None, plan: Plan) -> list[str]:
    """A warning about a role that no part names: any name is allowed, but this one may be misspelt."""
    known = {name for part in plan.contributions if isinstance(part, LifespanContribution) for name in part.roles or ()}
    if not role or role in known or not known:
        return []
    return [f"no part belongs to role {role!r} in particular.{suggest(role, sorted(known))}"]
