"""Arguments and options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, TypeAlias

import typer


class Format(StrEnum):
    """The form in which a command prints its answer."""

    TEXT = "text"
    JSON = "json"


Target: TypeAlias = Annotated[
    str | None,
    typer.Argument(
        help="The application, as module:attribute: an Application, a Kernel, any ASGI app, or a function that returns "
        "one. Without it: everything that is installed.",
        show_default=False,
        metavar="TARGET",
    ),
]
AppDir: TypeAlias = Annotated[
    str,
    typer.Option(
        "--app-dir", help="The directory to import from first.", show_default="the current one", metavar="DIRECTORY"
    ),
]
Role: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--role",
        help="The role of the process, such as web or worker. Without it: the role of the target.",
        show_default=False,
        metavar="ROLE",
    ),
]
Answer: TypeAlias = Annotated[Format, typer.Option("--format", help="text is for people, json for programs.")]
Traceback: TypeAlias = Annotated[
    bool, typer.Option("--traceback", help="Print the whole traceback of an error.", show_default=False)
]
