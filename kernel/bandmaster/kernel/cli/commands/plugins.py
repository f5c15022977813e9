"""``bandmaster plugins``: print the origin of every installed part, without importing any."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from bandmaster.kernel.cli.commands import OWN_COMMANDS
from bandmaster.kernel.cli.options import Answer, AppDir, EnvFile, Format, Traceback
from bandmaster.kernel.cli.output import PROBLEM, answering, render_problem_json, show, show_json, show_line

if TYPE_CHECKING:
    from bandmaster.kernel.discovery.metadata import Found

Files = Annotated[
    bool,
    typer.Option("--files", help="Also compare every installed file with its hash in RECORD.", show_default=False),
]


def plugins(
    files: Files = False,
    answer: Answer = Format.TEXT,
    env_file: EnvFile = None,
    app_dir: AppDir = ".",
    traceback: Traceback = False,
) -> None:
    """Print every installed part with its distribution.

    Also whether the part would be loaded. Nothing is imported.
    """
    with answering(answer, full=traceback):
        from bandmaster.kernel.cli.installed import find_installed
        from bandmaster.kernel.cli.views.outline import describe_findings
        from bandmaster.kernel.cli.views.plugins_view import (
            find_reasons_not_loaded,
            render_plugins_json,
            render_plugins_text,
        )
        from bandmaster.kernel.hosting.targets import put_first

        put_first(app_dir)
        installed = find_installed()
        found, admission = installed.seen.found, installed.admission
        reasons = find_reasons_not_loaded(found, admission.admitted, admission.left_out, OWN_COMMANDS)
        changed = list(_find_changed_files(found)) if files else []
        mode = installed.settings.plugins
        if answer is Format.JSON:
            more = {"files": changed} if files else {}
            problems = list(map(render_problem_json, installed.problems))
            show_json(render_plugins_json(mode, reasons, **more, problems=problems, warnings=list(installed.warnings)))
        else:
            summary, *distributions = render_plugins_text(mode, reasons)
            findings = [
                describe_findings("Files that have changed since they were installed", changed, "bold red"),
                describe_findings("Problems", map(str, installed.problems), "bold red"),
                describe_findings("Warnings", installed.warnings, "bold yellow"),
            ]
            show([summary, *(section for section in [*distributions, *findings] if section.content)])
            if files and not changed:
                show_line("\nno file has changed since it was installed")
        if changed or installed.problems:
            raise typer.Exit(PROBLEM)


def _find_changed_files(found: Iterable[Found]) -> Iterator[str]:
    from bandmaster.kernel.discovery.pins import verify_files

    for part in {part.path: part for part in found}.values():
        yield from verify_files(part)
