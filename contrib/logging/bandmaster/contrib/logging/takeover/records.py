"""Read records of the standard library's logging, and pass them to a pipeline."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from bandmaster.contrib.logging.pipeline import Pipeline

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}
"""The attributes that every record may have; uvicorn adds the last one. All others are fields of the caller."""


class RecordHandler(logging.Handler):
    """Passes each record to the pipeline that is current then."""

    def __init__(self, current: Callable[[], Pipeline | None]) -> None:
        super().__init__()
        self._current = current

    def emit(self, record: logging.LogRecord) -> None:
        """Pass one record."""
        pipeline = self._current()
        if pipeline is not None:
            pass_record(record, pipeline)


def pass_record(record: logging.LogRecord, pipeline: Pipeline) -> None:
    """Pass a record to a pipeline: with the fields of bandmaster's loggers, or else with the caller's ``extra``."""
    event, fields = read_event(record)
    error = record.exc_info[1] if record.exc_info else None
    # bandmaster's own loggers have rendered the exception already.
    exception, evidence = None if record.exc_text else error, record.exc_text or ""
    if record.stack_info:
        evidence = f"{evidence}\n{record.stack_info}" if evidence else record.stack_info
    pipeline.emit(
        record.levelno,
        record.name,
        event,
        fields,
        exception=exception,
        evidence=evidence,
        error=error,
        template=read_template(record),
        created=record.created,
        limited=record.name not in _COUNTED,
    )


_COUNTED = frozenset(("bandmaster.web.access", "bandmaster.audit"))
"""Loggers with one event for each thing that happens, of which none may be missing."""


def read_template(record: logging.LogRecord) -> str:
    """The text of a record without its values; empty if the text has none, or if the record has fields."""
    return record.msg if record.args and isinstance(record.msg, str) and "event" not in record.__dict__ else ""


def read_event(record: logging.LogRecord) -> tuple[str, dict[str, Any]]:
    """The event and the fields of a record."""
    fields = record.__dict__.get("fields")
    if isinstance(fields, Mapping) and "event" in record.__dict__:
        return str(record.__dict__["event"]), {str(name): value for name, value in fields.items()}
    extra = {name: value for name, value in record.__dict__.items() if name not in _STANDARD}
    try:
        return record.getMessage().rstrip("\n"), extra
    except Exception as error:  # noqa: BLE001  # arguments that don't fit the message, or whose text can't be made
        return str(record.msg), {**extra, "arguments": f"can't be rendered: {type(error).__name__}"}
