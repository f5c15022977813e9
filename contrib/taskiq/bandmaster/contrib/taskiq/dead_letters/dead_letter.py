"""Dead letters: messages that nobody could do, kept with the reason until a person has decided about them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from bandmaster.contrib.taskiq.brokers.message_handle import Reason
from bandmaster.contrib.taskiq.message_labels import ATTEMPT, FAILURES


@dataclass(frozen=True, slots=True)
class Holding:
    """A process that has had the message."""

    consumer: str
    until: datetime
    """When it was last heard of with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A message, and why it is dead."""

    id: str
    """The letter's own, in the order of time."""
    task: str
    """The task's name; empty where the message can't be read."""
    task_id: str
    reason: Reason
    detail: str
    """The error, or what else there is to say."""
    deliveries: int
    """How often it had been given out."""
    died_at: datetime
    data: bytes
    """The message as it was."""
    history: tuple[Holding, ...] = ()
    """The processes that have had it, first to last."""


class DeadLetters(Protocol):
    """The dead letters of a queue."""

    async def count(self) -> int:
        """How many there are."""
        ...

    async def page(self, *, after: str | None = None, limit: int = 100) -> list[DeadLetter]:
        """Letters, oldest first, from behind the one with the id ``after``."""
        ...

    async def get(self, id: str) -> DeadLetter | None:  # noqa: A002
        """One of them."""
        ...

    async def add(self, letter: DeadLetter) -> str:
        """Keep one that comes from elsewhere; the answer is its id here."""
        ...

    async def replay(self, ids: Iterable[str] | None = None) -> list[str]:
        """Send letters again, each as a new message whose attempts and deliveries begin anew, and keep them no longer.

        All of them unless ``ids`` are given. The answer is the ids of those that were sent; each goes in one step, so
        that none is lost or sent twice.
        """
        ...

    async def purge(self, ids: Iterable[str] | None = None, *, before: datetime | None = None) -> int:
        """Forget letters: those with these ``ids``, those that died ``before`` then, those of which both is true, or all;
        how many there were.
        """
        ...


def anew(data: bytes) -> bytes:
    """A message whose attempts begin anew: without their count, and how they ended; one that can't be read stays as it is."""
    message = _read(data)
    if message is None:
        return data
    changed = False
    for part in ("labels", "labels_types"):
        found = message.get(part)
        for name in (ATTEMPT, FAILURES):
            if isinstance(found, dict) and name in found:
                del found[name]
                changed = True
    return json.dumps(message).encode() if changed else data


def letter_of(data: bytes, reason: Reason, detail: str, deliveries: int) -> DeadLetter:
    """The letter that a message becomes now; whoever keeps it gives it an id."""
    task, task_id = named_in(data)
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


def named_in(data: bytes) -> tuple[str, str]:
    """The names of the task and of the message, empty where it can't be read."""
    message = _read(data) or {}
    return str(message.get("task_name", "")), str(message.get("task_id", ""))


def _read(data: bytes) -> dict[str, Any] | None:
    try:
        message = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return message if isinstance(message, dict) else None
