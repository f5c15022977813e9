"""TaskIQ's scheduler, made so that several may run at once: each firing goes out once, and is tried for a while."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import structlog
from taskiq import AsyncBroker, ScheduledTask, ScheduleSource, TaskiqScheduler
from taskiq.cli.scheduler.run import SchedulerLoop
from taskiq.exceptions import ScheduledTaskCancelledError, SendTaskError
from taskiq.kicker import AsyncKicker
from taskiq.utils import maybe_awaitable

from bandmaster.contrib.taskiq.message_labels import ONCE, ONCE_FOR, SCHEDULE
from bandmaster.contrib.taskiq.schedules.firing import Firing, firing
from bandmaster.kernel import TransientError

_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 5.0
_GRACE = 5.0
"""Seconds that what has begun is given at the end."""
_NOT_SENT = frozenset({"schedule", "types_of_exceptions"})
"""Labels that only matter where a task is registered."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


class OnceScheduler(TaskiqScheduler):
    """Sends each firing with an identity that brokers of this package take only once, whoever sends it.

    It is the task's id as well, where the schedule gives none. A task gets the labels of its registration, as if it had
    been sent by hand, and those of the schedule. ``labels`` are those of tasks that aren't registered with the broker, by
    name.

    ``patience`` is for how many seconds a firing is tried while the broker can't be reached; ``now`` tells the time.
    """

    def __init__(
        self,
        broker: AsyncBroker,
        sources: Iterable[ScheduleSource],
        *,
        labels: Mapping[str, Mapping[str, Any]] | None = None,
        patience: float = 30.0,
        now: Callable[[], datetime] = _utc_now,
    ) -> None:
        super().__init__(broker, list(sources))
        self.on_given_up: Callable[[ScheduledTask], object] = lambda _: None
        """Called with what couldn't be sent within ``patience``."""
        self._labels = labels or {}
        self._patience = patience
        self._now = now
        self._sends: set[asyncio.Task[Any] | None] = set()

    async def on_ready(self, source: ScheduleSource, task: ScheduledTask) -> None:
        """Send a firing, then tell its source. What goes wrong is logged: TaskIQ's loop asks for no outcome."""
        me = asyncio.current_task()
        self._sends.add(me)
        try:
            await self._fire(source, task, firing(task, self._now()))
        except asyncio.CancelledError:
            _log().warning("schedule cut short: it may not have been sent", **_about(task))
            raise
        except Exception as error:  # noqa: BLE001  # the loop lets it vanish, and the others are to be sent
            _log().error("schedule can't be sent", error=_said(error), **_about(task))
        finally:
            self._sends.discard(me)

    async def settle(self) -> None:
        """Wait until what is being sent has been, for a few seconds at most."""
        await asyncio.sleep(0)  # what the loop has just started hasn't begun yet
        await _settled(task for task in self._sends if task is not None and task is not asyncio.current_task())

    async def _fire(self, source: ScheduleSource, task: ScheduledTask, fired: Firing) -> None:
        try:
            await maybe_awaitable(source.pre_send(task))
        except ScheduledTaskCancelledError:
            _log().info("schedule cancelled by its source", **_about(task))
            return
        if not await self._patiently("schedule can't be sent", task, lambda: self._send(task, fired)):
            self.on_given_up(task)
            return

        async def tell() -> None:
            await maybe_awaitable(source.post_send(task))

        await self._patiently("schedule was sent, but its source can't be told, and may bring it again", task, tell)

    async def _send(self, task: ScheduledTask, fired: Firing) -> None:
        labels: dict[str, Any] = {
            **self._labels_of(task.task_name),
            **task.labels,
            SCHEDULE: task.schedule_id,
            ONCE: fired.identity,
            ONCE_FOR: f"{fired.kept:.0f}",
        }
        kicker: AsyncKicker[Any, Any] = AsyncKicker(task.task_name, self.broker, labels)
        try:
            await kicker.with_task_id(task.task_id or fired.identity).kiq(*task.args, **task.kwargs)
        except SendTaskError as error:
            # TaskIQ puts every error of a broker into one of these.
            raise error.__cause__ or error from error.__cause__

    def _labels_of(self, task: str) -> Mapping[str, Any]:
        if task in self._labels:
            return self._labels[task]
        known = self.broker.find_task(task)
        return {} if known is None else {name: value for name, value in known.labels.items() if name not in _NOT_SENT}

    async def _patiently(self, problem: str, task: ScheduledTask, do: Callable[[], Awaitable[None]]) -> bool:
        error: TransientError | None = None
        pause = _FIRST_PAUSE
        with anyio.move_on_after(self._patience):
            while True:
                try:
                    await do()
                except TransientError as failure:
                    error = failure
                else:
                    return True
                await anyio.sleep(max(error.retry_after or 0, pause * random.uniform(0.5, 1)))  # noqa: S311
                pause = min(2 * pause, _LONGEST_PAUSE)
        said = "no answer" if error is None else _said(error)
        _log().error(problem, error=said, seconds=self._patience, **_about(task))
        return False


async def run_scheduler(scheduler: OnceScheduler, update_interval: float) -> None:
    """Start the scheduler's sources, send what is due until cancelled, and shut the sources down.

    The broker is its owner's to start and shut down. ``update_interval`` is after how many seconds schedules are asked
    for again; 1 is the least that makes a difference.

    Raises:
        ValueError: ``update_interval`` isn't above 0.
    """
    if not (update_interval > 0 and math.isfinite(update_interval)):
        raise ValueError(f"update_interval: expected seconds above 0, got {update_interval}")
    async with AsyncExitStack() as stack:
        for source in scheduler.sources:
            await source.startup()
            stack.push_async_callback(_in_peace, source.shutdown)
        loop = _Loop(scheduler)
        scheduler.on_given_up = loop.try_again
        stack.push_async_callback(_in_peace, loop.settle)
        stack.push_async_callback(_in_peace, scheduler.settle)
        # Not its skip_first_run: a scheduler that is restarted within a minute would leave that minute out. That the
        # minute isn't sent twice is the identities' business.
        await loop.run(update_interval=timedelta(seconds=update_interval))


class _Loop(SchedulerLoop):
    def try_again(self, schedule: ScheduledTask) -> None:
        """Let what fires once fire again: the loop itself never tries it twice. Called by what tries to send it."""
        sending = asyncio.current_task()
        assert sending is not None
        # Not before the loop has seen its end: until then it takes the next firing for sent as well.
        sending.add_done_callback(lambda _: self.time_tasks_last_run.pop(schedule.schedule_id, None))

    async def settle(self) -> None:
        """Wait until schedules that are being asked for are there."""
        await _settled(task for task in [self._update_schedules_task_future] if task is not None)


async def _in_peace(do: Callable[[], Awaitable[None]]) -> None:
    with anyio.CancelScope(shield=True):
        await do()


async def _settled(tasks: Iterable[asyncio.Task[Any]]) -> None:
    waiting = set(tasks)
    if waiting:
        _, waiting = await asyncio.wait(waiting, timeout=_GRACE)
    for task in waiting:
        task.cancel()
    if waiting:
        await asyncio.wait(waiting)


def _about(task: ScheduledTask) -> dict[str, str]:
    return {"task": task.task_name, "schedule": task.schedule_id}


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".rstrip(": ")


def _log() -> Any:
    return structlog.get_logger("bandmaster.taskiq")
