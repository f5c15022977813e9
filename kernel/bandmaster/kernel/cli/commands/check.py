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
        from bandmaster.kernel.cli.budget import judged
        from bandmaster.kernel.cli.composed import compose
        from bandmaster.kernel.errors import PlanError

        composed = compose(target, app_dir, role)
        settings = composed.kernel.settings
        problems, over = judged(composed.plan, settings.limits, refuse=settings.over_budget == "refuse")
        warnings = [*composed.warnings, *over]
        fails = bool(problems or (strict and warnings))
        if answer is Format.JSON:
            told = [problem_json(problem) for problem in problems]
            show_json(
                {
                    "format": 1,
                    "ok": not fails,
                    "role": composed.plan.role,
                    "components": len(composed.plan.components),
                    "layers": len(composed.plan.layers),
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
                counts = f"{len(composed.plan.components)} components, {len(composed.plan.layers)} layers"
                typer.echo(f"ok: {composed.title} fits together ({counts})")
        if fails:
            raise typer.Exit(PROBLEM)
