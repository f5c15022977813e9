"""The command line: ``bandmaster``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

__all__ = ["main"]


def main(args: Sequence[str] | None = None) -> None:
    """Run one command, and exit with its code."""
    from typer.main import get_command

    from bandmaster.kernel.cli.program import program

    for stream in (sys.stdout, sys.stderr):
        _be_lenient(stream)
    get_command(program()).main(args=args, prog_name="bandmaster")


def _be_lenient(stream: Any) -> None:
    # A terminal or a pipe in an old encoding gets '?' for what it can't show, not a traceback.
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="replace")
