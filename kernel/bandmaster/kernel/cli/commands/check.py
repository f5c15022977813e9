"""``bandmaster check``: check that everything fits together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from bandmaster.kernel.cli.options import Answer, AppDir, EnvFile, Format, Role, Target, Traceback
from bandmaster.kernel.cli.output import PROBLEM, answering, render_problem_json, show_error, show_json, show_line

if TYPE_CHECKING:
    from bandmaster.kernel.cli.planned_target import PlannedTarget

Strict = Annotated[bool, typer.Option("--strict", help="Count warnings as problems.", show_default=False)]


def check(
    target: Target = None,
    role: Role = None,
    strict: Strict = False,
    answer: Answer = Format.TEXT,
    env_file: EnvFile = None,
    app_dir: AppDir = ".",
    traceback: Traceback = False,
) -> None:
    """Check that all parts fit together, without starting them.

    Refuses everything that run, worker or scheduler would refuse with the same environment, for every role unless
    --role names one. Warns of variables that nothing reads. All problems are reported at once.
    """
    with answering(answer, full=traceback):
        from bandmaster.kernel.cli.findings import judge
        from bandmaster.kernel.errors import PlanError
        from bandmaster.kernel.text import count_noun

        planned = _plan_target(target, app_dir, role, answer)
        judgement = judge(planned, asks_for_role=role is not None)
        problems, warnings = judgement.findings.problems, judgement.findings.warnings
        fails = bool(problems or (strict and warnings))
        if answer is Format.JSON:
            show_json(
                {
                    "format": 1,
                    "ok": not fails,
                    "role": planned.plan.role,
                    "components": len(planned.plan.components),
                    "layers": len(planned.plan.layers),
                    "problems": list(map(render_problem_json, problems)),
                    "warnings": warnings,
                    "notes": judgement.notes,
                }
            )
        else:
            for warning in warnings:
                show_error(f"warning: {warning}")
            if problems:
                show_error(str(PlanError(problems)))
            elif fails:
                show_error("Warnings fail with --strict.")
            else:
                components = count_noun(len(planned.plan.components), "component")
                layers = count_noun(len(planned.plan.layers), "layer")
                show_line(f"ok: {planned.title} fits together ({components}, {layers})")
                for note in judgement.notes:
                    show_line(f"note: {note}")
        if fails:
            raise typer.Exit(PROBLEM)


def _plan_target(target: str | None, app_dir: str, role: str | None, answer: Format) -> PlannedTarget:
    """Plan the target. If that fails, report the problems of the launcher's settings and misspelt variables as well.

    Raises:
        TargetError, DiscoveryError, PlanError: the target can't be planned.
    """
    from bandmaster.kernel.cli.findings import judge_server
    from bandmaster.kernel.cli.known_settings import find_unread_variables, load_installed
    from bandmaster.kernel.cli.planned_target import plan_target
    from bandmaster.kernel.errors import PlanError

    try:
        return plan_target(target, app_dir, role)
    except PlanError as error:
        server, _ = judge_server()
        if answer is Format.TEXT:
            for warning in find_unread_variables(load_installed()):
                show_error(f"warning: {warning}")
        others = [problem for problem in server.problems if problem not in error.problems]
        if not others:
            raise
        raise PlanError([*error.problems, *others]) from error
