"""The end of a process: the exit code, and the threads that may still delay the end."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from bandmaster.kernel.errors import StartCancelled
from bandmaster.kernel.reports import FAILED, OK, exit_code
from bandmaster.kernel.shutdown.stop_signals import STOP_SIGNALS
from bandmaster.kernel.shutdown.watchdog import Watchdog

END_PATIENCE = 2.0
"""Seconds that threads which aren't daemons get after everything has been stopped."""


def choose_exit_code(
    error: BaseException | None, signals: Sequence[int], *, stopped_while_starting: bool, cut_short: int
) -> int:
    """The exit code of a run, from its error, the stop signals and the number of pieces of work that were cut short."""
    skipped = len(signals) >= 2 and cut_short
    if error is not None and not skipped and not (stopped_while_starting and isinstance(error, StartCancelled)):
        return exit_code(error)
    if signals and (stopped_while_starting or cut_short):
        return 128 + signals[-1]
    return FAILED if cut_short else OK


def end_process(code: int) -> NoReturn:
    """End this process with the exit code that `serve` or `run_process` has returned.

    `sys.exit` alone would wait without end for threads that aren't daemons, and a stop signal that arrives meanwhile
    would change the exit code. Here such threads get two seconds, and stop signals are ignored.
    """
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    Watchdog(grace=END_PATIENCE, abandon_after=END_PATIENCE).watch_exit(code)
    sys.exit(code)
