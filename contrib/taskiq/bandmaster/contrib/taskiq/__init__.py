"""Tasks that are lost by nobody: TaskIQ over leased Redis streams, a worker that runs the same plan, dead letters."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bandmaster.contrib.taskiq.arguments import InvalidArgumentsError
    from bandmaster.contrib.taskiq.component import task_idempotency, task_scheduler, task_worker, taskiq
    from bandmaster.contrib.taskiq.declarations import Task, TaskOptions, Tasks, collect_tasks, task, tasks
    from bandmaster.contrib.taskiq.declared import Schedule
    from bandmaster.contrib.taskiq.delivery import Delivery, Hand, Reason
    from bandmaster.contrib.taskiq.embedded import EmbeddedBroker
    from bandmaster.contrib.taskiq.idempotency import BusyError, Idempotency, Once
    from bandmaster.contrib.taskiq.letters import DeadLetter, DeadLetters, Holding
    from bandmaster.contrib.taskiq.outcomes import TaskCancelledError, TaskTimeoutError, UnknownTaskError
    from bandmaster.contrib.taskiq.parts import TaskQueueError
    from bandmaster.contrib.taskiq.queue import TaskHandle, TaskNotSentError, TaskQueue
    from bandmaster.contrib.taskiq.result_errors import TaskFailed
    from bandmaster.contrib.taskiq.results import MemoryResults, RedisResults
    from bandmaster.contrib.taskiq.settings import TaskIQSettings
    from bandmaster.contrib.taskiq.stock import KernelBroker, KernelReceiver
    from bandmaster.contrib.taskiq.streams import (
        Depth,
        LeasedStreamBroker,
        LeasedStreamOptions,
        PoisonError,
        StreamDeadLetters,
    )
    from bandmaster.contrib.taskiq.worker import Worker, WorkerGauge

# Where each public name lives. Names are imported when they are first used (PEP 562): who declares a task needs neither
# a broker nor a client.
_HOMES = {
    "BusyError": "idempotency",
    "DeadLetter": "letters",
    "DeadLetters": "letters",
    "Delivery": "delivery",
    "Depth": "streams",
    "EmbeddedBroker": "embedded",
    "Hand": "delivery",
    "Holding": "letters",
    "Idempotency": "idempotency",
    "InvalidArgumentsError": "arguments",
    "KernelBroker": "stock",
    "KernelReceiver": "stock",
    "LeasedStreamBroker": "streams",
    "LeasedStreamOptions": "streams",
    "MemoryResults": "results",
    "Once": "idempotency",
    "PoisonError": "streams",
    "Reason": "delivery",
    "RedisResults": "results",
    "Schedule": "declared",
    "StreamDeadLetters": "streams",
    "Task": "declarations",
    "TaskCancelledError": "outcomes",
    "TaskFailed": "result_errors",
    "TaskHandle": "queue",
    "TaskIQSettings": "settings",
    "TaskNotSentError": "queue",
    "TaskOptions": "declarations",
    "TaskQueue": "queue",
    "TaskQueueError": "parts",
    "TaskTimeoutError": "outcomes",
    "Tasks": "declarations",
    "UnknownTaskError": "outcomes",
    "Worker": "worker",
    "WorkerGauge": "worker",
    "collect_tasks": "declarations",
    "task": "declarations",
    "task_idempotency": "component",
    "task_scheduler": "component",
    "task_worker": "component",
    "taskiq": "component",
    "tasks": "declarations",
}

__all__ = [
    "BusyError",
    "DeadLetter",
    "DeadLetters",
    "Delivery",
    "Depth",
    "EmbeddedBroker",
    "Hand",
    "Holding",
    "Idempotency",
    "InvalidArgumentsError",
    "KernelBroker",
    "KernelReceiver",
    "LeasedStreamBroker",
    "LeasedStreamOptions",
    "MemoryResults",
    "Once",
    "PoisonError",
    "Reason",
    "RedisResults",
    "Schedule",
    "StreamDeadLetters",
    "Task",
    "TaskCancelledError",
    "TaskFailed",
    "TaskHandle",
    "TaskIQSettings",
    "TaskNotSentError",
    "TaskOptions",
    "TaskQueue",
    "TaskQueueError",
    "TaskTimeoutError",
    "Tasks",
    "UnknownTaskError",
    "Worker",
    "WorkerGauge",
    "collect_tasks",
    "task",
    "task_idempotency",
    "task_scheduler",
    "task_worker",
    "taskiq",
    "tasks",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
