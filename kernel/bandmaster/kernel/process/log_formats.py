"""Render records of the standard library's logging as lines for people or as JSON, with secrets masked."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from typing import Any

from bandmaster.kernel.logs import escape_controls, mask_fields, render_fields
from bandmaster.kernel.redaction.masking import masked

_COLORS = {"warning": "\x1b[33m", "error": "\x1b[31m", "critical": "\x1b[31m"}
_NO_COLOR = "\x1b[0m"

_OWN = ("bandmaster.kernel",)
"""The logger that the console doesn't name on every line."""
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}
"""The attributes that every record may have; uvicorn adds the last one. All others are fields of the caller."""
_KEYS = ("time", "level", "logger", "event", "exception")


class ConsoleFormatter(logging.Formatter):
    """One line for each record: time in UTC, level, logger, event, then ``name=value`` for each field.

    Fields of several lines and tracebacks stand below the line.
    """

    def __init__(self, *, colors: bool = False) -> None:
        super().__init__()
        self._colors = colors

    def format(self, record: logging.LogRecord) -> str:
        """Render a record."""
        event, fields = read_event(record)
        head = render_console_head(record.created, record.levelname.lower(), colors=self._colors)
        line = masked(render_console_line(record.name, event, fields))
        evidence = _render_evidence(self, record)
        return f"{head} {line}" + (f"\n{evidence}" if evidence else "")


def render_console_head(created: float, level: str, *, colors: bool = False) -> str:
    """The time in UTC and the level, which begin a line for people."""
    shown = f"{level:<7}"
    if colors and level in _COLORS:
        shown = f"{_COLORS[level]}{shown}{_NO_COLOR}"
    return f"{render_time(created)} {shown}"


def render_console_line(logger: str, event: str, fields: Mapping[str, Any]) -> str:
    """The rest of a line for people: the logger, the event, then ``name=value`` for each field; not masked."""
    name = "" if logger in _OWN else f"{logger}: "
    values = render_fields(fields)
    separator = "" if not values or values.startswith("\n") else " "
    # A line that looks like the beginning of another record would be one for its readers.
    event = escape_controls(event).replace("\n", "\n  ")
    return f"{name}{event}{separator}{values}"


class JsonFormatter(logging.Formatter):
    """One JSON object for each record: time in UTC (RFC 3339), level, logger, event, every field, exception."""

    def format(self, record: logging.LogRecord) -> str:
        """Render a record."""
        event, fields = read_event(record)
        data: dict[str, Any] = {
            "time": render_time(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": event,
            **{f"{name}_" if name in _KEYS else name: value for name, value in fields.items()},
        }
        if evidence := _render_evidence(self, record):
            data["exception"] = evidence
        try:
            return json.dumps(data, default=str, allow_nan=False)
        except (TypeError, ValueError):  # a key that is no text, NaN, a cycle
            return json.dumps({name: str(value) for name, value in data.items()})


def read_event(record: logging.LogRecord) -> tuple[str, dict[str, Any]]:
    """The event of a record and its fields, which are those of a `FieldLogger`, or else the caller's ``extra``."""
    fields = getattr(record, "fields", None)
    if isinstance(fields, Mapping):
        return str(getattr(record, "event", record.msg)), dict(fields)
    extra = {name: value for name, value in vars(record).items() if name not in _STANDARD}
    return masked(record.getMessage()), mask_fields(extra)


def render_time(created: float) -> str:
    """A time in UTC with milliseconds, in the format of RFC 3339."""
    milliseconds = int(created * 1000 + 0.5)
    second = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(milliseconds // 1000))
    return f"{second}.{milliseconds % 1000:03}Z"


def _render_evidence(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    """The traceback and the stack of a record."""
    trace = record.exc_text or (formatter.formatException(record.exc_info) if record.exc_info else "")
    stack = formatter.formatStack(record.stack_info) if record.stack_info else ""
    return masked("\n".join(part for part in (trace, stack) if part))
