"""Growing pauses between retries of an operation. The first failure and the recovery are logged."""

from __future__ import annotations

import math
import random

from bandmaster.contrib.taskiq.logger import get_logger

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 2.0


class RetryBackoff:
    """The consecutive failures of one operation."""

    __slots__ = ("_failures", "_fields", "_operation")

    def __init__(self, operation: str, **fields: str) -> None:
        self._operation = operation
        self._fields = fields
        self._failures = 0

    def record_failure(self, error: BaseException) -> float:
        """Count a failure and return the seconds to wait before the next try."""
        if self._failures == 0:
            get_logger().warning(
                f"{self._operation} fails, and is retried until it succeeds", error=str(error), **self._fields
            )
        pause = min(_LONGEST_PAUSE, math.ldexp(_FIRST_PAUSE, min(self._failures, 16)))
        self._failures += 1
        return pause * random.uniform(0.5, 1)  # noqa: S311  # so that many workers don't reconnect at the same moment

    def record_success(self) -> None:
        """Count from the beginning again."""
        if self._failures:
            self._failures = 0
            get_logger().info(f"{self._operation} succeeds again", **self._fields)
