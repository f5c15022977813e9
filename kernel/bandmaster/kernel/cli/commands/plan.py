"""``bandmaster plan``: print the order of everything that would start, with the reasons."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from bandmaster.kernel.cli.options import Answer, AppDir, EnvFile, Format, Role, Target, Traceback
from bandmaster.kernel.cli.output import PROBLEM, CommandError, answering, show, show_json
from bandmaster.kernel.errors import BandmasterError

if TYPE_CHECKING:
    from bandmaster.kernel.planning.plan import Plan


def _complete_parts(ctx: Any, incomplete: str) -> list[str]:
    """The names of parts that a shell offers after ``--explain``."""
    from bandmaster.kernel.cli.planned_target import plan_target

    # Parsing stopped at the option without a value; what had been read of the arguments until then is left over.
    target = ctx.params.get("target") or next(iter(ctx.args), None)
    try:
        plan = plan_target(target, ctx.params.get("app_dir") or ".", ctx.params.get("role")).plan
    except BandmasterError:
        return []  # a shell that completes can't show errors
    return sorted({part.name for part in plan.contributions if part.name.startswith(incomplete)})


Explain = Annotated[
    str | None,
    typer.Option(
        "--explain",
        help="Print the reasons for the place of one part.",
        show_default=False,
        metavar="NAME",
        autocompletion=_complete_parts,
    ),
]


def plan(
    target: Target = None,
    role: Role = None,
    explain: Explain = None,
    answer: Answer = Format.TEXT,
    env_file: EnvFile = None,
    app_dir: AppDir = ".",
    traceback: Traceback = False,
) -> None:
    """Print what would start, in which order and why.

    The plan also has the request stack, the routes, the budgets, and the longest time that a stop may take. Nothing is
    started.
    """
    with answering(answer, full=traceback):
        from bandmaster.kernel.cli.planned_target import plan_target
        from bandmaster.kernel.cli.views.plan_json import render_plan_json
        from bandmaster.kernel.cli.views.plan_text import render_plan_text

        planned = plan_target(target, app_dir, role)
        if explain is not None:
            _show_explanation(planned.plan, explain, answer)
            return
        settings, left_out = planned.kernel.settings, planned.kernel.discovery.left_out
        problems, warnings = planned.problems, planned.warnings
        if answer is Format.JSON:
            show_json(render_plan_json(planned.target, planned.plan, settings, left_out, problems, warnings))
        else:
            show(render_plan_text(planned.title, planned.plan, settings, left_out, problems, warnings))
        if problems:
            raise typer.Exit(PROBLEM)


def _show_explanation(plan: Plan, name: str, answer: Format) -> None:
    from bandmaster.kernel.cli.views.plan_json import render_explanation_json
    from bandmaster.kernel.cli.views.plan_text import render_explanation_text

    try:
        explanation = plan.explain(name)
    except KeyError as error:
        raise CommandError(str(error.args[0]), misspelt=True) from error
    if answer is Format.JSON:
        show_json(render_explanation_json(explanation))
    else:
        show([render_explanation_text(explanation)])
