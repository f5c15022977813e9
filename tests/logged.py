"""Capture the records of the log as dictionaries: event, level, fields and traceback."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class HandlersWithoutPytest(list[logging.Handler]):
    """The handlers of a logger. The launcher configures logging where nothing else has, and pytest always has."""

    def append(self, handler: logging.Handler) -> None:
        """Add a handler that isn't pytest's."""
        if not type(handler).__module__.startswith("_pytest."):
            super().append(handler)


class _Capture(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.entries: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        entry = {"event": record.event, "log_level": record.levelname.lower(), **record.fields}
        if record.exc_text:
            entry["exception"] = record.exc_text
        self.entries.append(entry)


@contextmanager
def capture_logs(name: str = "bandmaster", *, level: int = logging.DEBUG) -> Iterator[list[dict[str, Any]]]:
    """Yield the records of a logger and of those below it, which are also handled as usual."""
    logger, capture = logging.getLogger(name), _Capture()
    before = logger.level
    logger.addHandler(capture)
    logger.setLevel(level)
    try:
        yield capture.entries
    finally:
        logger.removeHandler(capture)
        logger.setLevel(before)
