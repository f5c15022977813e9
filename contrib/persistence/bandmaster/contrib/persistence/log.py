"""The logger of this distribution."""

from __future__ import annotations

import structlog


def log() -> structlog.typing.FilteringBoundLogger:
    """The logger, made at each use, so that importing a module configures nothing."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger("bandmaster.persistence")
    return logger
