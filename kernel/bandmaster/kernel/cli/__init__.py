"""The command line: ``bandmaster``."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from typing import Any

__all__ = ["main"]


def main(args: Sequence[str] | None = None) -> None:
    """Run one command, and exit with the code of the command."""
    from typer.main import get_command

    from bandmaster.kernel.cli.program import program
    from bandmaster.kernel.redaction.masking import masked

    for stream in (sys.stdout, sys.stderr):
        _replace_unencodable(stream)
    try:
        get_command(program()).main(args=args, prog_name="bandmaster")
    except Exception:  # noqa: BLE001  # a bug, which Python would report in the same way but with its secrets
        sys.stderr.write(masked(traceback.format_exc()))
        sys.exit(1)


def _replace_unencodable(stream: Any) -> None:
    """Print '?' for a character that a terminal or a pipe in an old encoding can't show, instead of failing."""
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="replace")
