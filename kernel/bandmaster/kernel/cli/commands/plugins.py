"""``bandmaster plugins``: who brought which parts, without importing any."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from bandmaster.kernel.cli.options import Answer, AppDir, Format, Traceback
from bandmaster.kernel.cli.output import PROBLEM, answering, problem_json, show, show_json

if TYPE_CHECKING:
    from bandmaster.kernel.discovery.metadata import Found

Files = Annotated[
    bool,
    typer.Option("--files", help="Hold every installed file against its hash in RECORD, too.", show_default=False),
]


def plugins(
    files: Files = False,
    answer: Answer = Format.TEXT,
    app_dir: AppDir = ".",
    traceback: Traceback = False,
) -> None:
    """Print where every installed part comes from.

    And whether it would be loaded. Nothing is imported.
    """
    with answering(answer, full=traceback):
        from bandmaster.kernel.cli.installed import look
        from bandmaster.kernel.cli.program import OWN
        from bandmaster.kernel.cli.views.plan_view import findings
        from bandmaster.kernel.cli.views.plugins_view import plugins_json, plugins_sections, verdicts
        from bandmaster.kernel.hosting.targets import put_first

        put_first(app_dir)
        installed = look()
        found, admission = installed.seen.found, installed.admission
        judged = verdicts(found, admission.admitted, admission.left_out, [command.__name__ for command in OWN])
        changed = list(_verified(found)) if files else []
        mode = installed.settings.plugins
        if answer is Format.JSON:
            more = {"files": changed} if files else {}
            told = [problem_json(problem) for problem in installed.problems]
            show_json(plugins_json(mode, judged, **more, problems=told, warnings=list(installed.warnings)))
        else:
            sections = [
                *plugins_sections(mode, judged),
                findings("Files that aren't as they were installed", changed, "bold red"),
                findings("Problems", map(str, installed.problems), "bold red"),
                findings("Warnings", installed.warnings, "bold yellow"),
            ]
            show(section for section in sections if section.content or section is sections[0])
            if files and not changed:
                typer.echo("\nevery file is as it was installed")
        if changed or installed.problems:
            raise typer.Exit(PROBLEM)


def _verified(found: Iterable[Found]) -> Iterator[str]:
    from bandmaster.kernel.discovery.lockfile import verify_files

    for part in {part.path: part for part in found}.values():
        yield from verify_files(part)
