"""The metrics of tasks: attempts with their outcomes, sendings, dead letters."""

from __future__ import annotations

from collections.abc import Collection

from opentelemetry.metrics import MeterProvider

from bandmaster.contrib.taskiq import (
    AttemptEnded,
    AttemptOutcome,
    AttemptStarted,
    MessageDied,
    SendingEnded,
    TaskEvent,
    TaskObserver,
    UnknownTaskError,
)
from bandmaster.contrib.tracing.error_names import name_error
from bandmaster.contrib.tracing.metrics import catalogue

__all__ = ["TaskMetrics"]

OTHER = "_OTHER"
"""The label of tasks that nobody has declared: whoever can write to the queue chooses their names."""
_UNKNOWN_OUTCOMES = (AttemptOutcome.RELEASED, AttemptOutcome.LOST)
"""Outcomes that don't tell whether there is a task of the name."""


class TaskMetrics(TaskObserver):
    """Counts and times the events of a queue.

    ``tasks`` are the names of the declared tasks. Those that TaskIQ's own decorators register become known when they
    first run.
    """

    def __init__(self, meter_provider: MeterProvider, tasks: Collection[str]) -> None:
        meter = meter_provider.get_meter(catalogue.SCOPE)
        self._known = set(tasks)
        self._duration = catalogue.TASK_DURATION.create_histogram(meter)
        self._active = catalogue.ACTIVE_TASKS.create_up_down_counter(meter)
        self._sent = catalogue.SENT_TASKS.create_counter(meter)
        self._deaths = catalogue.TASK_DEATHS.create_counter(meter)

    def on_task_event(self, event: TaskEvent) -> None:
        """Record an event."""
        match event:
            case AttemptStarted(attempt):
                self._active.add(1, {"queue": attempt.queue})
            case AttemptEnded(attempt):
                self._active.add(-1, {"queue": attempt.queue})
                self._record_attempt(event)
            case SendingEnded(sending):
                # The sender has declared the task; nobody else chooses the name.
                self._sent.add(1, {"task": sending.task} | _describe_error(event.error))
            case MessageDied(task, reason=reason):
                self._deaths.add(1, {"task": self._find_name(task), "reason": reason.value})

    def _record_attempt(self, event: AttemptEnded) -> None:
        name, outcome = event.attempt.task, event.outcome
        if outcome not in _UNKNOWN_OUTCOMES and not isinstance(event.error, UnknownTaskError):
            self._known.add(name)
        labels = {"task": self._find_name(name), "outcome": outcome.value} | _describe_error(event.error)
        self._duration.record(event.seconds, labels)

    def _find_name(self, task: str) -> str:
        return task if task in self._known else OTHER


def _describe_error(error: BaseException | None) -> dict[str, str]:
    return {} if error is None else {"error.type": name_error(error)}
