"""``bandmaster check``: check that everything fits together."""

from __future__ import annotations

from typing import Annotated

import typer

from bandmaster.kernel.cli.options import Answer, AppDir, EnvFile, Format, Role, Target, Traceback
from bandmaster.kernel.cli.output import PROBLEM, answering, render_problem_json, show_error, show_json, show_line

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

    All problems are reported at once.
    """
    with answering(answer, full=traceback):
        from bandmaster.kernel.cli.planned_target import plan_target
        from bandmaster.kernel.errors import PlanError
        from bandmaster.kernel.text import count_noun

        planned = plan_target(target, app_dir, role)
        problems, warnings = planned.problems, planned.warnings
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
        if fails:
            raise typer.Exit(PROBLEM)
