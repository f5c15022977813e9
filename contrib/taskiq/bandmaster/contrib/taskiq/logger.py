"""The logger of the task queue."""

from __future__ import annotations

import structlog


def get_logger() -> structlog.typing.FilteringBoundLogger:
    """The logger that every event of this package goes to, bound when called so that tests can capture events."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger("bandmaster.taskiq")
    return logger
