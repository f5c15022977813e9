"""Load and plan the target of a command. Nothing is started."""

from __future__ import annotations

from dataclasses import dataclass

from bandmaster.kernel.contributions.model import LifespanContribution
from bandmaster.kernel.errors import Problem
from bandmaster.kernel.hosting.application import Application
from bandmaster.kernel.hosting.default_target import resolve_target
from bandmaster.kernel.hosting.targets import load_application
from bandmaster.kernel.lifecycle.kernel import Kernel
from bandmaster.kernel.planning.budgets import compare_budget, judge_budget
from bandmaster.kernel.planning.plan import Plan
from bandmaster.kernel.planning.start_checks import Findings
from bandmaster.kernel.settings.kernel import KernelSettings
from bandmaster.kernel.text import suggest


@dataclass(frozen=True, slots=True)
class PlannedTarget:
    """A target with the kernel of the role that a command asks for."""

    target: str | None
    application: Application
    """The target, for the role of its own."""
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
        """The name of the target in headings."""
        return name_target(self.target)


def name_target(target: str | None) -> str:
    """The name of a target in headings."""
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
    budget = judge_kernel_budget(kernel)
    warnings = (*kernel.plan.warnings, *app.warnings, *_check_role(role, kernel.plan), *budget.warnings)
    return PlannedTarget(target, app, kernel, budget.problems, warnings)


def judge_kernel_budget(kernel: Kernel) -> Findings:
    """The limits that the budget of a kernel's plan exceeds or nearly exceeds."""
    settings = kernel.settings
    shares = compare_budget(kernel.plan, settings.limits)
    problems, warnings = judge_budget(shares, refuse=settings.over_budget == "refuse")
    return Findings(tuple(problems), tuple(warnings))


def list_roles(plan: Plan) -> set[str]:
    """The roles that parts of a plan name."""
    parts = (part for part in plan.contributions if isinstance(part, LifespanContribution))
    return {role for part in parts for role in part.roles or ()}


def _check_role(role: str | None, plan: Plan) -> list[str]:
    """A warning about a role that no part names: any name is allowed, but this one may be misspelt."""
    known = list_roles(plan)
    if not role or role in known or not known:
        return []
    return [f"no part belongs to role {role!r} in particular.{suggest(role, sorted(known))}"]
