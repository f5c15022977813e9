"""``bandmaster timeline``: print how long each component took to start."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from bandmaster.kernel.cli.options import Answer, AppDir, EnvFile, Format, Target, Traceback
from bandmaster.kernel.cli.output import CommandError, answering, show, show_json
from bandmaster.kernel.errors import BandmasterError

if TYPE_CHECKING:
    from datetime import datetime

    from bandmaster.kernel.listeners.timeline import Record

Start = Annotated[
    bool,
    typer.Option(
        "--start", help="Start and stop the plan now, without a server, and print that start.", show_default=False
    ),
]


def timeline(
    target: Target = None,
    start: Start = False,
    answer: Answer = Format.TEXT,
    env_file: EnvFile = None,
    app_dir: AppDir = ".",
    traceback: Traceback = False,
) -> None:
    """Print how long each component of the last start took.

    For each component: the time of its work, and the time of waiting for others. Then the chain of components that
    determined the length of the whole start.
    """
    with answering(answer, full=traceback):
        from bandmaster.kernel.cli.planned_target import name_target
        from bandmaster.kernel.cli.views.timeline_view import render_timeline_json, render_timeline_text
        from bandmaster.kernel.hosting.default_target import resolve_target

        target, app_dir = resolve_target(target, app_dir)
        failure: BandmasterError | None = None
        at = None
        if start:
            record, failure = _start_now(target, app_dir)
        else:
            record, at = _load_last(target)
        if answer is Format.TEXT:
            show(render_timeline_text(name_target(target), record, at))
        elif failure is None:
            show_json(render_timeline_json(target, record, at))
        if failure is not None:
            raise failure


def _load_last(target: str | None) -> tuple[Record, datetime]:
    from bandmaster.kernel.cli.planned_target import name_target
    from bandmaster.kernel.listeners.timeline_store import load_timeline

    kept = load_timeline(target)
    if kept is None:
        argument = f" {target}" if target else ""
        raise CommandError(
            f"No start of {name_target(target)} from this directory is on record.",
            f"`bandmaster run{argument}` keeps one of each start, unless BANDMASTER_TIMELINE is off; "
            f"`bandmaster timeline --start{argument}` starts it now, without a server.",
        )
    return kept.record, kept.at


def _start_now(target: str | None, app_dir: str) -> tuple[Record, BandmasterError | None]:
    """The record of a start and a stop in this process, and the error if they failed."""
    import anyio

    from bandmaster.kernel.hosting.targets import load_application
    from bandmaster.kernel.process.console_logging import log_to_stderr

    app = load_application(target, app_dir)

    async def start_and_stop() -> None:
        async with app.running():
            pass

    failure = None
    # Standard output is for the answer, not for what the components print.
    logging = log_to_stderr(app.settings.log_format, app.settings.least_log_level)
    with contextlib.redirect_stdout(sys.stderr), logging:
        try:
            anyio.run(start_and_stop)
        except BandmasterError as error:
            failure = error
    return app.kernel.timeline.record, failure
