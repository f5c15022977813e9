"""How spans end, and which attributes describe a failure."""

from __future__ import annotations

import traceback
from asyncio import CancelledError

from opentelemetry.trace import Span, Status, StatusCode

from bandmaster.contrib.tracing.error_names import name_error
from bandmaster.kernel import Redactor

SCOPE = "bandmaster.tracing"
"""The instrumentation scope of all spans."""
ERROR_TYPE = "error.type"
CANCELLED = "bandmaster.cancelled"
"""Whether the caller stopped waiting: neither a success nor a failure."""


def is_cancellation(error: BaseException | None) -> bool:
    """Whether an error is the caller's own cancellation, or the end of the program."""
    return isinstance(error, CancelledError | GeneratorExit) or (error is not None and not isinstance(error, Exception))


def end_span(span: Span, error: BaseException | None, kind: str | None = None) -> None:
    """End a span, with the type of its error and without the error's text, which may quote values.

    ``kind`` is a better name for the error than its class, such as a code of the server.
    """
    if is_cancellation(error):
        span.set_attribute(CANCELLED, True)
    elif error is not None:
        mark_failed(span, kind or name_error(error))
    span.end()


def mark_failed(span: Span, kind: str) -> None:
    """Give a span the status of a failure."""
    span.set_attribute(ERROR_TYPE, kind)
    span.set_status(Status(StatusCode.ERROR))


def record_error(span: Span, error: BaseException, redactor: Redactor) -> None:
    """Add the error of an application's own code as an event: type, text and traceback, with secrets redacted.

    The traceback has lines of code and no values of variables.
    """
    if not span.is_recording():
        return
    lines = traceback.format_exception(type(error), error, error.__traceback__)
    span.add_event(
        "exception",
        {
            "exception.type": name_error(error),
            "exception.message": redactor.redact_text(str(error)),
            "exception.stacktrace": redactor.redact_text("".join(lines)),
        },
    )
