"""The task queue as components: what sends, what works, and what sends by the clock."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

import anyio
import structlog
from taskiq import AsyncBroker
from taskiq.brokers.shared_broker import async_shared_broker

from bandmaster.contrib.redis import RedisSettings, warn_if_shared
from bandmaster.contrib.taskiq.backends import TaskQueueError, open_parts, started
from bandmaster.contrib.taskiq.brokers.embedded_broker import EmbeddedBroker
from bandmaster.contrib.taskiq.brokers.foreign_broker import ForeignHands
from bandmaster.contrib.taskiq.idempotency.idempotency import Idempotency
from bandmaster.contrib.taskiq.queue import TaskQueue
from bandmaster.contrib.taskiq.schedules.declared_schedules import DeclaredSchedules
from bandmaster.contrib.taskiq.schedules.scheduler import OnceScheduler, run_scheduler
from bandmaster.contrib.taskiq.settings import TaskIQSettings
from bandmaster.contrib.taskiq.task_declarations.declarations import TaskOptions, collect_tasks, of_taskiq
from bandmaster.contrib.taskiq.worker.bound_tasks import Bound, bind
from bandmaster.contrib.taskiq.worker.retry_policy import policy_of
from bandmaster.contrib.taskiq.worker.worker import KNOWN, Worker
from bandmaster.kernel import Context, LifespanBand, Resources, Restart, lifespan

BUDGET = "redis"
"""What connections to Redis are counted under."""
WORKER, SCHEDULER = "worker", "scheduler"
"""Roles."""
_LAST = LifespanBand.APPLICATION.priorities[-1]


def connections(settings: TaskIQSettings) -> Mapping[str, int]:
    """What one process may hold of Redis: the pool, one that reads, one that renews leases, one that asks how it is."""
    return {} if settings.redis_url is None else {BUDGET: settings.redis_max_connections + 3}


@lifespan(band=LifespanBand.MESSAGING, name="taskiq", budget=connections)
async def taskiq(settings: TaskIQSettings, context: Context) -> AsyncIterator[TaskQueue]:
    """The task queue: what an application sends tasks by."""
    tasks = collect_tasks(context.plan)
    _warn_if_shared(settings, context)
    async with open_parts(settings, context.name) as parts, started(parts.broker, works=context.plan.role == WORKER):
        if parts.allowed is not None or (BUDGET in context.settings.limits and settings.redis_url is not None):
            context.check_budget(BUDGET, parts.allowed or 0)
        queue = TaskQueue(parts.broker, tasks, parts.letters, parts.schedules, parts.idempotency)
        ping = getattr(parts.broker, "ping", None)
        if ping is not None:
            context.add_probe(context.name, ping, critical=settings.critical, timeout=2)
        with _default_of_shared_tasks(parts.broker):
            yield queue


@lifespan(band=LifespanBand.MESSAGING, name="task_idempotency")
async def task_idempotency(queue: TaskQueue) -> AsyncIterator[Idempotency]:
    """Does things once that messages ask for twice."""
    yield queue.idempotency


@lifespan(band=LifespanBand.APPLICATION, priority=_LAST, name="task_worker", roles={"web", WORKER})
async def task_worker(queue: TaskQueue, settings: TaskIQSettings, context: Context) -> AsyncIterator[None]:
    """Works at the queue: in processes of the role worker, and where the queue is in memory in all that send."""
    embedded = _is_embedded(queue, WORKER, context)
    if not embedded and context.plan.role == "web":
        yield
        return
    working = _Working(queue, settings, context)
    # Tasks that ask for what nothing provides: trying again changes nothing, so the process ends with the report.
    context.supervise(working.prepare, name="prepare", restart=Restart(intensity=0))
    context.supervise(working.run, name=context.name)
    context.on_drain(working.drain)
    try:
        yield
    finally:
        await working.stop()


@lifespan(band=LifespanBand.APPLICATION, priority=_LAST, name="task_scheduler", roles={"web", SCHEDULER})
async def task_scheduler(queue: TaskQueue, settings: TaskIQSettings, context: Context) -> AsyncIterator[None]:
    """Sends tasks by the clock: in processes of the role scheduler, and where the queue is in memory in all that send."""
    if _is_embedded(queue, SCHEDULER, context) or context.plan.role != "web":
        declared = DeclaredSchedules({name: task.options.schedules for name, task in queue.tasks.items()})
        labels = {name: task.labels for name, task in queue.tasks.items()}
        scheduler = OnceScheduler(queue.broker, [declared, queue.schedules], labels=labels)

        async def run() -> None:
            await context.wait_ready()
            await run_scheduler(scheduler, settings.schedule_interval)

        context.supervise(run, name=context.name)
    yield


def _is_embedded(queue: TaskQueue, role: str, context: Context) -> bool:
    """Whether the queue is in this process's memory, where a process of a role of its own would get nothing from it."""
    embedded = isinstance(queue.broker, EmbeddedBroker)
    if embedded and context.plan.role == role:
        raise TaskQueueError(
            f"a {role} of its own needs a queue that processes share: set TASKIQ_REDIS_URL, or TASKIQ_BROKER. Without, "
            "tasks run in the process that sends them, and are scheduled there"
        )
    return embedded


class _Working:
    """The worker of a running plan: made once everything has started, for its tasks may ask for all of it."""

    def __init__(self, queue: TaskQueue, settings: TaskIQSettings, context: Context) -> None:
        self._queue = queue
        self._settings = settings
        self._context = context
        self._stopping = anyio.Event()
        self._worker: Worker | None = None
        self._prepared = anyio.Event()

    async def prepare(self) -> None:
        """Make the worker.

        Raises:
            PlanError: tasks ask for what nothing provides.
        """
        self._worker = self._made(await self._context.wait_ready())
        self._prepared.set()

    async def run(self) -> None:
        """Work until drained or stopped."""
        await self._prepared.wait()
        assert self._worker is not None
        await self._worker.run()

    async def drain(self) -> None:
        """Let what runs end, and take no more; what is in memory is for nobody else, so all of that is run as well."""
        broker = self._queue.broker
        if isinstance(broker, EmbeddedBroker):
            await broker.wait_idle()
        elif self._worker is not None:
            self._stopping.set()
            await self._worker.drain()

    async def stop(self) -> None:
        """Cut short what still runs."""
        self._stopping.set()
        if self._worker is not None:
            await self._worker.stop()
        broker = self._queue.broker
        if isinstance(broker, EmbeddedBroker) and broker.waiting:
            structlog.get_logger("bandmaster.taskiq").warning(
                "tasks lost: they waited in memory alone", count=broker.waiting
            )

    def _made(self, resources: Resources) -> Worker:
        settings, queue = self._settings, self._queue
        # Those that TaskIQ's own decorators have registered with no broker, or with this one, are found by name later.
        bound = bind(queue.tasks.values(), resources, settings, known=KNOWN)
        hands = ForeignHands(queue.broker, queue.dead_letters, self._stopping)
        return Worker(
            queue.broker,
            bound,
            take=hands.take,
            fallback=policy_of(TaskOptions(), settings),
            concurrency=settings.concurrency,
            threads=settings.threads,
            others=partial(_registered, queue.broker, resources, settings),
        )


def _registered(broker: AsyncBroker, resources: Resources, settings: TaskIQSettings, name: str) -> Bound | None:
    found = broker.find_task(name)
    if found is None:
        return None
    return bind([of_taskiq(found)], resources, settings, known=KNOWN)[name]


@contextmanager
def _default_of_shared_tasks(broker: AsyncBroker) -> Iterator[None]:
    """Let ``shared_task``'s own ``kiq`` send here, while nobody else in this process has taken that."""
    free = async_shared_broker._default_broker is None  # noqa: SLF001  # TaskIQ tells it nowhere else
    if free:
        async_shared_broker.default_broker(broker)
    try:
        yield
    finally:
        if free and async_shared_broker._default_broker is broker:  # noqa: SLF001
            async_shared_broker._default_broker = None  # noqa: SLF001


def _warn_if_shared(settings: TaskIQSettings, context: Context) -> None:
    """A cache in the same database may evict what the queue must not lose."""
    if settings.redis_url is None:
        return
    for kind, read in context.plan.settings.items():
        if issubclass(kind, RedisSettings) and isinstance(read, RedisSettings):
            warn_if_shared({"tasks": settings.redis.url, kind.variable("url"): read.url})
