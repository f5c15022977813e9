"""Arguments and options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, TypeAlias

import typer


class Format(StrEnum):
    """The form in which a command prints its answer."""

    TEXT = "text"
    """For people."""
    JSON = "json"
    """For programs."""


WITHOUT_TARGET = (
    "Without it: BANDMASTER_APP, or app in the table [tool.bandmaster] of pyproject.toml, or everything that is "
    "installed."
)
"""The end of the help of an application that may be left out."""
Target: TypeAlias = Annotated[
    str | None,
    typer.Argument(
        help="The application, as module:attribute: an Application, a Kernel, any ASGI app, or a function that returns "
        f"one. {WITHOUT_TARGET}",
        show_default=False,
        metavar="TARGET",
    ),
]
"""The argument for the application, as ``module:attribute``; None stands for the default, see `resolve_target`."""


def _check_directory(path: str) -> str:
    """Refuse a directory that isn't there, where no module would be looked for."""
    if not Path(path).is_dir():
        raise typer.BadParameter(f"{path} is no directory.")
    return path


AppDir: TypeAlias = Annotated[
    str,
    typer.Option(
        "--app-dir",
        help="The directory to import from first.",
        show_default="the current one",
        metavar="DIRECTORY",
        callback=_check_directory,
    ),
]
"""The option ``--app-dir``: the directory to import from first."""


def check_role(role: str | None) -> str | None:
    """Refuse an empty role, which an unset variable of a shell gives."""
    if role is not None and not role.strip():
        raise typer.BadParameter("expected the name of a role, such as web or worker.")
    return role


Role: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--role",
        help="The role of the process, such as web or worker. Without it: the role of the target.",
        show_default=False,
        metavar="ROLE",
        callback=check_role,
    ),
]
"""The option ``--role``: the role of the process; None stands for the role of the target."""


def _use_env_file(context: typer.Context, path: str | None) -> str | None:
    """Read the settings of a command from a file as well; the path doesn't depend on the working directory."""
    if path is None:
        return None
    from bandmaster.kernel.settings.environment import use_command_line_file

    context.with_resource(use_command_line_file(path))
    return str(Path(path).absolute())


EnvFile: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--env-file",
        help="A file of lines NAME=value with further variables. Those of the environment have precedence.",
        show_default="BANDMASTER_ENV_FILE",
        metavar="FILE",
        callback=_use_env_file,
    ),
]
"""The option ``--env-file``: a file with variables, from which settings are read while the command runs.

The value is the absolute path, for the command line of another process. Nothing else needs it.
"""
Answer: TypeAlias = Annotated[Format, typer.Option("--format", help="text is for people, json for programs.")]
"""The option ``--format``, for `answering`."""
Traceback: TypeAlias = Annotated[
    bool, typer.Option("--traceback", help="Print the whole traceback of an error.", show_default=False)
]
"""The option ``--traceback``, for the argument ``full`` of `answering`."""
