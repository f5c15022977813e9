"""Tasks that are lost by nobody: TaskIQ over leased Redis streams, a worker that runs the same plan, dead letters."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bandmaster.contrib.taskiq.backends import TaskQueueError
    from bandmaster.contrib.taskiq.brokers.embedded_broker import EmbeddedBroker
    from bandmaster.contrib.taskiq.brokers.message_handle import Delivery, Hand, Reason
    from bandmaster.contrib.taskiq.component import task_idempotency, task_scheduler, task_worker, taskiq
    from bandmaster.contrib.taskiq.dead_letters.dead_letter import DeadLetter, DeadLetters, Holding
    from bandmaster.contrib.taskiq.idempotency.idempotency import BusyError, Idempotency, Once
    from bandmaster.contrib.taskiq.queue import TaskHandle, TaskNotSentError, TaskQueue
    from bandmaster.contrib.taskiq.results.error_codec import TaskFailed
    from bandmaster.contrib.taskiq.results.result_backends import MemoryResults, RedisResults
    from bandmaster.contrib.taskiq.schedules.declared_schedules import Schedule
    from bandmaster.contrib.taskiq.settings import TaskIQSettings
    from bandmaster.contrib.taskiq.streams import (
        Depth,
        LeasedStreamBroker,
        LeasedStreamOptions,
        PoisonError,
        StreamDeadLetters,
    )
    from bandmaster.contrib.taskiq.task_declarations.arguments import InvalidArgumentsError
    from bandmaster.contrib.taskiq.task_declarations.declarations import (
        Task,
        TaskOptions,
        Tasks,
        collect_tasks,
        task,
        tasks,
    )
    from bandmaster.contrib.taskiq.worker.retry_policy import TaskCancelledError, TaskTimeoutError, UnknownTaskError
    from bandmaster.contrib.taskiq.worker.taskiq_command import KernelBroker, KernelReceiver
    from bandmaster.contrib.taskiq.worker.worker import Worker, WorkerGauge

# Where each public name lives. Names are imported when they are first used (PEP 562): who declares a task needs neither
# a broker nor a client.
_HOMES = {
    "BusyError": "idempotency.idempotency",
    "DeadLetter": "dead_letters.dead_letter",
    "DeadLetters": "dead_letters.dead_letter",
    "Delivery": "brokers.message_handle",
    "Depth": "streams",
    "EmbeddedBroker": "brokers.embedded_broker",
    "Hand": "brokers.message_handle",
    "Holding": "dead_letters.dead_letter",
    "Idempotency": "idempotency.idempotency",
    "InvalidArgumentsError": "task_declarations.arguments",
    "KernelBroker": "worker.taskiq_command",
    "KernelReceiver": "worker.taskiq_command",
    "LeasedStreamBroker": "streams",
    "LeasedStreamOptions": "streams",
    "MemoryResults": "results.result_backends",
    "Once": "idempotency.idempotency",
    "PoisonError": "streams",
    "Reason": "brokers.message_handle",
    "RedisResults": "results.result_backends",
    "Schedule": "schedules.declared_schedules",
    "StreamDeadLetters": "streams",
    "Task": "task_declarations.declarations",
    "TaskCancelledError": "worker.retry_policy",
    "TaskFailed": "results.error_codec",
    "TaskHandle": "queue",
    "TaskIQSettings": "settings",
    "TaskNotSentError": "queue",
    "TaskOptions": "task_declarations.declarations",
    "TaskQueue": "queue",
    "TaskQueueError": "backends",
    "TaskTimeoutError": "worker.retry_policy",
    "Tasks": "task_declarations.declarations",
    "UnknownTaskError": "worker.retry_policy",
    "Worker": "worker.worker",
    "WorkerGauge": "worker.worker",
    "collect_tasks": "task_declarations.declarations",
    "task": "task_declarations.declarations",
    "task_idempotency": "component",
    "task_scheduler": "component",
    "task_worker": "component",
    "taskiq": "component",
    "tasks": "task_declarations.declarations",
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
