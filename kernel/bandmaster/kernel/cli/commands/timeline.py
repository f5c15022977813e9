"""``bandmaster timeline``: where the time of a start went."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from bandmaster.kernel.cli.options import Answer, AppDir, Format, Target, Traceback
from bandmaster.kernel.cli.output import CommandError, answering, show, show_json
from bandmaster.kernel.errors import BandmasterError

if TYPE_CHECKING:
    from datetime import datetime

    from bandmaster.kernel.listeners.timeline import Record

Start = Annotated[
    bool,
    typer.Option("--start", help="Start and stop it now, without a server, and show that.", show_default=False),
]


def timeline(
    target: Target = None,
    start: Start = False,
    answer: Answer = Format.TEXT,
    app_dir: AppDir = ".",
    traceback: Traceback = False,
) -> None:
    """Print where the time of the last start went.

    Who worked, who only waited, and which chain of components the whole start had to wait for.
    """
    with answering(answer, full=traceback):
        from bandmaster.kernel.cli.views.timeline_view import timeline_json, timeline_sections

        failed: BandmasterError | None = None
        at = None
        if start:
            record, failed = _start(target, app_dir)
        else:
            record, at = _kept(target)
        if answer is Format.TEXT:
            show(timeline_sections(target or "everything installed", record, at))
        elif failed is None:
            show_json(timeline_json(target, record, at))
        if failed is not None:
            raise failed


def _kept(target: str | None) -> tuple[Record, datetime]:
    from bandmaster.kernel.listeners.timeline_store import load_timeline

    kept = load_timeline(target)
    if kept is None:
        named = f" {target}" if target else ""
        raise CommandError(
            f"No start of {target or 'everything installed'} from this directory is on record.",
            f"`bandmaster run{named}` keeps one of each start, unless BANDMASTER_TIMELINE is off; "
            f"`bandmaster timeline --start{named}` starts it now, without a server.",
        )
    return kept.record, kept.at


def _start(target: str | None, app_dir: str) -> tuple[Record, BandmasterError | None]:
    """The record of a start and a stop right now, and how it failed, if it did."""
    import anyio

    from bandmaster.kernel.hosting.targets import load_application
    from bandmaster.kernel.process.console_logging import readable_logging

    app = load_application(target, app_dir)

    async def start() -> None:
        async with app.running():
            pass

    failed = None
    # What it logs on the way isn't the answer.
    with contextlib.redirect_stdout(sys.stderr), readable_logging():
        try:
            anyio.run(start)
        except BandmasterError as error:
            failed = error
    return app.kernel.timeline.record, failed
