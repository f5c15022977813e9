"""Describe an attempt and its end for observers. Pure."""

from __future__ import annotations

from taskiq import TaskiqMessage
from taskiq.exceptions import NoResultError

from bandmaster.contrib.taskiq.message_labels import SCHEDULE
from bandmaster.contrib.taskiq.observers.task_events import AttemptEnded, AttemptOutcome, TaskAttempt
from bandmaster.contrib.taskiq.propagation import read_trace_fields
from bandmaster.contrib.taskiq.worker.attempt_labels import read_attempt
from bandmaster.contrib.taskiq.worker.retry_policy import Dead, Outcome, Retry


def make_observed_attempt(message: TaskiqMessage, queue: str, deliveries: int) -> TaskAttempt:
    """The attempt for which a message was delivered."""
    labels = message.labels
    schedule = labels.get(SCHEDULE)
    return TaskAttempt(
        message.task_name,
        message.task_id,
        queue,
        read_attempt(labels),
        deliveries,
        schedule=None if schedule is None else str(schedule),
        labels=labels,
        fields=read_trace_fields(labels),
    )


def make_attempt_ended(
    attempt: TaskAttempt, outcome: Outcome, seconds: float, error: BaseException | None
) -> AttemptEnded:
    """The end of an attempt with an outcome."""
    failure = None if isinstance(error, NoResultError) else error
    match outcome:
        case Dead(reason, _):
            return AttemptEnded(attempt, AttemptOutcome.DEAD, seconds, failure, reason=reason)
        case Retry(delay, _):
            return AttemptEnded(attempt, AttemptOutcome.RETRIED, seconds, failure, retry_after=delay)
        case _:
            return AttemptEnded(attempt, AttemptOutcome.DONE, seconds, failure)
