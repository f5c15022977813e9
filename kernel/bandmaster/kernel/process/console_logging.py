"""Log lines and errors on stderr, for people, with secrets masked."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

from bandmaster.kernel.process.servers import hypercorn, uvicorn
from bandmaster.kernel.text import MASK, is_secret_name, masked


@contextmanager
def readable_logging(*, debug: bool = False) -> Iterator[None]:
    """Log to stderr in a form for people, unless logging is configured already."""
    import structlog

    is_unconfigured = not structlog.is_configured()
    root = logging.getLogger()
    handler = None if root.handlers else logging.StreamHandler(sys.stderr)
    level = logging.DEBUG if debug else logging.INFO
    if is_unconfigured:
        structlog.configure(
            processors=[
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
                structlog.processors.format_exc_info,
                _mask_fields,
                structlog.dev.ConsoleRenderer(
                    colors=sys.stderr.isatty(),
                    sort_keys=False,
                    # structlog's default prints the values of local variables, and those may be secrets.
                    exception_formatter=structlog.dev.plain_traceback,
                ),
            ],
            wrapper_class=structlog.make_filtering_bound_logger(level),
            logger_factory=structlog.PrintLoggerFactory(sys.stderr),
            cache_logger_on_first_use=False,
        )
    before = root.level
    if handler is not None:
        handler.setFormatter(
            _MaskingFormatter("%(asctime)s [%(levelname)-8s] %(name)s: %(message)s", "%H:%M:%S"),
        )
        root.addHandler(handler)
        root.setLevel(level)
        # The launcher logs its own start and stop, so those of the server would be the same news twice. The server's
        # warnings stay.
        for name in (uvicorn.LOGGER, hypercorn.LOGGER):
            logging.getLogger(name).setLevel(logging.DEBUG if debug else logging.WARNING)
    try:
        yield
    finally:
        if is_unconfigured:
            structlog.reset_defaults()
        if handler is not None:
            root.removeHandler(handler)
            root.setLevel(before)


def print_error(text: str) -> None:
    """Print an error to stderr, however logging is configured."""
    sys.stderr.write(f"bandmaster: {masked(text)}\n")
    sys.stderr.flush()


class _MaskingFormatter(logging.Formatter):
    """Masks secrets in log lines that other libraries have written, such as the servers."""

    def format(self, record: logging.LogRecord) -> str:
        """Render a record with the traceback."""
        return masked(super().format(record))


def _mask_fields(_logger: object, _method: str, fields: MutableMapping[str, Any]) -> dict[str, Any]:
    """Mask secrets before structlog renders the fields, because colours would stand between a name and the value."""
    return {name: MASK if value and is_secret_name(name) else _mask_value(value) for name, value in fields.items()}


def _mask_value(value: object) -> object:
    if isinstance(value, str):
        return masked(value)
    text = repr(value)
    # A value without a secret stays as it is, because structlog renders a string in another way than a number or a
    # list.
    return value if masked(text) == text else masked(text)
