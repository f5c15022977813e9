"""The logger of this distribution."""

from __future__ import annotations

from bandmaster.kernel import FieldLogger, get_logger


def log() -> FieldLogger:
    """The logger, made at each use, so that importing a module imports nothing else."""
    return get_logger("bandmaster.persistence")
