"""Dead letters: messages that failed for good, stored with the reason until a person replays or purges them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Protocol

from bandmaster.contrib.taskiq.message_labels import ATTEMPT, FAILURES


class Reason(StrEnum):
    """Why a message became a dead letter."""

    UNREADABLE = "unreadable"
    """The bytes aren't a message of TaskIQ's."""
    UNKNOWN = "unknown task"
    """No task of that name is known to the workers."""
    INVALID = "invalid arguments"
    """The arguments don't fit the task's parameters."""
    PERMANENT = "permanent error"
    """The task failed with an error that another attempt doesn't mend."""
    EXHAUSTED = "attempts exhausted"
    """The task failed with a transient error in every attempt."""
    POISON = "deliveries exceeded"
    """The message was delivered as often as allowed and no worker finished the task: the task may kill its workers."""


@dataclass(frozen=True, slots=True)
class Holding:
    """A worker that held the message."""

    consumer: str
    until: datetime
    """When the worker last renewed its lease."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A message with the reason of its failure."""

    id: str
    """The dead letter's own id. Later letters have greater ids."""
    task: str
    """The task's name; empty if the message can't be parsed."""
    task_id: str
    reason: Reason
    detail: str
    """The error."""
    deliveries: int
    """How often the message was delivered to a worker."""
    died_at: datetime
    data: bytes
    """The message's bytes."""
    history: tuple[Holding, ...] = ()
    """The workers that held the message, first to last."""


class DeadLetters(Protocol):
    """The dead letters of a queue."""

    async def count(self) -> int:
        """The number of dead letters."""
        ...

    async def page(self, *, after: str | None = None, limit: int = 100) -> list[DeadLetter]:
        """Dead letters, oldest first, beginning behind the id ``after``."""
        ...

    async def get(self, id: str) -> DeadLetter | None:  # noqa: A002
        """The dead letter of this id."""
        ...

    async def add(self, letter: DeadLetter) -> str:
        """Store a dead letter and return its new id."""
        ...

    async def replay(self, ids: Iterable[str] | None = None) -> list[str]:
        """Send dead letters again, with attempts and deliveries counted anew, and remove them.

        All of them unless ``ids`` are given. Returns the ids of the letters that were sent. Each is sent and removed in
        one step, so that none is lost or sent twice.
        """
        ...

    async def purge(self, ids: Iterable[str] | None = None, *, before: datetime | None = None) -> int:
        """Delete dead letters and return their number.

        Without arguments all of them; otherwise those that have one of the ``ids`` and died ``before`` this time, as
        far as each is given.
        """
        ...


def reset_attempts(data: bytes) -> bytes:
    """The message without its attempt number and earlier failures. Bytes that can't be parsed stay unchanged."""
    message = _parse(data)
    if message is None:
        return data
    changed = False
    for part in ("labels", "labels_types"):
        labels = message.get(part)
        for name in (ATTEMPT, FAILURES):
            if isinstance(labels, dict) and name in labels:
                del labels[name]
                changed = True
    return json.dumps(message).encode() if changed else data


def make_dead_letter(data: bytes, reason: Reason, detail: str, deliveries: int) -> DeadLetter:
    """A dead letter that died now, without an id: the store assigns one."""
    task, task_id = parse_names(data)
    return DeadLetter(
        id="",
        task=task,
        task_id=task_id,
        reason=reason,
        detail=detail,
        deliveries=deliveries,
        died_at=datetime.now(UTC),
        data=data,
    )


def parse_names(data: bytes) -> tuple[str, str]:
    """The task's name and the message's id; empty if the message can't be parsed."""
    message = _parse(data) or {}
    return str(message.get("task_name", "")), str(message.get("task_id", ""))


def _parse(data: bytes) -> dict[str, Any] | None:
    try:
        message = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return message if isinstance(message, dict) else None
