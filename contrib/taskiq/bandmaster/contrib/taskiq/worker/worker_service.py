"""The worker as a supervised service of a running plan: prepared after the start, then run, drained and stopped."""

from __future__ import annotations

from functools import partial

import anyio
from taskiq import AsyncBroker

from bandmaster.contrib.taskiq.brokers.embedded_broker import EmbeddedBroker
from bandmaster.contrib.taskiq.brokers.third_party_broker import ThirdPartyHandles
from bandmaster.contrib.taskiq.logger import get_logger
from bandmaster.contrib.taskiq.queue import TaskQueue
from bandmaster.contrib.taskiq.settings import TaskIQSettings
from bandmaster.contrib.taskiq.task_declarations.options import TaskOptions
from bandmaster.contrib.taskiq.task_declarations.task import convert_task
from bandmaster.contrib.taskiq.worker.bound_tasks import BoundTask, bind_tasks
from bandmaster.contrib.taskiq.worker.message_processor import RUN_TYPES
from bandmaster.contrib.taskiq.worker.retry_policy import make_policy
from bandmaster.contrib.taskiq.worker.worker import Worker
from bandmaster.kernel import Context, Resources


class WorkerService:
    """Makes the worker when all components have started, since its tasks may depend on any of them."""

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
            PlanError: tasks depend on types that no component provides.
        """
        self._worker = self._make_worker(await self._context.wait_ready())
        self._prepared.set()

    async def run(self) -> None:
        """Run the worker until a drain or a stop."""
        await self._prepared.wait()
        assert self._worker is not None
        await self._worker.run()

    async def drain(self) -> None:
        """Stop receiving and wait for the running tasks. Messages that wait in memory are processed too."""
        broker = self._queue.broker
        if isinstance(broker, EmbeddedBroker):
            await broker.wait_idle()
        elif self._worker is not None:
            self._stopping.set()
            await self._worker.drain()

    async def stop(self) -> None:
        """Cancel the running tasks."""
        self._stopping.set()
        if self._worker is not None:
            await self._worker.stop()
        broker = self._queue.broker
        if isinstance(broker, EmbeddedBroker) and broker.waiting:
            get_logger().warning("tasks lost: they waited in memory only", count=broker.waiting)

    def _make_worker(self, resources: Resources) -> Worker:
        settings, queue = self._settings, self._queue
        bound = bind_tasks(queue.tasks.values(), resources, settings, run_types=RUN_TYPES)
        handles = ThirdPartyHandles(queue.broker, queue.dead_letters, self._stopping)
        return Worker(
            queue.broker,
            bound,
            make_handle=handles.make,
            fallback_policy=make_policy(TaskOptions(), settings),
            concurrency=settings.concurrency,
            threads=settings.threads,
            observers=queue.observers,
            find_task=partial(_find_registered_task, queue.broker, resources, settings),
        )


def _find_registered_task(
    broker: AsyncBroker, resources: Resources, settings: TaskIQSettings, name: str
) -> BoundTask | None:
    """A task that TaskIQ's own decorators registered. Bound when its first message comes: its module may load late."""
    decorated = broker.find_task(name)
    if decorated is None:
        return None
    return bind_tasks([convert_task(decorated)], resources, settings, run_types=RUN_TYPES)[name]
