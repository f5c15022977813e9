"""Read an env file: one variable on each line, as ``NAME=value``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from bandmaster.kernel.errors import PlanError, Problem, Problems

if TYPE_CHECKING:
    from dotenv.parser import Binding

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


@dataclass(frozen=True, slots=True)
class FileVariable:
    """A variable in an env file."""

    value: str
    line: int
    """The number of the line on which the variable begins."""


@dataclass(frozen=True, slots=True)
class EnvFile:
    """The variables of an env file, by name."""

    path: str
    """The path as it was given, for messages."""
    variables: Mapping[str, FileVariable]
    warnings: tuple[str, ...] = ()

    def place(self, name: str) -> str:
        """The file and the line of a variable: ``prod.env:3``."""
        return f"{self.path}:{self.variables[name].line}"


def read_env_file(path: str | Path, process: Mapping[str, str], shown: str = "") -> EnvFile:
    """The variables of an env file; ``shown`` is the path for messages.

    The syntax is that of python-dotenv: comments, ``export``, and quotes around values. ``${NAME}`` and
    ``${NAME:-default}`` stand for other variables, those of ``process`` before earlier ones of the file; between single
    quotes they stand for themselves.

    Raises:
        PlanError: the file can't be read, or a line isn't of the form ``NAME=value``.
    """
    shown = shown or str(path)
    problems = Problems()
    variables: dict[str, FileVariable] = {}
    warnings: list[str] = []
    for line, binding in _parse(_read_text(path, shown)):
        place = f"{shown}:{line}"
        if problem := _find_problem(place, binding):
            problems.extend([problem])
        if binding.key is None or binding.value is None:
            continue
        if binding.key in variables:
            first = variables[binding.key].line
            warnings.append(f"{place}: {binding.key} is set already on line {first}; the last line counts.")
        value = binding.value
        if not _is_single_quoted(binding):
            names = {name: variable.value for name, variable in variables.items()} | dict(process)
            value, is_complete = _replace_references(value, names)
            if not is_complete:
                # The name isn't shown: the text may be a password that has such signs in it.
                problems.add(
                    f"{place}: the value of {binding.key} refers to a variable, as ${{NAME}}, that is not set.",
                    "Set it, write ${NAME:-} for an empty text, or put the value in single quotes to keep the signs.",
                )
        variables[binding.key] = FileVariable(value, line)
    problems.raise_if_any(PlanError)
    return EnvFile(shown, variables, tuple(warnings))


def _read_text(path: str | Path, shown: str) -> str:
    try:
        # Without a translation of line ends: a value in quotes may have some of its own.
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            return file.read()
    except OSError as error:
        hint = "--env-file, env_file and BANDMASTER_ENV_FILE name a file of lines NAME=value."
        raise PlanError([Problem(f"the env file {shown} can't be read: {error.strerror}.", hint)]) from error
    except ValueError as error:  # UnicodeDecodeError, whose text shows bytes of the file; or a NUL in the path
        raise PlanError([Problem(f"the env file {shown} can't be read: it isn't UTF-8 text.")]) from error


def _parse(text: str) -> list[tuple[int, Binding]]:
    """Each variable, and each line that can't be read, with the number of the line."""
    from dotenv.parser import parse_stream

    found: list[tuple[int, Binding]] = []
    for binding in parse_stream(StringIO(text)):
        original = binding.original
        # The text of a variable includes the blank lines above.
        blank = original.string[: len(original.string) - len(original.string.lstrip())]
        found.append((original.line + len(re.findall(r"\r\n|\n|\r", blank)), binding))
    return found


def _find_problem(place: str, binding: Binding) -> Problem | None:
    # The line may hold a secret, and so isn't shown.
    if binding.error:
        return Problem(
            f"{place} can't be read: it isn't of the form NAME=value.",
            "A value with blanks or a # stands in quotes, and a quote must end.",
        )
    if binding.key is None:
        return None
    if not _NAME.fullmatch(binding.key):
        return Problem(f"{place} can't be read: there is no name of a variable before the '='.")
    if binding.value is None:
        return Problem(f"{place} can't be read: {binding.key} has no '=' and no value.")
    return None


def _is_single_quoted(binding: Binding) -> bool:
    return binding.original.string.partition("=")[2].lstrip().startswith("'")


def _replace_references(value: str, names: Mapping[str, str]) -> tuple[str, bool]:
    """The value with each reference replaced, and whether all the variables are set."""
    from dotenv.variables import Variable, parse_variables

    atoms = list(parse_variables(value))
    missing = [atom for atom in atoms if isinstance(atom, Variable) and atom.default is None and atom.name not in names]
    return "".join(atom.resolve(names) for atom in atoms), not missing
