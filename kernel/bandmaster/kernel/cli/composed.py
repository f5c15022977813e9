"""A target as the commands look at it: planned, not started."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bandmaster.kernel.contributions.model import Contribution, LifespanContribution
from bandmaster.kernel.discovery.trust import LeftOut
from bandmaster.kernel.hosting.targets import load_application
from bandmaster.kernel.lifecycle.context import Context
from bandmaster.kernel.lifecycle.kernel import Kernel
from bandmaster.kernel.planning.deadlines import Deadlines
from bandmaster.kernel.planning.make import make_plan
from bandmaster.kernel.planning.plan import Plan
from bandmaster.kernel.settings.kernel import KernelSettings
from bandmaster.kernel.settings.reading import read_settings
from bandmaster.kernel.text import near


@dataclass(frozen=True, slots=True)
class Composed:
    """What a target is composed to."""

    target: str | None
    kernel: Kernel
    plan: Plan
    """The kernel's own, unless another role was asked for."""
    warnings: tuple[str, ...]

    @property
    def title(self) -> str:
        """The target as people say it."""
        return self.target or "everything installed"


def compose(
    target: str | None, app_dir: str = ".", role: str | None = None, *, settings: KernelSettings | None = None
) -> Composed:
    """Load and plan a target, for a role other than its own if one is named.

    Raises:
        TargetError, DiscoveryError, PlanError: it can't be had, loaded, or planned.
    """
    app = load_application(target, app_dir, role=role or "web", settings=settings)
    plan = app.plan if not role or role == app.plan.role else plan_for(app.kernel, role)
    return Composed(target, app.kernel, plan, (*plan.warnings, *app.warnings, *_strange(role, app.kernel)))


def _strange(role: str | None, kernel: Kernel) -> list[str]:
    """A word on a role that no part knows: any name is allowed, but it may be a slip."""
    known = {name for part in parts_of(kernel) if isinstance(part, LifespanContribution) for name in part.roles or ()}
    if not role or role in known or not known:
        return []
    return [f"no part belongs to role {role!r} in particular.{near(role, sorted(known))}"]


def plan_for(kernel: Kernel, role: str | None) -> Plan:
    """The plan that a kernel's parts make for another role.

    Raises:
        PlanError: for that role they don't fit together.
    """
    settings = kernel.settings
    return make_plan(
        parts_of(kernel),
        role=role,
        overrides=kernel.plan.overrides,
        read_settings=read_settings,
        context=Context,
        deadlines=deadlines_of(settings),
        processes=settings.processes,
        known=left_out_names(settings, kernel.discovery.left_out),
        warnings=kernel.discovery.warnings,
    )


def left_out_names(settings: KernelSettings, left_out: Iterable[LeftOut]) -> list[str]:
    """The names of parts that exist but aren't in a plan."""
    disabled = [word.rpartition(":")[2] for word in settings.disable]
    return [*disabled, *(part.found.name for part in left_out)]


def deadlines_of(settings: KernelSettings) -> Deadlines:
    """What deadlines follow from."""
    return Deadlines(start=settings.start_timeout, stop=settings.stop_timeout, left_for_stops=settings.left_for_stops)


def parts_of(kernel: Kernel) -> list[Contribution]:
    """Everything that a kernel was given and has found, whether or not its role starts it."""
    plan = kernel.plan
    placed: list[Contribution] = [
        *(component.contribution for component in plan.components),
        *plan.other_roles,
        *plan.unserved,
        *(layer.contribution for layer in plan.layers),
        *plan.routes,
        *plan.error_handlers,
    ]
    # What an override replaces stands in no plan; those that were installed are known all the same.
    there = {id(part) for part in placed}
    return [*placed, *(part for part in kernel.discovery.contributions if id(part) not in there)]
