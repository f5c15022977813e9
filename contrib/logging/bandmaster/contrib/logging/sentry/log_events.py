"""Make events and breadcrumbs of Sentry from the events of the log."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from bandmaster.contrib.logging.pipeline import LogEvent
from bandmaster.contrib.logging.sentry.kernel_events import KERNEL_LOGGER
from bandmaster.contrib.logging.settings import find_level
from bandmaster.contrib.logging.takeover.records import read_event, read_template
from bandmaster.kernel import Redactor, render_traceback

if TYPE_CHECKING:
    # The import of the SDK opens a socket, so functions import the SDK where they need a function.
    import sentry_sdk

OWN_LOGGER = "bandmaster.sentry"
_SILENT = (OWN_LOGGER, "sentry_sdk", "urllib3")
"""Loggers whose events would lead to further ones, and so on."""
_LEVELS = {logging.DEBUG: "debug", logging.INFO: "info", logging.WARNING: "warning", logging.ERROR: "error"}
_OF_THE_REQUEST = frozenset({"request_id", "correlation_id", "tenant", "user", "trace_id", "span_id"})
"""Fields that an event has as tags."""


class LogReporter:
    """Reports events of the log: those of the level ``least`` and above as events, others as breadcrumbs."""

    def __init__(self, client: sentry_sdk.Client, *, least: str, least_breadcrumb: str) -> None:
        self._client = client
        self._least = find_level(least)
        self._least_breadcrumb = find_level(least_breadcrumb)

    @property
    def least(self) -> int:
        """The least level that is reported at all."""
        return min(self._least, self._least_breadcrumb)

    def report(self, logged: LogEvent) -> None:
        """Report one event of the log."""
        if logged.level < self.least or logged.logger.startswith(_SILENT) or not self._is_current():
            return
        import sentry_sdk

        # The kernel names errors in its log, and shows them in its events.
        is_reported = logged.logger == KERNEL_LOGGER and logged.error is None
        if logged.level >= self._least and not is_reported and not _is_expected(logged.error):
            event, hint = make_event(logged, self._client.options)
            sentry_sdk.capture_event(event, hint)
        if logged.level >= self._least_breadcrumb:
            sentry_sdk.add_breadcrumb(make_breadcrumb(logged))

    def _is_current(self) -> bool:
        import sentry_sdk

        return sentry_sdk.get_client() is self._client


class RecordReporter(logging.Handler):
    """Passes records of the standard library to a reporter, where the log itself isn't bandmaster's."""

    def __init__(self, reporter: LogReporter, redactor: Redactor) -> None:
        super().__init__(reporter.least)
        self._reporter = reporter
        self._redactor = redactor

    def emit(self, record: logging.LogRecord) -> None:
        """Report one record."""
        try:
            self._reporter.report(_read_record(record, self._redactor))
        except Exception:  # noqa: BLE001  # a log must not fail the code that logs
            self.handleError(record)


def make_event(logged: LogEvent, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """An event of Sentry, with the hint for the SDK.

    Events of an exception are grouped by the traceback, others by the logger and the name of the event.
    """
    hint: dict[str, Any] = {}
    event: dict[str, Any] = {}
    from sentry_sdk.utils import event_from_exception

    if logged.error is not None:
        # What bandmaster itself logs, nobody has handled.
        mechanism = {"type": "logging", "handled": not logged.logger.startswith("bandmaster.")}
        made, hint = event_from_exception(logged.error, client_options=options, mechanism=mechanism)
        event = dict(made)
    else:
        event["fingerprint"] = [logged.logger, logged.template or logged.event]
    event |= {
        "level": _LEVELS.get(logged.level, "fatal" if logged.level > logging.ERROR else "info"),
        "logger": logged.logger,
        "logentry": {"message": logged.template or logged.event, "formatted": logged.event},
        "timestamp": logged.time,
        "extra": {name: value for name, value in logged.fields.items() if name not in _OF_THE_REQUEST},
    }
    return event, hint


def make_breadcrumb(logged: LogEvent) -> dict[str, Any]:
    """A breadcrumb: an event of the log before an error."""
    return {
        "type": "log",
        "level": _LEVELS.get(logged.level, "fatal" if logged.level > logging.ERROR else "info"),
        "category": logged.logger,
        "message": logged.event,
        "timestamp": logged.time,
        "data": {name: value for name, value in logged.fields.items() if name not in _OF_THE_REQUEST},
    }


def _is_expected(error: BaseException | None) -> bool:
    """Whether an exception is no fault of the application: an error of the client, or a cancelled request."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(_is_expected, error.exceptions))
    if isinstance(error, HTTPException):
        return error.status_code < 500  # RFC 9110: 5xx are errors of the server
    return isinstance(error, asyncio.CancelledError | ClientDisconnect | KeyboardInterrupt | SystemExit) or (
        type(error).__name__ == "Cancelled" and type(error).__module__.partition(".")[0] == "trio"
    )


def _read_record(record: logging.LogRecord, redactor: Redactor) -> LogEvent:
    event, fields = read_event(record)
    error = record.exc_info[1] if record.exc_info else None
    trace = record.exc_text or (render_traceback(error) if error is not None else "")
    return LogEvent(
        record.created,
        record.levelno,
        record.name,
        redactor.redact_text(event),
        redactor.redact_mapping(fields),
        redactor.redact_text(trace),
        error,
        read_template(record),
    )
