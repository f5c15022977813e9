"""Find the reasons for which `run`, `worker` or `scheduler` would refuse a target. Nothing is started."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bandmaster.kernel.cli.installed import find_installed
from bandmaster.kernel.cli.known_settings import find_idle_variables, find_unread_variables
from bandmaster.kernel.cli.planned_target import PlannedTarget, judge_kernel_budget, list_roles
from bandmaster.kernel.contributions.model import CheckContribution
from bandmaster.kernel.discovery.loading import load
from bandmaster.kernel.errors import BandmasterError, DiscoveryError, PlanError, Problem
from bandmaster.kernel.planning.parts import describe_part
from bandmaster.kernel.planning.start_checks import EventLoop, Findings, check_start
from bandmaster.kernel.process.servers.interface import make_server
from bandmaster.kernel.process.servers.settings import ServerSettings
from bandmaster.kernel.process.servers.sockets import find_path_problem
from bandmaster.kernel.settings.reading import load_settings

if TYPE_CHECKING:
    from bandmaster.kernel.hosting.application import Application
    from bandmaster.kernel.lifecycle.kernel import Kernel


@dataclass(frozen=True, slots=True)
class Judgement:
    """The findings for all roles of a target."""

    findings: Findings
    notes: tuple[str, ...] = ()
    """Sentences about roles for which the environment has no use."""


def judge(planned: PlannedTarget, *, asks_for_role: bool) -> Judgement:
    """Everything that would be refused or warned of when the target is served, and when its other roles run.

    With ``asks_for_role`` the role of the plan is judged alone, and counts although the environment doesn't use
    that role.
    """
    kernel = planned.kernel
    findings = Findings(planned.problems, planned.warnings)
    with kernel.use_environment():
        server, event_loop = judge_server(serves=not asks_for_role or kernel.role in (None, "web"))
        ignored = kernel.settings.other_variables
        unread = find_unread_variables(kernel.plan.contributions, ignored)
        unread += find_idle_variables(kernel.plan, ignored)
        findings += server + check_start(kernel.plan, event_loop)
        if kernel is planned.application.kernel:
            findings += check_application(planned.application)
        notes: list[str] = []
        for role in () if asks_for_role else find_other_roles(kernel):
            found = _judge_role(kernel, role, event_loop)
            unavailable = [problem for problem in found.problems if problem.role_unavailable]
            notes += [f"the role {role} has no use here: {problem.message}" for problem in unavailable]
            findings += Findings() if unavailable else _name_role(role, found, findings)
    return Judgement(findings + Findings(warnings=tuple(unread)), tuple(notes))


def judge_server(*, serves: bool = True) -> tuple[Findings, EventLoop]:
    """The problems of the launcher's own settings, and the event loop that they name.

    A process that serves no requests reads the settings too, but needs neither the server nor the address.
    """
    try:
        settings = load_settings(ServerSettings)
        if serves:
            make_server(settings)
    except PlanError as error:
        return Findings(error.problems), EventLoop.ASYNCIO
    except BandmasterError as error:
        return Findings((Problem(str(error)),)), EventLoop.ASYNCIO
    loop = EventLoop.TRIO if settings.runs_on_trio else EventLoop.ASYNCIO
    path = settings.uds if serves else None
    problem = None if path is None else find_path_problem(path)
    return Findings((problem,) if problem else ()), loop


def find_other_roles(kernel: Kernel) -> list[str]:
    """The roles that parts name, without the role of the kernel."""
    return sorted(list_roles(kernel.plan) - {kernel.role, "web"})


def check_application(application: Application) -> Findings:
    """The findings of every check that an installed distribution, or the application itself, contributes."""
    checks: dict[str, CheckContribution] = {}
    findings = Findings()
    left_out = {left.found for left in application.kernel.discovery.left_out}
    for found in find_installed(["bandmaster.checks"]).admission.admitted:
        if found in left_out:
            continue  # the application disables the check
        try:
            part = load(found)
        except DiscoveryError as error:
            findings += Findings(tuple(error.problems))
        else:
            assert isinstance(part, CheckContribution)
            checks[part.name] = part
    for part in application.plan.contributions:
        if isinstance(part, CheckContribution):
            checks[part.name] = part
    for check in checks.values():
        findings += _run_check(check, application)
    return findings


def _judge_role(kernel: Kernel, role: str, event_loop: EventLoop) -> Findings:
    try:
        other = kernel.for_role(role)
    except (PlanError, DiscoveryError) as error:
        return Findings(tuple(error.problems))
    return Findings(warnings=other.plan.warnings) + check_start(other.plan, event_loop) + judge_kernel_budget(other)


def _name_role(role: str, found: Findings, others: Findings) -> Findings:
    """The findings that concern one role alone, with the name of the role."""
    return Findings(
        tuple(
            replace(problem, message=f"role {role}: {problem.message}")
            for problem in found.problems
            if problem not in others.problems
        ),
        tuple(f"role {role}: {warning}" for warning in found.warnings if warning not in others.warnings),
    )


def _run_check(part: CheckContribution, application: Application) -> Findings:
    try:
        results = list(part.check(application))
    except Exception as error:  # noqa: BLE001  # a distribution's own function; its error is one problem of several
        message = f"{describe_part(part)} failed: {type(error).__name__}: {error}."
        return Findings(tuple(getattr(error, "problems", ())) or (Problem(message, subject=part.name),))
    problems = [replace(one, subject=one.subject or part.name) for one in results if isinstance(one, Problem)]
    return Findings(tuple(problems), tuple(str(one) for one in results if not isinstance(one, Problem)))
