"""Pass the events of structlog to the standard library's logging, where the application uses structlog."""

from __future__ import annotations

import sys
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

from bandmaster.kernel.logs import mask_fields


@contextmanager
def pass_structlog_events() -> Iterator[None]:
    """Let events of structlog become records with fields, unless structlog is configured or wasn't imported.

    By default, structlog prints events to standard output in a format of its own.
    """
    structlog: Any = sys.modules.get("structlog")
    if structlog is None or structlog.is_configured():
        yield
        return
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            _make_call,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    try:
        yield
    finally:
        structlog.reset_defaults()


def _make_call(_logger: object, _method: str, event: MutableMapping[str, Any]) -> tuple[tuple[str], dict[str, Any]]:
    """The arguments with which the method of the standard library's logger is called: structlog's last processor."""
    text = str(event.pop("event", ""))
    options = {name: event.pop(name) for name in ("exc_info", "stack_info") if name in event}
    return (text,), {**options, "extra": {"event": text, "fields": mask_fields(event)}}
