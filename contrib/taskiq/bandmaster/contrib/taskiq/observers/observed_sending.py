"""The sending of one message, reported to observers and with the trace in its labels."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from bandmaster.contrib.taskiq.message_labels import QUEUE, SCHEDULE
from bandmaster.contrib.taskiq.observers.task_events import SendingEnded, TaskSending
from bandmaster.contrib.taskiq.observers.task_observers import TaskObservers
from bandmaster.contrib.taskiq.propagation import make_global_trace_fields, make_trace_labels


@contextmanager
def observe_sending(
    observers: TaskObservers, task: str, task_id: str, labels: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """Report a block that sends a message. The block gets the labels of the message, with the trace."""
    schedule = labels.get(SCHEDULE)
    sending = TaskSending(
        task,
        task_id,
        str(labels.get(QUEUE) or observers.queue),
        schedule=None if schedule is None else str(schedule),
        fields={} if observers.carries_trace else make_global_trace_fields(),
    )
    began = time.perf_counter()
    with observers.observe_sending(sending):
        error: BaseException | None = None
        try:
            yield {**labels, **make_trace_labels(sending.fields)}
        except BaseException as failure:
            error = failure
            raise
        finally:
            observers.report(SendingEnded(sending, time.perf_counter() - began, error))
            del error  # a frame that holds the exception it raises is a reference cycle
