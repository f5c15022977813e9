"""Print the answers and errors of commands, for people and for programs, with secrets masked."""

from __future__ import annotations

import json
import sys
import textwrap
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import typer

from bandmaster.kernel.cli.options import Format
from bandmaster.kernel.cli.views.outline import Section, render_lines, render_trees
from bandmaster.kernel.errors import BandmasterError, CrashError, Problem, StartError, StopError
from bandmaster.kernel.redaction.masking import masked
from bandmaster.kernel.reports import report

PROBLEM = 1
"""The exit code of a command that has found a problem."""
WRONG_USE = 2
"""The exit code of a command that was called in a wrong way."""


def show(sections: Iterable[Section]) -> None:
    """Print sections to standard output: as trees on a terminal, as plain lines to a pipe or a file."""
    from rich.console import Console

    console = Console(highlight=False)
    if console.is_terminal:
        for renderable in render_trees(sections):
            console.print(renderable)
    else:
        for line in render_lines(sections):
            typer.echo(line)


def show_line(text: str = "") -> None:
    """Print one line to standard output."""
    typer.echo(masked(text))


def show_json(data: Mapping[str, Any]) -> None:
    """Print one JSON object to standard output."""
    typer.echo(json.dumps(_mask_texts(data), indent=2))


class CommandError(BandmasterError):
    """A command can't do its work, for a reason that isn't in the plan.

    ``misspelt`` marks a mistake in the command line, for which the exit code is 2.
    """

    def __init__(self, message: str, hint: str = "", *, misspelt: bool = False) -> None:
        self.problems = (Problem(message, hint),)
        super().__init__(*map(str, self.problems))
        self.misspelt = misspelt


@contextmanager
def answering(answer: Format, *, full: bool = False, code: int | None = None) -> Iterator[None]:
    """Print an error that the body raises, and exit: as text to standard error, as JSON to standard output.

    The exit code is ``code``; without one, 2 for a mistake in the command line, and 1 for everything else. ``full``
    adds the traceback. Only a `BandmasterError` is handled. Any other exception is a bug, and the traceback shows
    where.
    """
    try:
        yield
    except BandmasterError as error:
        if full:
            typer.echo(masked(_render_traceback(error)), err=True)
        if answer is Format.JSON:
            show_json(render_error_json(error))
        else:
            # Other errors state their reason in the text. Here the cause is an exception of a component.
            show_error(report(error) if isinstance(error, StartError | CrashError | StopError) else str(error))
        is_misspelt = getattr(error, "misspelt", False)
        raise typer.Exit(code or (WRONG_USE if is_misspelt else PROBLEM)) from error


def show_error(text: str) -> None:
    """Print an error or a warning to standard error."""
    from rich.console import Console

    text = masked(text)
    console = Console(stderr=True, highlight=False, soft_wrap=False)
    if not console.is_terminal:
        typer.echo(text, err=True)
        return
    for index, line in enumerate(text.split("\n")):
        style = "bold red" if not index else None
        for part in _wrap(line, console.width):
            console.print(part, style=style, markup=False, soft_wrap=True)


def render_error_json(error: BaseException) -> dict[str, Any]:
    """An error as JSON for programs. The text of an error that isn't the kernel's own begins with the type."""
    from bandmaster.kernel.settings.error_messages import describe_error

    text = str(error) if isinstance(error, BandmasterError) else describe_error(error)
    problems: Sequence[Problem] = getattr(error, "problems", ()) or [Problem(text)]
    data: dict[str, Any] = {
        "format": 1,
        "ok": False,
        "error": type(error).__name__,
        "problems": list(map(render_problem_json, problems)),
    }
    if trace := getattr(error, "trace", ()):
        data["trace"] = list(trace)
    return data


def render_problem_json(problem: Problem) -> dict[str, str]:
    """A problem as JSON for programs."""
    return {"message": problem.message, "hint": problem.hint, "subject": problem.subject}


def is_terminal() -> bool:
    """Whether standard output is a terminal."""
    return sys.stdout.isatty()


def _mask_texts(data: Any) -> Any:
    """Data with every text masked."""
    if isinstance(data, str):
        return masked(data)
    if isinstance(data, Mapping):
        return {key: _mask_texts(value) for key, value in data.items()}
    return [_mask_texts(value) for value in data] if isinstance(data, list | tuple) else data


def _wrap(line: str, width: int) -> list[str]:
    text = line.lstrip()
    indent = " " * (len(line) - len(text))
    hang = indent + ("  " if text.startswith("- ") else "")
    return textwrap.wrap(
        text, width, initial_indent=indent, subsequent_indent=hang, break_long_words=False, break_on_hyphens=False
    ) or [""]


def _render_traceback(error: BaseException) -> str:
    """A traceback with all its causes, in which no exception repeats an input value."""
    from bandmaster.kernel.settings.error_messages import describe_error

    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    before = f"{_render_traceback(cause)}\n\nwhich led to\n\n" if cause is not None else ""
    frames = "".join(traceback.format_tb(error.__traceback__))
    return f"{before}Traceback (most recent call last):\n{frames}{describe_error(error)}"
