"""The components of the task queue: the queue itself, idempotency, the worker, and the scheduler."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

from taskiq import AsyncBroker
from taskiq.brokers.shared_broker import async_shared_broker

from bandmaster.contrib.taskiq.backends import open_backends, run_broker
from bandmaster.contrib.taskiq.brokers.embedded_broker import EmbeddedBroker
from bandmaster.contrib.taskiq.dead_letters.dead_letter import Reason
from bandmaster.contrib.taskiq.idempotency.idempotency import Idempotency
from bandmaster.contrib.taskiq.observers.task_events import MessageDied
from bandmaster.contrib.taskiq.observers.task_observers import TaskObserver, TaskObservers
from bandmaster.contrib.taskiq.queue import TaskQueue
from bandmaster.contrib.taskiq.schedules.declared_schedules import DeclaredSchedules
from bandmaster.contrib.taskiq.schedules.scheduler import OnceScheduler, run_scheduler
from bandmaster.contrib.taskiq.settings import TaskIQSettings
from bandmaster.contrib.taskiq.start_checks import (
    find_queue_problems,
    find_scheduler_problems,
    find_worker_problems,
)
from bandmaster.contrib.taskiq.streams import LeasedStreamBroker
from bandmaster.contrib.taskiq.task_declarations.task_group import collect_tasks
from bandmaster.contrib.taskiq.worker.worker_service import WorkerService
from bandmaster.kernel import Context, LifespanBand, Restart, lifespan

BUDGET = "redis"
"""The budget of connections to Redis."""
WORKER, SCHEDULER = "worker", "scheduler"
"""Roles."""
_LAST = LifespanBand.APPLICATION.priorities[-1]


def count_connections(settings: TaskIQSettings) -> Mapping[str, int]:
    """The most connections to Redis in one process: the pool, and one each for reading, renewing leases and probing."""
    return {} if settings.redis_url is None else {BUDGET: settings.redis_max_connections + 3}


@lifespan(band=LifespanBand.MESSAGING, name="taskiq", budget=count_connections, check=find_queue_problems)
async def taskiq(
    settings: TaskIQSettings, context: Context, observers: Sequence[TaskObserver]
) -> AsyncIterator[TaskQueue]:
    """The task queue, by which an application sends tasks."""
    tasks = collect_tasks(context.plan)
    is_worker = context.plan.role == WORKER
    async with open_backends(settings, context.name) as backends, run_broker(backends.broker, is_worker=is_worker):
        limit = backends.connection_limit
        if limit is not None or (BUDGET in context.settings.limits and settings.redis_url is not None):
            context.check_budget(BUDGET, limit or 0)
        queue = TaskQueue(
            backends.broker,
            tasks,
            backends.dead_letters,
            backends.schedules,
            backends.idempotency,
            observers=TaskObservers(settings.queue, observers),
        )
        if isinstance(backends.broker, LeasedStreamBroker):
            backends.broker.on_poison = partial(_report_poison, queue.observers)
        ping = getattr(backends.broker, "ping", None)
        if ping is not None:
            context.add_probe(context.name, ping, critical=settings.critical, timeout=2)
        with _serve_shared_tasks(backends.broker):
            yield queue


@lifespan(band=LifespanBand.MESSAGING, name="task_idempotency")
async def task_idempotency(queue: TaskQueue) -> AsyncIterator[Idempotency]:
    """Runs actions once by key, for tasks that may run twice."""
    yield queue.idempotency


@lifespan(
    band=LifespanBand.APPLICATION,
    priority=_LAST,
    name="task_worker",
    roles={"web", WORKER},
    check=find_worker_problems,
)
async def task_worker(queue: TaskQueue, settings: TaskIQSettings, context: Context) -> AsyncIterator[None]:
    """Runs tasks: in processes of the role worker, and in all that send if the queue is in memory."""
    if not _is_embedded(queue) and context.plan.role == "web":
        yield
        return
    service = WorkerService(queue, settings, context)
    # Not restarted: a task whose dependencies nothing provides fails again, so the process ends with the report.
    context.supervise(service.prepare, name="prepare", restart=Restart(intensity=0))
    context.supervise(service.run, name=context.name)
    context.on_drain(service.drain)
    try:
        yield
    finally:
        await service.stop()


@lifespan(
    band=LifespanBand.APPLICATION,
    priority=_LAST,
    name="task_scheduler",
    roles={"web", SCHEDULER},
    check=find_scheduler_problems,
)
async def task_scheduler(queue: TaskQueue, settings: TaskIQSettings, context: Context) -> AsyncIterator[None]:
    """Sends scheduled tasks: in processes of the role scheduler, and in all that send if the queue is in memory."""
    if _is_embedded(queue) or context.plan.role != "web":
        declared = DeclaredSchedules({name: task.options.schedules for name, task in queue.tasks.items()})
        labels = {name: task.labels for name, task in queue.tasks.items()}
        scheduler = OnceScheduler(queue.broker, [declared, queue.schedules], labels=labels, observers=queue.observers)

        async def run() -> None:
            await context.wait_ready()
            await run_scheduler(scheduler, settings.schedule_interval)

        context.supervise(run, name=context.name)
    yield


def _report_poison(observers: TaskObservers, task_id: str) -> None:
    observers.report(MessageDied("", task_id, observers.queue, Reason.POISON))


def _is_embedded(queue: TaskQueue) -> bool:
    """Whether the queue is in this process's memory."""
    return isinstance(queue.broker, EmbeddedBroker)


@contextmanager
def _serve_shared_tasks(broker: AsyncBroker) -> Iterator[None]:
    """Let the ``kiq`` of TaskIQ's ``shared_task`` send here, unless another queue of this process does."""
    is_free = async_shared_broker._default_broker is None  # noqa: SLF001  # TaskIQ has no public name for it
    if is_free:
        async_shared_broker.default_broker(broker)
    try:
        yield
    finally:
        if is_free and async_shared_broker._default_broker is broker:  # noqa: SLF001
            async_shared_broker._default_broker = None  # noqa: SLF001
