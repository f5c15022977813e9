"""Everything that contributed commands share with the kernel's own: arguments, answers, errors and exit codes.

A command is a function, a ``typer.Typer`` or a click command, named by an entry point of the group
``bandmaster.commands``. The module is imported only when the command is called::

    def stock(target: Target = None, app_dir: AppDir = ".", answer: Answer = Format.TEXT) -> None:
        \"\"\"Count the books in stock.\"\"\"
        with answering(answer):
            app = load_application(target, app_dir)
            ...
            if answer is Format.JSON:
                show_json({"format": 1, "books": count})
            else:
                show_line(f"{count} books")
"""

from __future__ import annotations

from bandmaster.kernel.cli.options import Answer, AppDir, EnvFile, Format, Role, Target, Traceback
from bandmaster.kernel.cli.output import (
    PROBLEM,
    WRONG_USE,
    CommandError,
    answering,
    show_error,
    show_json,
    show_line,
)
from bandmaster.kernel.hosting.default_target import resolve_target
from bandmaster.kernel.hosting.given_settings import GivenSettings
from bandmaster.kernel.hosting.targets import put_first
from bandmaster.kernel.reports import FAILED, MISCONFIGURED, OK

__all__ = [
    "FAILED",
    "MISCONFIGURED",
    "OK",
    "PROBLEM",
    "WRONG_USE",
    "Answer",
    "AppDir",
    "CommandError",
    "EnvFile",
    "Format",
    "GivenSettings",
    "Role",
    "Target",
    "Traceback",
    "answering",
    "put_first",
    "resolve_target",
    "show_error",
    "show_json",
    "show_line",
]
