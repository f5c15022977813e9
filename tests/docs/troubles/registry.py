"""The functions that provoke the errors of the page about troubleshooting, by the headings of their entries."""

from __future__ import annotations

import importlib
import sys
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest
from typer.testing import CliRunner

from bandmaster.kernel import Kernel
from bandmaster.kernel.cli.program import program


@dataclass
class Place:
    """The directory of one test, as the working directory of a program."""

    folder: Path
    monkeypatch: pytest.MonkeyPatch

    def write(self, name: str, text: str) -> None:
        """Write a module that the program can import, and that is forgotten afterwards."""
        self.monkeypatch.chdir(self.folder)
        self.monkeypatch.syspath_prepend(self.folder)
        self.monkeypatch.setattr(sys, "modules", dict(sys.modules))
        (self.folder / f"{name}.py").write_text(textwrap.dedent(text))
        importlib.invalidate_caches()

    def run(self, *arguments: str) -> str:
        """Run a command that fails, and return the error."""
        self.monkeypatch.chdir(self.folder)
        result = CliRunner().invoke(program(), arguments, prog_name="bandmaster", catch_exceptions=False)
        assert result.exit_code
        return result.stderr


Provoker = Callable[[Place], str | Sequence[str]]
PROVOKERS: dict[str, Provoker] = {}


def provokes(heading: str) -> Callable[[Provoker], Provoker]:
    """Register the function that provokes the error of an entry."""

    def register(function: Provoker) -> Provoker:
        assert heading not in PROVOKERS
        PROVOKERS[heading] = function
        return function

    return register


def catch(function: Callable[[], object]) -> str:
    """The text of the error that a function raises."""
    with pytest.raises(Exception) as caught:
        function()
    return str(caught.value)


def catch_run(*parts: object) -> str:
    """The text of the error of a start, or of the first error of a stop."""

    async def run() -> None:
        async with Kernel(discover=False, contributions=parts).running():
            pass

    with pytest.raises(Exception) as caught:
        anyio.run(run)
    return str(caught.value.exceptions[0] if isinstance(caught.value, ExceptionGroup) else caught.value)
