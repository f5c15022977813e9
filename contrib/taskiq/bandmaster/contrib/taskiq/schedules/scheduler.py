"""TaskIQ's scheduler, extended: several may run, each firing is sent once, and a failed sending is retried."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
from taskiq import AsyncBroker, ScheduledTask, ScheduleSource, TaskiqScheduler
from taskiq.cli.scheduler.run import SchedulerLoop
from taskiq.exceptions import ScheduledTaskCancelledError, SendTaskError
from taskiq.kicker import AsyncKicker
from taskiq.utils import maybe_awaitable

from bandmaster.contrib.taskiq.errors import render_error
from bandmaster.contrib.taskiq.logger import get_logger
from bandmaster.contrib.taskiq.message_labels import ONCE, ONCE_FOR, SCHEDULE
from bandmaster.contrib.taskiq.observers.observed_sending import observe_sending
from bandmaster.contrib.taskiq.observers.task_observers import TaskObservers
from bandmaster.contrib.taskiq.schedules.firing import Firing, find_firing
from bandmaster.kernel import TransientError

_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 5.0
_SHUTDOWN_SECONDS = 5.0
"""Seconds that firings being sent get when the scheduler stops."""
_REGISTRATION_LABELS = frozenset({"schedule", "types_of_exceptions"})
"""Labels that aren't sent: they matter only where a task is registered."""


class OnceScheduler(TaskiqScheduler):
    """Sends each firing with an id that brokers of this package accept once, however many schedulers send it.

    The id is also the task's id, unless the schedule has one. A message gets the labels of the task's registration, as
    if sent by code, and the schedule's labels. ``labels`` are the labels of tasks that aren't registered with the
    broker, by the task's name.

    A firing is retried for ``patience`` seconds while the broker can't be reached. ``now`` returns the current time.
    """

    def __init__(
        self,
        broker: AsyncBroker,
        sources: Iterable[ScheduleSource],
        *,
        labels: Mapping[str, Mapping[str, Any]] | None = None,
        observers: TaskObservers | None = None,
        patience: float = 30.0,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        super().__init__(broker, list(sources))
        self.on_given_up: Callable[[ScheduledTask], object] = lambda _: None
        """Called with a schedule whose firing couldn't be sent within ``patience``."""
        self._labels = labels or {}
        self._observers = observers or TaskObservers()
        self._patience = patience
        self._now = now
        self._sends: set[asyncio.Task[Any] | None] = set()

    async def on_ready(self, source: ScheduleSource, task: ScheduledTask) -> None:
        """Send a firing, then notify its source. Errors are logged, since TaskIQ's loop ignores them."""
        current = asyncio.current_task()
        self._sends.add(current)
        try:
            await self._fire(source, task, find_firing(task, self._now()))
        except asyncio.CancelledError:
            get_logger().warning("schedule cancelled while being sent: it may not have been sent", **_make_fields(task))
            raise
        except Exception as error:  # noqa: BLE001  # TaskIQ's loop would drop the error
            get_logger().error("schedule can't be sent", error=render_error(error), **_make_fields(task))
        finally:
            self._sends.discard(current)

    async def finish_sending(self) -> None:
        """Wait until the firings being sent have been sent, for a few seconds at most, and then cancel them."""
        await asyncio.sleep(0)  # tasks that the loop has just created haven't registered themselves yet
        await _wait_or_cancel(task for task in self._sends if task is not None and task is not asyncio.current_task())

    async def _fire(self, source: ScheduleSource, task: ScheduledTask, firing: Firing) -> None:
        try:
            await maybe_awaitable(source.pre_send(task))
        except ScheduledTaskCancelledError:
            get_logger().info("schedule cancelled by its source", **_make_fields(task))
            return
        if not await self._retry("schedule can't be sent", task, lambda: self._send(task, firing)):
            self.on_given_up(task)
            return

        async def notify() -> None:
            await maybe_awaitable(source.post_send(task))

        await self._retry("schedule was sent, but its source can't be notified and may fire it again", task, notify)

    async def _send(self, task: ScheduledTask, firing: Firing) -> None:
        labels: dict[str, Any] = {
            **self._find_labels(task.task_name),
            **task.labels,
            SCHEDULE: task.schedule_id,
            ONCE: firing.id,
            ONCE_FOR: f"{firing.remember_for:.0f}",
        }
        task_id = task.task_id or firing.id
        with observe_sending(self._observers, task.task_name, task_id, labels) as sent_labels:
            kicker: AsyncKicker[Any, Any] = AsyncKicker(task.task_name, self.broker, sent_labels)
            try:
                await kicker.with_task_id(task_id).kiq(*task.args, **task.kwargs)
            except SendTaskError as error:
                # TaskIQ wraps every error of a broker.
                raise error.__cause__ or error from error.__cause__

    def _find_labels(self, task: str) -> Mapping[str, Any]:
        if task in self._labels:
            return self._labels[task]
        known = self.broker.find_task(task)
        labels = {} if known is None else known.labels
        return {name: value for name, value in labels.items() if name not in _REGISTRATION_LABELS}

    async def _retry(self, problem: str, task: ScheduledTask, action: Callable[[], Awaitable[None]]) -> bool:
        error: TransientError | None = None
        pause = _FIRST_PAUSE
        with anyio.move_on_after(self._patience):
            while True:
                try:
                    await action()
                except TransientError as failure:
                    error = failure
                else:
                    return True
                await anyio.sleep(max(error.retry_after or 0, pause * random.uniform(0.5, 1)))  # noqa: S311
                pause = min(2 * pause, _LONGEST_PAUSE)
        text = "no answer" if error is None else render_error(error)
        get_logger().error(problem, error=text, seconds=self._patience, **_make_fields(task))
        return False


async def run_scheduler(scheduler: OnceScheduler, update_interval: float) -> None:
    """Start the scheduler's sources, send due tasks until cancelled, and shut the sources down.

    The caller starts and stops the broker. Schedules are read again every ``update_interval`` seconds; values
    below 1 make no difference.

    Raises:
        ValueError: ``update_interval`` isn't above 0.
    """
    if not (update_interval > 0 and math.isfinite(update_interval)):
        raise ValueError(f"update_interval: expected seconds above 0, got {update_interval}")
    async with AsyncExitStack() as stack:
        for source in scheduler.sources:
            await source.startup()
            stack.push_async_callback(_run_shielded, source.shutdown)
        loop = _Loop(scheduler)
        scheduler.on_given_up = loop.allow_again
        stack.push_async_callback(_run_shielded, loop.finish_reading)
        stack.push_async_callback(_run_shielded, scheduler.finish_sending)
        # Not TaskIQ's skip_first_run: a scheduler that is restarted within a minute would skip that minute. The
        # firing's id prevents that the minute is sent twice.
        await loop.run(update_interval=timedelta(seconds=update_interval))


class _Loop(SchedulerLoop):
    def allow_again(self, schedule: ScheduledTask) -> None:
        """Let a schedule with a time fire again, which TaskIQ's loop wouldn't. Called by the task that sends it."""
        sending = asyncio.current_task()
        assert sending is not None
        # When that task is done, not now: until then TaskIQ's loop would count the next firing as sent too.
        sending.add_done_callback(lambda _: self.time_tasks_last_run.pop(schedule.schedule_id, None))

    async def finish_reading(self) -> None:
        """Wait until a running read of the schedules is done."""
        await _wait_or_cancel(task for task in [self._update_schedules_task_future] if task is not None)


async def _run_shielded(action: Callable[[], Awaitable[None]]) -> None:
    with anyio.CancelScope(shield=True):
        await action()


async def _wait_or_cancel(tasks: Iterable[asyncio.Task[Any]]) -> None:
    waiting = set(tasks)
    if waiting:
        _, waiting = await asyncio.wait(waiting, timeout=_SHUTDOWN_SECONDS)
    for task in waiting:
        task.cancel()
    if waiting:
        await asyncio.wait(waiting)


def _make_fields(task: ScheduledTask) -> dict[str, str]:
    return {"task": task.task_name, "schedule": task.schedule_id}
