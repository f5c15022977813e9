"""Log events with fields through the standard library's logging, with secrets masked."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, TypeAlias

from bandmaster.kernel.redaction.masking import MASK, masked
from bandmaster.kernel.redaction.redactor import redact_fields
from bandmaster.kernel.redaction.rules import Rules
from bandmaster.kernel.tracebacks import render_traceback

_ExcInfo: TypeAlias = tuple[type[BaseException], BaseException, TracebackType | None]


class FieldLogger:
    """Logs events with fields to one logger of the standard library.

    Each record has the attributes ``event``, a text without values, and ``fields``, the values by name. The message is
    both together, for formatters that know neither: ``component started component=database took=0.012``.

    ``exception`` is an exception or a traceback as text. Secrets are masked in the event, in the fields and in the
    traceback. The traceback has no values of variables.
    """

    __slots__ = ("_logger",)

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    def debug(self, event: str, /, *, exception: BaseException | str | None = None, **fields: Any) -> None:
        """Log an event that only the search for a fault needs."""
        self._log(logging.DEBUG, event, exception, fields)

    def info(self, event: str, /, *, exception: BaseException | str | None = None, **fields: Any) -> None:
        """Log an event that is expected."""
        self._log(logging.INFO, event, exception, fields)

    def warning(self, event: str, /, *, exception: BaseException | str | None = None, **fields: Any) -> None:
        """Log an event that somebody should look at some time."""
        self._log(logging.WARNING, event, exception, fields)

    def error(self, event: str, /, *, exception: BaseException | str | None = None, **fields: Any) -> None:
        """Log a failure."""
        self._log(logging.ERROR, event, exception, fields)

    def is_enabled_for(self, level: int) -> bool:
        """Whether a record of this level of the standard library would be handled."""
        return self._logger.isEnabledFor(level)

    def _log(self, level: int, event: str, exception: BaseException | str | None, fields: Mapping[str, Any]) -> None:
        logger = self._logger
        if not logger.isEnabledFor(level):
            return
        event = masked(event)
        fields = mask_fields(fields)
        template, values = _make_message(event, fields)
        # The caller of the method that called this one.
        file, line, function, _ = logger.findCaller(stacklevel=3)
        exc_info: _ExcInfo | None = None
        if isinstance(exception, BaseException):
            exc_info = (type(exception), exception, exception.__traceback__)
        record = logger.makeRecord(
            logger.name, level, file, line, template, values, exc_info, function, {"event": event, "fields": fields}
        )
        if exception is not None:
            # Formatters of the standard library take this text where there is one. They would render the exception
            # unmasked, and other formatters with the values of variables.
            text = render_traceback(exception) if isinstance(exception, BaseException) else exception
            record.exc_text = masked(text)
        logger.handle(record)
        if level >= logging.ERROR and isinstance(exception, BaseException):
            note_logged(exception)


def get_logger(name: str) -> FieldLogger:
    """The logger of a part, with the name of a logger of the standard library: ``bandmaster.redis``."""
    return FieldLogger(logging.getLogger(name))


def note_logged(error: BaseException) -> None:
    """Note that an exception needs no further record. A `FieldLogger` notes those that it has logged as errors."""
    with suppress(Exception):  # an exception may be frozen
        setattr(error, _LOGGED, True)


def was_logged(error: BaseException) -> bool:
    """Whether an exception, or every exception of a group, needs no further record."""
    if isinstance(error, BaseExceptionGroup) and not getattr(error, _LOGGED, False):
        return all(map(was_logged, error.exceptions))
    return getattr(error, _LOGGED, False) is True


_LOGGED = "__bandmaster_logged__"
# The kernel's own logs show more of a value than a `Redactor` does by default: a plan has many parts.
_RULES = Rules(marker=MASK, max_depth=8, max_items=1000, max_text=100_000)


def mask_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields with the secrets masked: values under the name of a secret, and secrets inside other values."""
    return redact_fields(fields, _RULES)


def render_fields(fields: Mapping[str, Any]) -> str:
    """Fields as text, ``name=value`` each; values of several lines stand below, each line indented."""
    template, values = _make_message("", fields)
    return (template % values).lstrip(" ")


def _make_message(event: str, fields: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """A template with the names, and the values for it: trackers of errors group records by the template."""
    event = escape_controls(event)
    if not fields:
        return event, ()
    rendered = {name: _render_value(value) for name, value in fields.items()}
    inline = {name: text for name, text in rendered.items() if "\n" not in text}
    blocks = {name: text for name, text in rendered.items() if "\n" in text}
    template = event.replace("%", "%%")
    template += "".join(f" {name}=%s" for name in inline) + "".join(f"\n{name}:\n%s" for name in blocks)
    return template, (*inline.values(), *(_indent(text) for text in blocks.values()))


def _render_value(value: object) -> str:
    if isinstance(value, list | tuple | set | frozenset):
        return ",".join(_render_value(each) for each in value) or "[]"
    text = str(value)
    if "\n" in text:
        return escape_controls(text)
    if text and text.isprintable() and not any(sign in text for sign in " \"'="):
        return text
    return json.dumps(text, ensure_ascii=not text.isprintable())


def _indent(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.split("\n"))


def escape_controls(text: str) -> str:
    """Escape characters that a terminal would obey, except for the ends of lines."""
    if text.isprintable():
        return text
    return "".join(
        sign if sign.isprintable() or sign in "\n\t" else sign.encode("unicode_escape").decode("ascii") for sign in text
    )
