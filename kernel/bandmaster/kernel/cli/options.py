"""Arguments and options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, TypeAlias

import typer


class Format(StrEnum):
    """For whom an answer is written."""

    TEXT = "text"
    JSON = "json"


Target: TypeAlias = Annotated[
    str | None,
    typer.Argument(
        help="What to look at, as module:attribute: an Application, a Kernel, any ASGI app, or a function that returns "
        "one. Without it: everything that is installed.",
        show_default=False,
        metavar="TARGET",
    ),
]
AppDir: TypeAlias = Annotated[
    str,
    typer.Option(
        "--app-dir", help="Import from this directory first.", show_default="the current one", metavar="DIRECTORY"
    ),
]
Role: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--role",
        help="Plan for processes of this role, such as web or worker; the target's own unless given.",
        show_default=False,
        metavar="ROLE",
    ),
]
Answer: TypeAlias = Annotated[Format, typer.Option("--format", help="text is for people, json for programs.")]
Traceback: TypeAlias = Annotated[
    bool, typer.Option("--traceback", help="With an error, show the whole traceback.", show_default=False)
]
