"""Decide whether a call is tried again, and after which pause. Pure but for chance."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from random import random

IDEMPOTENT = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PUT", "QUERY", "TRACE"})
"""The methods that may be repeated without harm (RFC 9110, section 9.2.2; RFC 10008 for QUERY)."""
REPEATED_STATUSES = frozenset({429, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a call is repeated, and how long the pauses are. All times are in seconds."""

    retries: int
    backoff_base: float
    backoff_cap: float
    retry_after_cap: float
    chance: Callable[[], float] = random

    def find_pause(self, attempts: int, retry_after: float | None = None) -> float | None:
        """The pause after a number of failed attempts; None if there is no further attempt.

        Pauses grow, and half of each is chance, so that clients don't come back at the same moment. The service's
        ``Retry-After`` is a lower bound; one above the cap means that there is no further attempt.
        """
        if attempts > self.retries:
            return None
        longest = min(self.backoff_cap, self.backoff_base * 2.0 ** (attempts - 1))
        pause = longest * (1 + self.chance()) / 2
        if retry_after is None:
            return pause
        return None if retry_after > self.retry_after_cap else max(pause, retry_after)


def read_retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds of ``Retry-After``, written as seconds or as a date (RFC 9110, section 10.2.3); None without any.

    A date counts from the ``Date`` of the same answer, so that a difference between the clocks doesn't matter.
    """
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        # A number with hundreds of digits isn't one that anybody waits for.
        return float(text) if len(text) < 16 else math.inf
    date = _read_date(text)
    if date is None:
        return None
    now = _read_date(headers.get("date", "")) or datetime.now(UTC)
    return max(0.0, (date - now).total_seconds())


def _read_date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return date.replace(tzinfo=UTC) if date.tzinfo is None else date
