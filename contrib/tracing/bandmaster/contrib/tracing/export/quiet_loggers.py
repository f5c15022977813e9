"""Keep the exporters' own log records out of the log, and remember the last one as the reason of a failure.

The exporters of the SDK log each failed attempt, some with a traceback. An `ExportLog` tells the same once.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_LOGGERS = (
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.exporter.otlp.proto.http._log_exporter",
    "opentelemetry.exporter.otlp.proto.http.metric_exporter",
    "opentelemetry.exporter.otlp.proto.grpc.exporter",
    "opentelemetry.exporter.otlp.common.http",
    "urllib3.connectionpool",
    "urllib3.util.retry",
)


class ThreadLogFilter(logging.Filter):
    """Stops the records of one thread, and keeps the message of the last.

    Records of other threads pass: another program in this process may use the same exporters. Records of the thread
    that exports would be exported in turn where logs go to the collector as well.
    """

    def __init__(self) -> None:
        super().__init__()
        self.thread: threading.Thread | None = None
        """The thread whose records are stopped."""
        self.last = ""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record passes."""
        if threading.current_thread() is not self.thread:
            return True
        if record.levelno >= logging.WARNING:
            self.last = record.getMessage()
        return False

    def take_reason(self) -> str:
        """The message of the last warning or error since the last call; empty if there was none."""
        reason, self.last = self.last, ""
        return reason


@contextmanager
def quiet_exporters() -> Iterator[ThreadLogFilter]:
    """Stop the records of exporters in one thread, which is set later, until the block ends."""
    added = ThreadLogFilter()
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    for logger in loggers:
        logger.addFilter(added)
    try:
        yield added
    finally:
        for logger in loggers:
            logger.removeFilter(added)
