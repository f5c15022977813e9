"""How answers reach people, and how they reach programs."""

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
from bandmaster.kernel.cli.views.outline import Section, drawn, plain
from bandmaster.kernel.errors import BandmasterError, CrashError, Problem, StartError, StopError
from bandmaster.kernel.reports import report
from bandmaster.kernel.text import masked

PROBLEM = 1
WRONG_USE = 2


def show(sections: Iterable[Section]) -> None:
    """Put sections on standard output: drawn on a terminal, as plain lines into a pipe or a file."""
    from rich.console import Console

    console = Console(highlight=False)
    if console.is_terminal:
        for renderable in drawn(sections):
            console.print(renderable)
    else:
        for line in plain(sections):
            typer.echo(line)


def show_json(data: Mapping[str, Any]) -> None:
    """Put one JSON object on standard output."""
    typer.echo(json.dumps(_mask_texts(data), indent=2))


class CommandError(BandmasterError):
    """A command can't answer, for a reason that isn't in the plan."""

    def __init__(self, message: str, hint: str = "", *, misspelt: bool = False) -> None:
        self.problems = (Problem(message, hint),)
        super().__init__(*map(str, self.problems))
        self.misspelt = misspelt
        """Whether what was written on the command line is at fault."""


@contextmanager
def answering(answer: Format, *, full: bool = False, code: int | None = None) -> Iterator[None]:
    """Tell what goes wrong inside in words, on standard error; to programs as JSON, on standard output.

    Then exit with ``code``; without one, 2 for what was mistyped and 1 for all else. ``full`` adds the traceback.
    What bandmaster doesn't raise itself passes through: it is a bug, and its traceback is needed.
    """
    try:
        yield
    except BandmasterError as error:
        if full:
            typer.echo(masked(_whole(error)), err=True)
        if answer is Format.JSON:
            show_json(error_json(error))
        else:
            # What bandmaster and its parts refuse says all in its text; what fails in a run has causes of others'.
            complain(report(error) if isinstance(error, StartError | CrashError | StopError) else str(error))
        mistyped = getattr(error, "misspelt", False)
        raise typer.Exit(code or (WRONG_USE if mistyped else PROBLEM)) from error


def complain(text: str) -> None:
    """Put an error on standard error."""
    text = masked(text)
    from rich.console import Console

    console = Console(stderr=True, highlight=False, soft_wrap=False)
    if not console.is_terminal:
        typer.echo(text, err=True)
        return
    first, *rest = text.split("\n")
    for index, line in enumerate([first, *rest]):
        style = "bold red" if not index else None
        for part in _wrapped(line, console.width):
            console.print(part, style=style, markup=False, soft_wrap=True)


def error_json(error: BandmasterError) -> dict[str, Any]:
    """An error for programs."""
    problems: Sequence[Problem] = getattr(error, "problems", ()) or [Problem(str(error))]
    data: dict[str, Any] = {
        "format": 1,
        "ok": False,
        "error": type(error).__name__,
        "problems": [problem_json(problem) for problem in problems],
    }
    if trace := getattr(error, "trace", ()):
        data["trace"] = list(trace)
    return data


def problem_json(problem: Problem) -> dict[str, str]:
    """A problem for programs."""
    return {"message": problem.message, "hint": problem.hint, "subject": problem.subject}


def _mask_texts(data: Any) -> Any:
    """Data with every text in it masked."""
    if isinstance(data, str):
        return masked(data)
    if isinstance(data, Mapping):
        return {key: _mask_texts(value) for key, value in data.items()}
    return [_mask_texts(value) for value in data] if isinstance(data, list | tuple) else data


def _wrapped(line: str, width: int) -> list[str]:
    text = line.lstrip()
    indent = " " * (len(line) - len(text))
    hang = indent + ("  " if text.startswith("- ") else "")
    return textwrap.wrap(
        text, width, initial_indent=indent, subsequent_indent=hang, break_long_words=False, break_on_hyphens=False
    ) or [""]


def _whole(error: BaseException) -> str:
    """A traceback with all its causes, whose last lines repeat no input."""
    from bandmaster.kernel.hosting.targets import described

    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    before = f"{_whole(cause)}\n\nwhich led to\n\n" if cause is not None else ""
    frames = "".join(traceback.format_tb(error.__traceback__))
    return f"{before}Traceback (most recent call last):\n{frames}{described(error)}"


def is_terminal() -> bool:
    """Whether standard output is one."""
    return sys.stdout.isatty()
