"""Messages and attempts of tasks, and the events of both, for observers of a queue. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias

from bandmaster.contrib.taskiq.dead_letters.dead_letter import Reason


class AttemptOutcome(StrEnum):
    """How an attempt of a task ended."""

    DONE = "done"
    RETRIED = "retried"
    """The task failed, and another attempt follows."""
    DEAD = "dead"
    """The task failed, and no further attempt follows."""
    RELEASED = "released"
    """The worker stops, and another one gets the message."""
    LOST = "lost"
    """The lease was lost, and another worker has the message."""


@dataclass(frozen=True, slots=True, eq=False)
class TaskSending:
    """A message that is about to be sent."""

    task: str
    """The name of the task."""
    task_id: str
    queue: str
    schedule: str | None = None
    """The id of the schedule that fires; None if code sends the message."""
    fields: dict[str, str] = field(default_factory=dict[str, str])
    """Fields of a trace, such as ``traceparent``, which observers add and each `TaskAttempt` has."""


@dataclass(frozen=True, slots=True, eq=False)
class TaskAttempt:
    """One run of a task, from the first attempt to the last."""

    task: str
    """The name of the task, which the message says: no task of the name needs to exist here."""
    task_id: str
    queue: str
    number: int
    """The number of the attempt, from 1."""
    deliveries: int
    """How often the message of this attempt was delivered to a worker, this time included."""
    schedule: str | None = None
    """The id of the schedule that sent the message; None if code did."""
    labels: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)
    """The labels of the message, which name the user and the tenant; so they aren't part of the repr."""
    fields: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    """The fields of a trace that the message has; any program that writes to the queue may have set them."""
    next_fields: dict[str, str] = field(default_factory=dict[str, str], repr=False)
    """Fields that observers add: the message of the next attempt, or the dead letter, has them."""


@dataclass(frozen=True, slots=True)
class SendingEnded:
    """A message was sent, or couldn't be sent."""

    sending: TaskSending
    seconds: float
    error: BaseException | None = None


@dataclass(frozen=True, slots=True)
class AttemptStarted:
    """An attempt has begun."""

    attempt: TaskAttempt


@dataclass(frozen=True, slots=True)
class AttemptEnded:
    """An attempt has ended. Each attempt that starts ends once."""

    attempt: TaskAttempt
    outcome: AttemptOutcome
    seconds: float
    """The time that the task ran."""
    error: BaseException | None = None
    """The failure of the task."""
    reason: Reason | None = None
    """Why no further attempt follows, for `AttemptOutcome.DEAD`."""
    retry_after: float | None = None
    """Seconds until the next attempt may begin, for `AttemptOutcome.RETRIED`."""


@dataclass(frozen=True, slots=True)
class MessageDied:
    """A message became a dead letter."""

    task: str
    """The name of the task; empty where the message can't be read, or was delivered too often."""
    task_id: str
    queue: str
    reason: Reason


TaskEvent: TypeAlias = SendingEnded | AttemptStarted | AttemptEnded | MessageDied
"""Every event that a `TaskObserver` gets."""
