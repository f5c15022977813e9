"""Configure the log of a process that the launcher owns: every record in one format, on stderr."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import ValidationError

from bandmaster.kernel.logs import get_logger
from bandmaster.kernel.process.log_formats import ConsoleFormatter, JsonFormatter
from bandmaster.kernel.process.servers import hypercorn, uvicorn
from bandmaster.kernel.process.structlog_events import pass_structlog_events
from bandmaster.kernel.redaction.masking import masked
from bandmaster.kernel.reports import split_report
from bandmaster.kernel.settings.kernel import KernelSettings


@contextmanager
def log_to_stderr(form: str, level: str) -> Iterator[None]:
    """Log every record to stderr, unless the program has given the root logger a handler: then nothing is changed.

    ``form`` is ``console`` or ``json``, or ``auto`` for the console's format on a terminal and JSON elsewhere.
    ``level`` names a level of the standard library, in lower case.
    """
    root = logging.getLogger()
    if root.handlers:
        yield
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_make_formatter(form))
    levels = {root: _find_level(level)}
    if level == "info":
        levels |= {logging.getLogger(name): logging.WARNING for name in _REPEATING}
    before = {logger: logger.level for logger in levels}
    root.addHandler(handler)
    for logger, number in levels.items():
        logger.setLevel(number)
    try:
        with pass_structlog_events():
            yield
    finally:
        root.removeHandler(handler)
        for logger, number in before.items():
            logger.setLevel(number)


_REPEATING = (uvicorn.LOGGER, hypercorn.LOGGER, "alembic.runtime.migration")
"""Loggers that repeat news of the launcher or of a part at the level info."""


def report_failure(text: str) -> None:
    """Report the failure of a run where its log goes: the first line is the event, and the others are the evidence.

    In the console's format, and where no record would be handled, the report is printed to stderr.
    """
    logger = get_logger("bandmaster.kernel")
    handlers = logging.getLogger().handlers
    is_console = any(isinstance(handler.formatter, ConsoleFormatter) for handler in handlers)
    if is_console or not handlers or not logger.is_enabled_for(logging.ERROR):
        print_error(text)
        return
    sentence, evidence = split_report(text)
    logger.error(sentence, exception=evidence or None)


def report_refusal(text: str, form: str | None = None) -> None:
    """Report why nothing was started, in the format of the log.

    ``form`` is that of the settings; unless given, it is read from the environment, or ``auto`` where that is refused.
    """
    if form is None:
        try:
            form = KernelSettings().log_format
        except ValidationError:
            form = "auto"
    with log_to_stderr(form, "info"):
        report_failure(text)


def print_error(text: str) -> None:
    """Print an error to stderr, however logging is configured."""
    sys.stderr.write(f"bandmaster: {masked(text)}\n")
    sys.stderr.flush()


def _make_formatter(form: str) -> logging.Formatter:
    is_terminal = sys.stderr.isatty()
    if form == "json" or (form != "console" and not is_terminal):
        return JsonFormatter()
    return ConsoleFormatter(colors=is_terminal and not os.environ.get("NO_COLOR"))


def _find_level(level: str) -> int:
    return logging.getLevelNamesMapping()[level.upper()]
