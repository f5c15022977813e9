"""What contributed commands share with those of the kernel: arguments, answers, and errors told in words."""

from __future__ import annotations

from bandmaster.kernel.cli.options import Answer, AppDir, Format, Target, Traceback
from bandmaster.kernel.cli.output import PROBLEM, WRONG_USE, CommandError, answering, show_json
from bandmaster.kernel.hosting.targets import put_first
from bandmaster.kernel.reports import FAILED, MISCONFIGURED, OK

__all__ = [
    "FAILED",
    "MISCONFIGURED",
    "OK",
    "PROBLEM",
    "WRONG_USE",
    "Answer",
    "AppDir",
    "CommandError",
    "Format",
    "Target",
    "Traceback",
    "answering",
    "put_first",
    "show_json",
]
