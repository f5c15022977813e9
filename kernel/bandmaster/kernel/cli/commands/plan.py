"""``bandmaster plan``: what would start, in which order, and why."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from bandmaster.kernel.cli.options import Answer, AppDir, Format, Role, Target, Traceback
from bandmaster.kernel.cli.output import PROBLEM, CommandError, answering, problem_json, show, show_json

if TYPE_CHECKING:
    from bandmaster.kernel.planning.plan import Plan

Explain = Annotated[
    str | None,
    typer.Option("--explain", help="Say why one part stands where it stands.", show_default=False, metavar="NAME"),
]


def plan(
    target: Target = None,
    role: Role = None,
    explain: Explain = None,
    answer: Answer = Format.TEXT,
    app_dir: AppDir = ".",
    traceback: Traceback = False,
) -> None:
    """Print what would start, in which order and why.

    And the request stack, routes, budgets, and how long a stop may take. Nothing is started.
    """
    with answering(answer, full=traceback):
        from bandmaster.kernel.cli.planned_target import plan_target
        from bandmaster.kernel.cli.views.plan_view import plan_json, plan_sections
        from bandmaster.kernel.planning.budgets import compare_budget, judge_budget

        planned = plan_target(target, app_dir, role)
        if explain is not None:
            _explain(planned.plan, explain, answer)
            return
        settings = planned.kernel.settings
        problems, over = judge_budget(
            compare_budget(planned.plan, settings.limits), refuse=settings.over_budget == "refuse"
        )
        warnings = [*planned.warnings, *over]
        left_out = planned.kernel.discovery.left_out
        if answer is Format.JSON:
            told = [problem_json(problem) for problem in problems]
            show_json(plan_json(target, planned.plan, settings, left_out, told, warnings))
        else:
            show(plan_sections(planned.title, planned.plan, settings, left_out, problems, warnings))
        if problems:
            raise typer.Exit(PROBLEM)


def _explain(plan: Plan, name: str, answer: Format) -> None:
    from bandmaster.kernel.cli.views.plan_view import explanation_section

    try:
        explanation = plan.explain(name)
    except KeyError as error:
        raise CommandError(str(error.args[0]), misspelt=True) from error
    if answer is Format.JSON:
        told = asdict(explanation)
        for field in ("waits_for", "waited_for_by"):
            told[field] = [{"component": edge.to, "why": edge.why} for edge in getattr(explanation, field)]
        show_json({"format": 1, **told})
    else:
        show([explanation_section(explanation)])
