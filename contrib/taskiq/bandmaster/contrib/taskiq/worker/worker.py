"""The worker of a queue: receives messages while slots are free, until a drain or a stop."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol, runtime_checkable

import anyio
from anyio.abc import TaskGroup
from taskiq import AckableMessage, AsyncBroker

from bandmaster.contrib.taskiq.brokers.message_handle import Delivery, MessageHandle
from bandmaster.contrib.taskiq.errors import render_error
from bandmaster.contrib.taskiq.logger import get_logger
from bandmaster.contrib.taskiq.observers.task_observers import TaskObservers
from bandmaster.contrib.taskiq.worker.bound_tasks import BoundTask
from bandmaster.contrib.taskiq.worker.message_processor import MessageInProgress, MessageProcessor
from bandmaster.contrib.taskiq.worker.retry_policy import Policy
from bandmaster.kernel import BandmasterError

_CLOSING_SECONDS = 2.0
"""Seconds that a broker's generator gets for its clean-up."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
"""Seconds before a broker that has failed is asked again."""


@runtime_checkable
class ReleasesUnstarted(Protocol):
    """A broker that can release held messages before their tasks have begun."""

    async def release_unstarted(self) -> int:
        """Stop reading, release the messages, and return their number."""
        ...


@dataclass(frozen=True, slots=True)
class WorkerGauge:
    """The running tasks of a worker, and how the messages so far have ended."""

    running: int
    done: int
    retried: int
    dead: int
    lost: int
    """Released, or redelivered to another worker, while their tasks ran."""


class Worker:
    """Runs the tasks of a queue, several at a time, in the event loop of `run`.

    ``tasks`` are the bound tasks by name, ``make_handle`` makes the handle of a message from another package's broker,
    ``find_task`` finds tasks that no part contributes, such as those that TaskIQ's own decorators register, and
    ``fallback_policy`` is for messages of unknown tasks.
    """

    def __init__(
        self,
        broker: AsyncBroker,
        tasks: Mapping[str, BoundTask],
        *,
        make_handle: Callable[[Any, bytes], MessageHandle],
        fallback_policy: Policy,
        concurrency: int = 20,
        threads: int = 8,
        observers: TaskObservers | None = None,
        find_task: Callable[[str], BoundTask | None] = lambda name: None,
    ) -> None:
        self.broker = broker
        self._make_handle = make_handle
        self._processor = MessageProcessor(
            broker, tasks, find_task=find_task, fallback_policy=fallback_policy, threads=threads, observers=observers
        )
        self._slots = anyio.Semaphore(concurrency, fast_acquire=True)
        self._running: set[MessageInProgress] = set()
        self._tasks: TaskGroup | None = None
        self._receiving = anyio.CancelScope()
        self._stopping = False
        self._idle = anyio.Event()
        self._idle.set()
        self._ended = anyio.Event()

    @property
    def gauge(self) -> WorkerGauge:
        """The worker's current figures."""
        return WorkerGauge(running=len(self._running), **asdict(self._processor.counts))

    async def run(self) -> None:
        """Receive messages and run their tasks until `drain`, `stop` or a cancellation.

        A broker that fails is asked again after a growing pause. A cancellation cancels the running tasks and releases
        their messages.
        """
        if self._stopping:
            return
        try:
            async with anyio.create_task_group() as self._tasks:
                with self._receiving:
                    await self._receive_forever(self._tasks)
        finally:
            self._ended.set()

    async def drain(self) -> None:
        """Stop receiving, release the messages of tasks that haven't begun, and wait for the running tasks."""
        await self._stop_receiving()
        await self._idle.wait()

    async def stop(self) -> None:
        """Cancel the running tasks and release their messages."""
        await self._stop_receiving()
        if self._tasks is not None:
            self._tasks.cancel_scope.cancel()
            await self._ended.wait()

    async def _stop_receiving(self) -> None:
        self._stopping = True
        self._receiving.cancel()
        if isinstance(self.broker, ReleasesUnstarted):
            try:
                await self.broker.release_unstarted()
            except BandmasterError as error:
                get_logger().warning(
                    "messages can't be released; other workers get them when their leases expire", error=str(error)
                )

    async def _receive_forever(self, tasks: TaskGroup) -> None:
        pause = _FIRST_PAUSE
        while True:
            began = anyio.current_time()
            try:
                await self._receive(self.broker.listen(), tasks)
                failure = "its generator has ended"
            except Exception as error:  # noqa: BLE001  # a broker of another package raises errors of any type
                failure = render_error(error)
            if anyio.current_time() - began > _LONGEST_PAUSE:
                pause = _FIRST_PAUSE
            get_logger().error("the broker stopped delivering, and is asked again", error=failure, after=pause)
            await anyio.sleep(pause)
            pause = min(_LONGEST_PAUSE, 2 * pause)

    async def _receive(self, messages: AsyncGenerator[Any, None], tasks: TaskGroup) -> None:
        slots = self._slots
        try:
            while True:
                # A slot first, then a message: a message without a slot would be kept from other workers.
                await slots.acquire()
                try:
                    message = await anext(messages)
                except BaseException as error:
                    slots.release()
                    if isinstance(error, StopAsyncIteration):
                        return
                    raise
                current = MessageInProgress(self._find_handle(message))
                self._running.add(current)
                if self._idle.is_set():
                    self._idle = anyio.Event()
                tasks.start_soon(self._process, message, current)
        finally:
            with anyio.move_on_after(_CLOSING_SECONDS, shield=True):
                await messages.aclose()

    def _find_handle(self, message: Any) -> MessageHandle:
        if isinstance(message, Delivery):
            handle: MessageHandle = message.handle
            return handle
        return self._make_handle(message, message.data if isinstance(message, AckableMessage) else message)

    async def _process(self, message: Any, current: MessageInProgress) -> None:
        try:
            with current.scope:
                await self._processor.process(message, current)
        except Exception as error:  # noqa: BLE001  # a fault of the worker or of a broker's handle, not of the task
            get_logger().error("the worker failed outside the task", error=render_error(error), exception=error)
        finally:
            self._running.discard(current)
            self._slots.release()
            if not self._running:
                self._idle.set()
