"""``bandmaster check``: whether everything fits together."""

from __future__ import annotations

from typing import Annotated

import typer

from bandmaster.kernel.cli.options import Answer, AppDir, Format, Role, Target, Traceback
from bandmaster.kernel.cli.output import PROBLEM, answering, complain, problem_json, show_json

Strict = Annotated[bool, typer.Option("--strict", help="Let warnings fail as well.", show_default=False)]


def check(
    target: Target = None,
    role: Role = None,
    strict: Strict = False,
    answer: Answer = Format.TEXT,
    app_dir: AppDir = ".",
    traceback: Traceback = False,
) -> None:
    """Check that everything fits together.

    All problems are reported in one go. Nothing is started.
    """
    with answering(answer, full=traceback):
        from bandmaster.kernel.cli.planned_target import plan_target
        from bandmaster.kernel.errors import PlanError
        from bandmaster.kernel.planning.budgets import compare_budget, judge_budget

        planned = plan_target(target, app_dir, role)
        settings = planned.kernel.settings
        problems, over = judge_budget(
            compare_budget(planned.plan, settings.limits), refuse=settings.over_budget == "refuse"
        )
        warnings = [*planned.warnings, *over]
        fails = bool(problems or (strict and warnings))
        if answer is Format.JSON:
            told = [problem_json(problem) for problem in problems]
            show_json(
                {
                    "format": 1,
                    "ok": not fails,
                    "role": planned.plan.role,
                    "components": len(planned.plan.components),
                    "layers": len(planned.plan.layers),
                    "problems": told,
                    "warnings": warnings,
                }
            )
        else:
            for warning in warnings:
                complain(f"warning: {warning}")
            if problems:
                complain(str(PlanError(problems)))
            elif fails:
                complain("Warnings fail with --strict.")
            else:
                counts = f"{len(planned.plan.components)} components, {len(planned.plan.layers)} layers"
                typer.echo(f"ok: {planned.title} fits together ({counts})")
        if fails:
            raise typer.Exit(PROBLEM)
