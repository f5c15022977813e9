"""Take over the loggers of the standard library: one handler at the root, and no line of a server's own."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from logging.handlers import QueueHandler

SERVER_LOGGERS = (
    "uvicorn",
    "uvicorn.error",
    "uvicorn.asgi",
    "_granian",
    "hypercorn.error",
    "gunicorn.error",
)
"""Loggers to which servers add handlers of their own, some of them after the application has started."""
ACCESS_LOGGERS = ("uvicorn.access", "granian.access", "hypercorn.access", "gunicorn.access")
"""Loggers of servers with one record for each request."""
_ACCESS_MESSAGES = ('%s - "WebSocket %s"', "connection open", "connection closed")
"""Beginnings of records by which uvicorn logs a WebSocket at another logger than that of requests."""


@dataclass(slots=True)
class _Before:
    """The state of a logger before the take-over."""

    level: int
    propagate: bool
    removed: list[tuple[int, logging.Handler]]


class StandardLoggers:
    """The loggers of the process, with a handler at the root in place of those that write to stdout or stderr.

    Other handlers, such as those of error trackers and files, stay as they are. Changes of others meanwhile stay
    after `restore`, too.
    """

    def __init__(self, handler: logging.Handler) -> None:
        self.drops_access = True
        """Whether the servers' own records of requests are dropped."""
        self._handler = handler
        self._disabled = {logger for logger in _list_loggers() if logger.disabled}
        self._before: dict[logging.Logger, _Before] = {}
        self._levels: dict[logging.Logger, int] = {}
        self._filters: list[tuple[logging.Logger, logging.Filter]] = []
        self._captures_warnings = False
        try:
            self._take_over()
        except BaseException:
            self.restore()
            raise

    def set_levels(self, level: int, levels: Mapping[str, int]) -> None:
        """Set the level of every logger, and the levels of single ones; those that were set before are restored.

        Servers give their loggers levels, which count only where they are higher.
        """
        self._restore_levels()
        for name in (*SERVER_LOGGERS, *ACCESS_LOGGERS):
            logger = logging.getLogger(name)
            above = [each for each in levels if f"{name}.".startswith(f"{each}.")]
            number = levels[max(above, key=len)] if above else max(level, self._remember(logger).level)
            self._set_level(logger, number)
        self._set_level(logging.getLogger(), level)
        for name, number in levels.items():
            self._set_level(logging.getLogger(name), number)

    def is_enabled(self, logger: logging.Logger, level: int) -> bool:
        """Whether a logger has this level, whatever level a server has given the logger since."""
        return level >= self._levels.get(logger, logging.NOTSET)

    def take_again(self) -> bool:
        """Take over again, if other code has configured logging anew since. Whether that was so.

        ``logging.config`` removes the handlers of the root, and disables the loggers that aren't named.
        """
        if self._handler in logging.getLogger().handlers:
            return False
        self._take_root()
        for logger in _list_loggers():
            logger.disabled = logger in self._disabled
        for logger, number in self._levels.items():
            logger.setLevel(number)
        return True

    def restore(self) -> None:
        """Undo everything."""
        for logger, guard in self._filters:
            logger.removeFilter(guard)
        self._restore_levels()
        logging.getLogger().removeHandler(self._handler)
        for logger, before in self._before.items():
            for position, handler in before.removed:
                if handler not in logger.handlers:
                    logger.handlers.insert(min(position, len(logger.handlers)), handler)
            if logger is not logging.getLogger():
                logger.propagate = before.propagate
        if self._captures_warnings:
            logging.captureWarnings(False)

    def free_late(self, logger: logging.Logger) -> None:
        """Take over a logger, and those above, that their server has configured since."""
        above: logging.Logger | None = logger
        while above is not None and above.parent is not None:
            if not above.propagate or any(map(_writes_to_terminal, above.handlers)):
                self._free(above)
            above = above.parent

    def _take_over(self) -> None:
        self._take_root()
        for name in (*SERVER_LOGGERS, *ACCESS_LOGGERS):
            logger = logging.getLogger(name)
            self._free(logger)
            # Asked before the handlers of the logger are called, so that none that was added meanwhile is called.
            guard = _Guard(self, logger, is_access=name in ACCESS_LOGGERS)
            logger.addFilter(guard)
            self._filters.append((logger, guard))
        self._captures_warnings = _capture_warnings()

    def _take_root(self) -> None:
        root = logging.getLogger()
        self._strip(root)
        root.addHandler(self._handler)
        for logger in _list_loggers():
            if any(map(_writes_to_terminal, logger.handlers)):
                self._free(logger)

    def _free(self, logger: logging.Logger) -> None:
        """Let the records of a logger reach the root's handler, and no handler of its own that shows them as well."""
        self._remember(logger)
        self._strip(logger)
        logger.propagate = True

    def _strip(self, logger: logging.Logger) -> None:
        before = self._remember(logger)
        for position, handler in enumerate(list(logger.handlers)):
            if _writes_to_terminal(handler) and handler is not self._handler:
                logger.removeHandler(handler)
                before.removed.append((position, handler))

    def _remember(self, logger: logging.Logger) -> _Before:
        before = self._before.get(logger)
        if before is None:
            before = self._before[logger] = _Before(logger.level, logger.propagate, [])
        return before

    def _set_level(self, logger: logging.Logger, number: int) -> None:
        self._remember(logger)
        self._levels[logger] = number
        logger.setLevel(number)

    def _restore_levels(self) -> None:
        for logger, number in self._levels.items():
            if logger.level == number:
                logger.setLevel(self._before[logger].level)
        self._levels.clear()


class _Guard(logging.Filter):
    """Takes over a server's logger again where the server has configured the logger since, or drops its records."""

    def __init__(self, loggers: StandardLoggers, logger: logging.Logger, *, is_access: bool) -> None:
        super().__init__()
        self._loggers = loggers
        self._logger = logger
        self._is_access = is_access

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is handled."""
        if self._loggers.drops_access and (self._is_access or str(record.msg).startswith(_ACCESS_MESSAGES)):
            return False
        self._loggers.free_late(self._logger)
        return self._loggers.is_enabled(self._logger, record.levelno)


def _writes_to_terminal(handler: logging.Handler) -> bool:
    """Whether a handler shows records on the standard streams of the process.

    A handler of another class, such as one of a test runner that captures records, isn't one of those.
    """
    if type(handler).__module__ == "rich.logging":
        return True
    if isinstance(handler, QueueHandler):
        # Litestar's, among others: a thread passes the records on.
        behind = getattr(getattr(handler, "listener", None), "handlers", ())
        return bool(behind) and all(map(_writes_to_terminal, behind))
    if type(handler).__module__.partition(".")[0] == "_pytest" or not isinstance(handler, logging.StreamHandler):
        return False
    stream = getattr(handler, "stream", None)
    if isinstance(handler, logging.FileHandler) or stream is None:
        return False
    if any(stream is each for each in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)):
        return True
    with suppress(Exception):  # a stream of any class, which may be closed
        return stream.fileno() in (1, 2)
    return False


def _list_loggers() -> Iterator[logging.Logger]:
    """Every logger that exists, without the root."""
    for logger in list(logging.Logger.manager.loggerDict.values()):
        if isinstance(logger, logging.Logger):
            yield logger


def _capture_warnings() -> bool:
    """Let warnings of Python become records. Whether that was this call's doing."""
    import warnings

    before = warnings.showwarning
    logging.captureWarnings(True)
    return warnings.showwarning is not before
