"""The number of the attempt and the errors of earlier ones, in a message's labels. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from taskiq.labels import prepare_label

from bandmaster.contrib.taskiq.errors import render_error
from bandmaster.contrib.taskiq.message_labels import ATTEMPT, DELAY, FAILURES, ONCE, ONCE_FOR
from bandmaster.contrib.taskiq.propagation import make_trace_labels

_FIRST_SENDING_LABELS = (DELAY, ONCE, ONCE_FOR)
"""Labels that a retry doesn't have: they are about the first sending only."""
_MOST_FAILURES = 10


def read_attempt(labels: Mapping[str, Any]) -> int:
    """The number of the attempt; 1 if the label is missing or invalid."""
    try:
        return max(1, int(labels.get(ATTEMPT, 1)))
    except (TypeError, ValueError):
        return 1


def make_next_labels(
    labels: Mapping[str, Any],
    next_attempt: int,
    attempt: int,
    error: BaseException | None,
    now: datetime,
    fields: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The labels of the message's next delivery: with the number of its attempt and the error of this one.

    ``fields`` are those of a trace that the next attempt gets besides.
    """
    found = {
        name: prepare_label(value)[0] if isinstance(value, bytes) else value
        for name, value in labels.items()
        if name not in _FIRST_SENDING_LABELS
    }
    found[ATTEMPT] = str(next_attempt)
    if error is not None:
        failure = {"attempt": attempt, "at": now.isoformat(timespec="milliseconds"), "error": render_error(error)}
        found[FAILURES] = json.dumps([*_read_failures(labels.get(FAILURES)), failure][-_MOST_FAILURES:])
    return found | make_trace_labels(fields or {})


def _read_failures(label: Any) -> list[Any]:
    try:
        failures = json.loads(label) if label else []
    except (TypeError, ValueError):
        return []
    return failures if isinstance(failures, list) else []
