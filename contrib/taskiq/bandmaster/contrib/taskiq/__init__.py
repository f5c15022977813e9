"""Background tasks: TaskIQ on a Redis stream that leases messages, with workers that run the application's plan."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bandmaster.contrib.taskiq.brokers.embedded_broker import EmbeddedBroker
    from bandmaster.contrib.taskiq.brokers.message_handle import Delivery, MessageHandle
    from bandmaster.contrib.taskiq.component import task_idempotency, task_scheduler, task_worker, taskiq
    from bandmaster.contrib.taskiq.dead_letters.dead_letter import DeadLetter, DeadLetters, Holding, Reason
    from bandmaster.contrib.taskiq.errors import (
        BusyError,
        InvalidArgumentsError,
        PoisonError,
        TaskCancelledError,
        TaskFailed,
        TaskNotSentError,
        TaskQueueError,
        TaskTimeoutError,
        UnknownTaskError,
    )
    from bandmaster.contrib.taskiq.idempotency.idempotency import Idempotency, Once
    from bandmaster.contrib.taskiq.queue import TaskHandle, TaskQueue
    from bandmaster.contrib.taskiq.results.result_backends import MemoryResults, RedisResults
    from bandmaster.contrib.taskiq.schedules.declared_schedules import Schedule
    from bandmaster.contrib.taskiq.settings import TaskIQSettings
    from bandmaster.contrib.taskiq.streams import Depth, LeasedStreamBroker, LeasedStreamOptions, StreamDeadLetters
    from bandmaster.contrib.taskiq.task_declarations.options import TaskOptions
    from bandmaster.contrib.taskiq.task_declarations.task import Task, task
    from bandmaster.contrib.taskiq.task_declarations.task_group import Tasks, collect_tasks, tasks
    from bandmaster.contrib.taskiq.worker.taskiq_command import KernelBroker, KernelReceiver
    from bandmaster.contrib.taskiq.worker.worker import Worker, WorkerGauge

# The module of each public name. Names are imported when they are first used (PEP 562): declaring a task needs neither
# a broker nor a client.
_MODULES = {
    "BusyError": "errors",
    "DeadLetter": "dead_letters.dead_letter",
    "DeadLetters": "dead_letters.dead_letter",
    "Delivery": "brokers.message_handle",
    "Depth": "streams",
    "EmbeddedBroker": "brokers.embedded_broker",
    "Holding": "dead_letters.dead_letter",
    "Idempotency": "idempotency.idempotency",
    "InvalidArgumentsError": "errors",
    "KernelBroker": "worker.taskiq_command",
    "KernelReceiver": "worker.taskiq_command",
    "LeasedStreamBroker": "streams",
    "LeasedStreamOptions": "streams",
    "MemoryResults": "results.result_backends",
    "MessageHandle": "brokers.message_handle",
    "Once": "idempotency.idempotency",
    "PoisonError": "errors",
    "Reason": "dead_letters.dead_letter",
    "RedisResults": "results.result_backends",
    "Schedule": "schedules.declared_schedules",
    "StreamDeadLetters": "streams",
    "Task": "task_declarations.task",
    "TaskCancelledError": "errors",
    "TaskFailed": "errors",
    "TaskHandle": "queue",
    "TaskIQSettings": "settings",
    "TaskNotSentError": "errors",
    "TaskOptions": "task_declarations.options",
    "TaskQueue": "queue",
    "TaskQueueError": "errors",
    "TaskTimeoutError": "errors",
    "Tasks": "task_declarations.task_group",
    "UnknownTaskError": "errors",
    "Worker": "worker.worker",
    "WorkerGauge": "worker.worker",
    "collect_tasks": "task_declarations.task_group",
    "task": "task_declarations.task",
    "task_idempotency": "component",
    "task_scheduler": "component",
    "task_worker": "component",
    "taskiq": "component",
    "tasks": "task_declarations.task_group",
}

__all__ = [
    "BusyError",
    "DeadLetter",
    "DeadLetters",
    "Delivery",
    "Depth",
    "EmbeddedBroker",
    "Holding",
    "Idempotency",
    "InvalidArgumentsError",
    "KernelBroker",
    "KernelReceiver",
    "LeasedStreamBroker",
    "LeasedStreamOptions",
    "MemoryResults",
    "MessageHandle",
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
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
