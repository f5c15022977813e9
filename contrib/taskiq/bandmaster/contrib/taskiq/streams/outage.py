"""A time in which something doesn't succeed: told when it begins and when it ends, tried ever less often between."""

from __future__ import annotations

import math
import random

import structlog

_FIRST, _LONGEST = 0.05, 2.0


def log() -> structlog.typing.FilteringBoundLogger:
    """Where this package tells things."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger("bandmaster.taskiq")
    return logger


class Outage:
    """What doesn't succeed at the moment, if so."""

    __slots__ = ("_failures", "_fields", "_what")

    def __init__(self, what: str, **fields: object) -> None:
        self._what = what
        self._fields = fields
        self._failures = 0

    def failed(self, error: BaseException) -> float:
        """It has failed; the answer is for how many seconds to wait now."""
        if self._failures == 0:
            log().warning(f"{self._what} fails, and is tried again until it succeeds", error=str(error), **self._fields)
        pause = min(_LONGEST, math.ldexp(_FIRST, min(self._failures, 16)))
        self._failures += 1
        return pause * random.uniform(0.5, 1)  # noqa: S311  # many workers mustn't come back at the same moment

    def over(self) -> None:
        """It has succeeded."""
        if self._failures:
            self._failures = 0
            log().info(f"{self._what} succeeds again", **self._fields)
