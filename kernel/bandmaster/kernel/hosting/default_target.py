"""The application of a command that names none: BANDMASTER_APP, or the nearest pyproject.toml's [tool.bandmaster]."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bandmaster.kernel.errors import Problem, TargetError
from bandmaster.kernel.text import list_names, suggest

HERE = "."
"""The value of ``--app-dir`` that stands for the current directory."""
_FILE = "pyproject.toml"
_KEYS = ("app", "app_dir")


def resolve_target(target: str | None, app_dir: str = HERE) -> tuple[str | None, str]:
    """The target of a command, and the directory to import from first.

    A target that is given is returned unchanged. Without one, it is the variable BANDMASTER_APP, or else ``app`` in the
    table ``[tool.bandmaster]`` of the nearest pyproject.toml that has such a table, in the current directory or above.
    The directory is then that of the file, or ``app_dir`` in the table, relative to the file, unless ``app_dir`` names
    one. None stands for everything installed.

    Raises:
        TargetError: pyproject.toml can't be read, or the table has something else than an application.
        PlanError: BANDMASTER_APP can't be read.
    """
    if target is not None:
        return target, app_dir
    # pydantic, which settings need, would slow down the help of commands.
    from bandmaster.kernel.settings.reading import load_settings
    from bandmaster.kernel.settings.target import TargetSettings

    if named := (load_settings(TargetSettings).app or "").strip():
        return named, app_dir
    start = Path(app_dir).absolute()
    for directory in (start, *start.parents):
        if (table := _read_table(directory / _FILE)) is not None:
            return _read_target(directory, table, app_dir)
    return None, app_dir


def _read_table(path: Path) -> Mapping[str, Any] | None:
    """The table of this project in a pyproject.toml; None if there is no such file, or no such table."""
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    except (OSError, ValueError) as error:
        raise _refuse(path, f"can't be read: {error}", "Mend the file, or name the application.") from error
    if "bandmaster" not in text:
        return None  # most files needn't be parsed, and a broken one that doesn't concern commands doesn't end them
    try:
        tools = tomllib.loads(text).get("tool", {})
    except ValueError as error:
        raise _refuse(path, f"can't be read: {error}", "Mend the file, or name the application.") from error
    table = tools.get("bandmaster", {}) if isinstance(tools, dict) else tools
    if isinstance(table, dict):
        return table or (table if "bandmaster" in tools else None)
    raise _refuse(path, "has a tool.bandmaster that is no table", "Write [tool.bandmaster] on a line of its own.")


def _read_target(directory: Path, table: Mapping[str, Any], app_dir: str) -> tuple[str | None, str]:
    path = directory / _FILE
    for key, value in table.items():
        if key not in _KEYS:
            hint = suggest(key, _KEYS).strip() or f"The table may have {list_names(_KEYS)}."
            raise _refuse(path, f"has the key {key!r} in [tool.bandmaster], which no command reads", hint)
        if not isinstance(value, str) or not value.strip():
            raise _refuse(
                path, f"has the key {key!r} in [tool.bandmaster] with a value that is no text", f'Write {key} = "...".'
            )
    if "app" not in table:
        return None, app_dir
    if app_dir != HERE:
        return table["app"].strip(), app_dir
    beside = directory / table.get("app_dir", HERE)
    if not beside.is_dir():
        raise _refuse(path, f"has an app_dir that is no directory: {beside}", "Correct app_dir, or leave it out.")
    return table["app"].strip(), str(beside)


def _refuse(path: Path, what: str, hint: str) -> TargetError:
    return TargetError(Problem(f"{path} {what}.", hint, str(path)))
