"""A worker of a queue in memory, and tasks for it."""

import asyncio

from taskiq import Context, TaskiqDepends
from tests.contrib.taskiq.timing import PATIENCE

from bandmaster.contrib.taskiq import EmbeddedBroker, MemoryResults, TaskIQSettings, TaskOptions, Worker, task
from bandmaster.contrib.taskiq.idempotency.memory import MemoryIdempotency
from bandmaster.contrib.taskiq.observers.task_observers import TaskObservers
from bandmaster.contrib.taskiq.queue import TaskQueue
from bandmaster.contrib.taskiq.schedules.stored_schedules import MemorySchedules
from bandmaster.contrib.taskiq.worker.bound_tasks import bind_tasks
from bandmaster.contrib.taskiq.worker.message_processor import RUN_TYPES
from bandmaster.contrib.taskiq.worker.retry_policy import make_policy
from bandmaster.kernel import Resources, TransientError


class LocalWorker:
    """A worker of a queue in memory, which runs until the block ends."""

    def __init__(
        self,
        *tasks,
        broker=None,
        resources=None,
        middlewares=(),
        find_task=None,
        concurrency=20,
        observers=(),
        **settings,
    ):
        self.broker = EmbeddedBroker() if broker is None else broker
        self.results = MemoryResults(60)
        self.broker.with_result_backend(self.results)
        self.broker.with_middlewares(*middlewares)
        chosen = TaskIQSettings(**{"backoff": 0, "jitter": 0, **settings})
        known = {one.name: one for one in tasks}
        self.letters = self.broker.dead_letters
        self.queue = TaskQueue(
            self.broker,
            known,
            self.letters,
            MemorySchedules(),
            MemoryIdempotency(),
            observers=TaskObservers("tasks", observers),
        )
        self.worker = Worker(
            self.broker,
            bind_tasks(tasks, resources or Resources(), chosen, run_types=RUN_TYPES),
            make_handle=lambda message, data: None,
            fallback_policy=make_policy(TaskOptions(), chosen),
            concurrency=concurrency,
            threads=2,
            observers=self.queue.observers,
            **({} if find_task is None else {"find_task": find_task}),
        )

    async def __aenter__(self):
        self.bound = asyncio.timeout(PATIENCE)  # no test waits for ever
        await self.bound.__aenter__()
        self.running = asyncio.ensure_future(self.worker.run())
        return self

    async def __aexit__(self, *raised):
        await self.worker.stop()
        await self.running
        await self.bound.__aexit__(*raised)

    async def send(self, one, *args, **kwargs):
        return await self.queue.send(one, *args, **kwargs)

    async def done(self, one, *args, **kwargs):
        """Send a task, wait for the end, and return the result."""
        sent = await self.send(one, *args, **kwargs)
        await self.idle()
        return await sent.get_result() if await sent.is_ready() else None

    async def idle(self):
        await self.broker.wait_idle()
        while self.worker.gauge.running:
            await asyncio.sleep(0)

    async def letter(self):
        (found,) = await self.letters.page()
        return found

    def counts(self):
        gauge = self.worker.gauge
        return gauge.done, gauge.retried, gauge.dead, gauge.lost


def make_failing_task(times, error=TransientError, **options):
    """A task that fails so many times, and the labels of its messages."""
    seen = []

    @task(name="make_failing_task", **options)
    async def work(context: Context = TaskiqDepends()):
        seen.append(dict(context.message.labels))
        if len(seen) <= times:
            raise error(f"not yet {len(seen)}")
        return len(seen)

    return work, seen


@task(name="echo")
async def echo(value=None):
    return value


def make_waiting_task():
    """A task that runs until its release."""
    begun, release = asyncio.Event(), asyncio.Event()

    @task(name="waiting")
    async def waiting():
        begun.set()
        await release.wait()

    return waiting, begun, release
