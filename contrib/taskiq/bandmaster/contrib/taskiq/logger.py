"""The logger of the task queue."""

from __future__ import annotations

from bandmaster.kernel import FieldLogger
from bandmaster.kernel import get_logger as get_kernel_logger


def get_logger() -> FieldLogger:
    """The logger that every event of this package goes to."""
    return get_kernel_logger("bandmaster.taskiq")
