"""Background tasks: TaskIQ on a Redis stream that leases messages, with workers that run the application's plan."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bandmaster.kernel import export_lazily

if TYPE_CHECKING:
    from bandmaster.contrib.taskiq.brokers.embedded_broker import EmbeddedBroker as EmbeddedBroker
    from bandmaster.contrib.taskiq.brokers.message_handle import Delivery as Delivery
    from bandmaster.contrib.taskiq.brokers.message_handle import MessageHandle as MessageHandle
    from bandmaster.contrib.taskiq.component import task_idempotency as task_idempotency
    from bandmaster.contrib.taskiq.component import task_scheduler as task_scheduler
    from bandmaster.contrib.taskiq.component import task_worker as task_worker
    from bandmaster.contrib.taskiq.component import taskiq as taskiq
    from bandmaster.contrib.taskiq.dead_letters.dead_letter import DeadLetter as DeadLetter
    from bandmaster.contrib.taskiq.dead_letters.dead_letter import DeadLetters as DeadLetters
    from bandmaster.contrib.taskiq.dead_letters.dead_letter import Holding as Holding
    from bandmaster.contrib.taskiq.dead_letters.dead_letter import Reason as Reason
    from bandmaster.contrib.taskiq.errors import BusyError as BusyError
    from bandmaster.contrib.taskiq.errors import InvalidArgumentsError as InvalidArgumentsError
    from bandmaster.contrib.taskiq.errors import PoisonError as PoisonError
    from bandmaster.contrib.taskiq.errors import TaskCancelledError as TaskCancelledError
    from bandmaster.contrib.taskiq.errors import TaskFailed as TaskFailed
    from bandmaster.contrib.taskiq.errors import TaskNotSentError as TaskNotSentError
    from bandmaster.contrib.taskiq.errors import TaskQueueError as TaskQueueError
    from bandmaster.contrib.taskiq.errors import TaskTimeoutError as TaskTimeoutError
    from bandmaster.contrib.taskiq.errors import UnknownTaskError as UnknownTaskError
    from bandmaster.contrib.taskiq.idempotency.idempotency import Idempotency as Idempotency
    from bandmaster.contrib.taskiq.idempotency.idempotency import Once as Once
    from bandmaster.contrib.taskiq.observers.task_events import AttemptEnded as AttemptEnded
    from bandmaster.contrib.taskiq.observers.task_events import AttemptOutcome as AttemptOutcome
    from bandmaster.contrib.taskiq.observers.task_events import AttemptStarted as AttemptStarted
    from bandmaster.contrib.taskiq.observers.task_events import MessageDied as MessageDied
    from bandmaster.contrib.taskiq.observers.task_events import SendingEnded as SendingEnded
    from bandmaster.contrib.taskiq.observers.task_events import TaskAttempt as TaskAttempt
    from bandmaster.contrib.taskiq.observers.task_events import TaskEvent as TaskEvent
    from bandmaster.contrib.taskiq.observers.task_events import TaskSending as TaskSending
    from bandmaster.contrib.taskiq.observers.task_observers import TaskObserver as TaskObserver
    from bandmaster.contrib.taskiq.queue import TaskHandle as TaskHandle
    from bandmaster.contrib.taskiq.queue import TaskQueue as TaskQueue
    from bandmaster.contrib.taskiq.results.result_backends import MemoryResults as MemoryResults
    from bandmaster.contrib.taskiq.results.result_backends import RedisResults as RedisResults
    from bandmaster.contrib.taskiq.schedules.declared_schedules import Schedule as Schedule
    from bandmaster.contrib.taskiq.settings import TaskIQSettings as TaskIQSettings
    from bandmaster.contrib.taskiq.streams import Depth as Depth
    from bandmaster.contrib.taskiq.streams import LeasedStreamBroker as LeasedStreamBroker
    from bandmaster.contrib.taskiq.streams import LeasedStreamOptions as LeasedStreamOptions
    from bandmaster.contrib.taskiq.streams import StreamDeadLetters as StreamDeadLetters
    from bandmaster.contrib.taskiq.task_declarations.options import TaskOptions as TaskOptions
    from bandmaster.contrib.taskiq.task_declarations.task import Task as Task
    from bandmaster.contrib.taskiq.task_declarations.task import task as task
    from bandmaster.contrib.taskiq.task_declarations.task_group import Tasks as Tasks
    from bandmaster.contrib.taskiq.task_declarations.task_group import collect_tasks as collect_tasks
    from bandmaster.contrib.taskiq.task_declarations.task_group import tasks as tasks
    from bandmaster.contrib.taskiq.worker.taskiq_command import KernelBroker as KernelBroker
    from bandmaster.contrib.taskiq.worker.taskiq_command import KernelReceiver as KernelReceiver
    from bandmaster.contrib.taskiq.worker.worker import Worker as Worker
    from bandmaster.contrib.taskiq.worker.worker import WorkerGauge as WorkerGauge

# The module of each public name. Names are imported when they are first used (PEP 562): declaring a task needs neither
# a broker nor a client.
export_lazily(
    __name__,
    {
        "brokers.embedded_broker": ["EmbeddedBroker"],
        "brokers.message_handle": ["Delivery", "MessageHandle"],
        "component": ["task_idempotency", "task_scheduler", "task_worker", "taskiq"],
        "dead_letters.dead_letter": ["DeadLetter", "DeadLetters", "Holding", "Reason"],
        "errors": [
            "BusyError",
            "InvalidArgumentsError",
            "PoisonError",
            "TaskCancelledError",
            "TaskFailed",
            "TaskNotSentError",
            "TaskQueueError",
            "TaskTimeoutError",
            "UnknownTaskError",
        ],
        "idempotency.idempotency": ["Idempotency", "Once"],
        "observers.task_events": [
            "AttemptEnded",
            "AttemptOutcome",
            "AttemptStarted",
            "MessageDied",
            "SendingEnded",
            "TaskAttempt",
            "TaskEvent",
            "TaskSending",
        ],
        "observers.task_observers": ["TaskObserver"],
        "queue": ["TaskHandle", "TaskQueue"],
        "results.result_backends": ["MemoryResults", "RedisResults"],
        "schedules.declared_schedules": ["Schedule"],
        "settings": ["TaskIQSettings"],
        "streams": ["Depth", "LeasedStreamBroker", "LeasedStreamOptions", "StreamDeadLetters"],
        "task_declarations.options": ["TaskOptions"],
        "task_declarations.task": ["Task", "task"],
        "task_declarations.task_group": ["Tasks", "collect_tasks", "tasks"],
        "worker.taskiq_command": ["KernelBroker", "KernelReceiver"],
        "worker.worker": ["Worker", "WorkerGauge"],
    },
)
