"""Let structlog's loggers pass their events to a pipeline, at the levels that the standard library's loggers have."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Callable, MutableMapping
from types import FrameType
from typing import Any

import structlog

from bandmaster.contrib.logging.pipeline import Pipeline

_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "msg": logging.INFO,
    "warning": logging.WARNING,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    "exception": logging.ERROR,
    "critical": logging.CRITICAL,
    "fatal": logging.CRITICAL,
    "notset": logging.DEBUG,
}
_KNOWN = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL)
_MOST_NAMES = 10_000
_DONE: tuple[tuple[()], dict[str, Any]] = ((), {})
"""The arguments of a call that does nothing: the pipeline has written the event already."""


class NamedLogger:
    """The logger below a bound logger of structlog: a name, and the standard library's logger with the level."""

    __slots__ = ("name", "standard")

    def __init__(self, name: str) -> None:
        self.name = name
        self.standard = logging.getLogger(name)

    def _ignore(self) -> None:
        """Do nothing."""

    debug = info = msg = warning = warn = error = exception = critical = fatal = log = notset = _ignore


class EventProcessor:
    """The only processor of structlog: passes each event to the pipeline that is current then."""

    def __init__(self, current: Callable[[], Pipeline | None]) -> None:
        self._current = current

    def __call__(self, logger: Any, method: str, event: MutableMapping[str, Any]) -> tuple[tuple[()], dict[str, Any]]:
        """Pass one event. The arguments are those that structlog gives a processor."""
        pipeline = self._current()
        if pipeline is None:
            return _DONE
        fields: dict[str, Any] = event if type(event) is dict else dict(event)
        text = fields.pop("event", "")
        exception, evidence = None, ""
        if "exc_info" in fields:
            exception = _find_exception(fields.pop("exc_info"))
        if "stack_info" in fields:
            evidence = _render_stack(fields.pop("stack_info"))
        if isinstance(fields.get("exception"), str):
            evidence = f"{fields.pop('exception')}\n{evidence}".rstrip()
        name = getattr(logger, "name", "root")
        pipeline.emit(_LEVELS.get(method, logging.INFO), name, text, fields, exception=exception, evidence=evidence)
        return _DONE


class StructlogConfiguration:
    """structlog's configuration, replaced until `restore`."""

    def __init__(self, current: Callable[[], Pipeline | None]) -> None:
        self._before = dict(structlog.get_config()) if structlog.is_configured() else None
        self._names: dict[str, NamedLogger] = {}
        structlog.configure(
            processors=[EventProcessor(current)],
            wrapper_class=_bind_logger,  # type: ignore[arg-type]  # a function that chooses the class by the level
            context_class=dict,
            logger_factory=self._make_logger,
            # A cached logger would go on with this configuration after the stop.
            cache_logger_on_first_use=False,
        )
        self._own = structlog.get_config()["processors"]

    def restore(self) -> None:
        """Restore the configuration from before, unless the program has configured structlog anew since."""
        if structlog.get_config()["processors"] is not self._own:
            return
        if self._before is None:
            structlog.reset_defaults()
        else:
            structlog.configure(**self._before)

    def _make_logger(self, *args: Any) -> NamedLogger:
        """The logger of a name; without one, of the module that logs."""
        name = args[0] if args and isinstance(args[0], str) else _find_module(sys._getframe(1))  # noqa: SLF001  # as structlog itself
        found = self._names.get(name)
        if found is None:
            if len(self._names) >= _MOST_NAMES:
                self._names.clear()
            found = self._names[name] = NamedLogger(name)
        return found


def _bind_logger(logger: Any, processors: Any, context: Any) -> Any:
    """A bound logger that does nothing below the level of the standard library's logger of the same name."""
    # A logger of another class comes from wrap_logger, which names no logger of the standard library.
    is_enabled = (logger.standard if type(logger) is NamedLogger else logging.getLogger()).isEnabledFor
    for level, kind in _CLASSES:
        if is_enabled(level):
            return kind(logger, processors, context)
    return _Silent(logger, processors, context)


class _Silent(structlog.BoundLoggerBase):
    """A bound logger whose level is above every event."""

    def _nothing(self, *_args: Any, **_fields: Any) -> None:
        """Do nothing."""

    async def _anothing(self, *_args: Any, **_fields: Any) -> None:
        """Do nothing."""

    debug = info = msg = warning = warn = error = exception = critical = fatal = log = _nothing
    adebug = ainfo = amsg = awarning = awarn = aerror = aexception = acritical = afatal = alog = _anothing

    def is_enabled_for(self, level: int) -> bool:
        """Whether events of a level are written: never."""
        return False


_CLASSES: tuple[tuple[int, Any], ...] = tuple((level, structlog.make_filtering_bound_logger(level)) for level in _KNOWN)


def _find_module(frame: FrameType | None) -> str:
    """The name of the innermost module outside of structlog."""
    while frame is not None:
        name = frame.f_globals.get("__name__") or "?"
        if name.partition(".")[0] != "structlog":
            return str(name)
        frame = frame.f_back
    return "?"


def _find_exception(exc_info: Any) -> BaseException | None:
    if isinstance(exc_info, BaseException):
        return exc_info
    if isinstance(exc_info, tuple) and len(exc_info) == 3:
        return exc_info[1] if isinstance(exc_info[1], BaseException) else None
    return sys.exc_info()[1] if exc_info else None


def _render_stack(stack_info: Any) -> str:
    if isinstance(stack_info, str):
        return stack_info
    if not stack_info:
        return ""
    frames = [each for each in traceback.extract_stack() if not each.filename.startswith(_OWN_FILES)]
    return "Stack (most recent call last):\n" + "".join(traceback.format_list(frames)).rstrip()


_OWN_FILES = (os.path.dirname(structlog.__file__), __file__)  # noqa: PTH120  # compared with names as they stand
