"""Processes one message: parses the message, runs the task, stores the result, and ends the message."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

import anyio
import anyio.to_thread
from taskiq import AckableMessage, AsyncBroker, Context, TaskiqMessage, TaskiqResult, TaskiqState
from taskiq.acks import AckController, AcknowledgeType, parse_acknowledge_type
from taskiq.exceptions import NoResultError
from taskiq.utils import maybe_awaitable

from bandmaster.contrib.taskiq.brokers.message_handle import MessageHandle
from bandmaster.contrib.taskiq.brokers.third_party_broker import ThirdPartyHandle
from bandmaster.contrib.taskiq.dead_letters.dead_letter import Reason
from bandmaster.contrib.taskiq.errors import (
    TaskCancelledError,
    TaskTimeoutError,
    make_unknown_task_error,
    render_error,
)
from bandmaster.contrib.taskiq.logger import get_logger
from bandmaster.contrib.taskiq.message_labels import TIMEOUT
from bandmaster.contrib.taskiq.observers.task_events import (
    AttemptEnded,
    AttemptOutcome,
    AttemptStarted,
    MessageDied,
    TaskAttempt,
)
from bandmaster.contrib.taskiq.observers.task_observers import TaskObservers
from bandmaster.contrib.taskiq.propagation import restore_context
from bandmaster.contrib.taskiq.worker.attempt_labels import make_next_labels
from bandmaster.contrib.taskiq.worker.bound_tasks import BoundTask
from bandmaster.contrib.taskiq.worker.middleware_steps import MiddlewareSteps
from bandmaster.contrib.taskiq.worker.observed_attempt import make_attempt_ended, make_observed_attempt
from bandmaster.contrib.taskiq.worker.retry_policy import Dead, Done, Outcome, Policy, Retry, decide
from bandmaster.contrib.web import bind
from bandmaster.kernel import TransientError

_T = TypeVar("_T")

RUN_TYPES = (Context, TaskiqState, TaskiqMessage)
"""Types that each run provides to its task, beside the types that components provide."""


@dataclass(slots=True)
class Counts:
    """How the messages of a worker ended."""

    done: int = 0
    retried: int = 0
    dead: int = 0
    lost: int = 0


class MessageInProgress:
    """A message that this worker is processing."""

    __slots__ = ("finishing", "handle", "scope", "task")

    def __init__(self, handle: MessageHandle) -> None:
        self.handle = handle
        self.task = ""
        """The task's name, once the message is parsed."""
        self.scope = anyio.CancelScope()
        self.finishing = False
        """Whether the task has ended, and only its outcome is being written."""

    def lose(self) -> None:
        """Cancel the task, since another worker has the message. A task that has ended is finished all the same."""
        if not self.finishing:
            self.scope.cancel()


@dataclass(slots=True)
class _Attempt:
    """One run of a task, with its result or error."""

    message: TaskiqMessage
    observed: TaskAttempt
    acknowledge_type: AcknowledgeType
    ack: AckController
    policy: Policy
    value: Any = None
    error: Exception | None = None
    seconds: float = 0.0

    @property
    def number(self) -> int:
        """The number of the attempt, from 1."""
        return self.observed.number

    @property
    def has_no_result(self) -> bool:
        """Whether the task raised TaskIQ's NoResultError, which means success without a stored result."""
        return isinstance(self.error, NoResultError)


class MessageProcessor:
    """Processes the messages of one worker, several at the same time."""

    def __init__(
        self,
        broker: AsyncBroker,
        tasks: Mapping[str, BoundTask],
        *,
        find_task: Callable[[str], BoundTask | None],
        fallback_policy: Policy,
        threads: int,
        observers: TaskObservers | None = None,
    ) -> None:
        self.counts = Counts()
        self._broker = broker
        self._tasks = dict(tasks)
        self._find_task = find_task
        self._fallback_policy = fallback_policy
        self._threads = anyio.CapacityLimiter(threads)
        self._steps = MiddlewareSteps(broker)
        self._observers = observers or TaskObservers()

    async def process(self, raw: Any, current: MessageInProgress) -> None:
        """Process a message from parsing to acknowledgement. A cancellation releases the message."""
        data: bytes = raw.data if isinstance(raw, AckableMessage) else raw
        try:
            message: TaskiqMessage = self._broker.formatter.loads(data)
            message.parse_labels()
        except Exception as error:  # noqa: BLE001  # a formatter raises errors of any type
            await self._bury_unreadable(current, type(error).__name__)
            return
        current.task = message.task_name
        if not current.handle.begin(current.lose):
            return
        with restore_context(message.labels, with_trace=not self._observers.carries_trace):
            bind(task=message.task_name, task_id=message.task_id)
            try:
                await self._run_task(message, current)
            except asyncio.CancelledError:
                await self._release(message, current)
                raise

    async def _bury_unreadable(self, current: MessageInProgress, error: str) -> None:
        self.counts.dead += 1
        get_logger().error(
            "unreadable message became a dead letter",
            reason=Reason.UNREADABLE,
            message=current.handle.id,
            error=error,
        )
        # Without the error's own text, which quotes the message.
        detail = f"{error}: the bytes aren't a message of TaskIQ's"
        if await self._write(current.handle.dead_letter(Reason.UNREADABLE, detail), current):
            self._observers.report(MessageDied("", "", self._observers.queue, Reason.UNREADABLE))

    async def _run_task(self, message: TaskiqMessage, current: MessageInProgress) -> None:
        attempt = _Attempt(
            message,
            make_observed_attempt(message, self._observers.queue, current.handle.deliveries),
            _read_acknowledge_type(message),
            AckController(current.handle.acknowledge),
            self._fallback_policy,
        )
        with self._observers.observe_attempt(attempt.observed):
            self._observers.report(AttemptStarted(attempt.observed))
            began = time.perf_counter()
            try:
                outcome = await self._run_attempt(attempt, current)
            except asyncio.CancelledError:
                if not current.finishing:  # otherwise the end has been reported
                    lost = AttemptOutcome.LOST if current.scope.cancel_called else AttemptOutcome.RELEASED
                    self._observers.report(AttemptEnded(attempt.observed, lost, time.perf_counter() - began))
                raise
        if isinstance(outcome, Retry) and isinstance(current.handle, ThirdPartyHandle):
            # Such a broker may not be able to delay a message, so the worker waits, unless the worker must stop.
            await current.handle.wait(outcome.delay)
        await self._end_message(attempt, outcome, current)

    async def _run_attempt(self, attempt: _Attempt, current: MessageInProgress) -> Outcome:
        """Run the task, decide what follows, and store the result."""
        began = time.perf_counter()
        try:
            await self._call_task(attempt)
        except asyncio.CancelledError as cancelled:
            # From outside it is the worker's: a lost lease, or the stop. From inside it is a failure of the task.
            if _is_cancelled_from_outside():
                raise
            attempt.error = TaskCancelledError("the task was cancelled by its own code")
            attempt.error.__cause__ = cancelled
        except Exception as error:  # noqa: BLE001  # a task raises errors of any type
            attempt.error = error
        except BaseException as error:  # noqa: BLE001  # SystemExit and its like must not end the worker
            attempt.error = RuntimeError(f"the task raised {render_error(error)}")
            attempt.error.__cause__ = error
        attempt.seconds = time.perf_counter() - began
        current.finishing = True
        if attempt.error is None and attempt.acknowledge_type is AcknowledgeType.MANUAL and not attempt.ack.is_acked:
            attempt.error = TransientError("the task must acknowledge its message itself and didn't")
        outcome = _decide_outcome(attempt)
        self._observers.report(make_attempt_ended(attempt.observed, outcome, attempt.seconds, attempt.error))
        with anyio.CancelScope(shield=True):
            await self._store_outcome(attempt, outcome)
        return outcome

    async def _call_task(self, attempt: _Attempt) -> None:
        name = attempt.message.task_name
        task = self._tasks.get(name)
        if task is None and (task := self._find_task(name)) is not None:
            self._tasks[name] = task
        if task is not None:
            attempt.policy = task.policy
        attempt.message = message = await self._steps.run_before(attempt.message)
        if attempt.acknowledge_type is AcknowledgeType.WHEN_RECEIVED:
            await attempt.ack.ack()
        if task is None:
            raise make_unknown_task_error(name, self._tasks)
        args, kwargs = task.arguments.decode(message.args, message.kwargs)
        provided = {
            Context: Context(message, self._broker, attempt.ack),
            TaskiqState: self._broker.state,
            TaskiqMessage: message,
            **self._broker.custom_dependency_context,
        }
        label = message.labels.get(TIMEOUT)
        timeout = task.timeout if label is None else float(label)
        with anyio.move_on_after(math.inf if timeout is None else timeout) as scope:
            attempt.value = await self._call_function(task, args, kwargs, provided)
        if scope.cancelled_caught:
            raise TaskTimeoutError(f"the task took more than {timeout:g} s")

    async def _call_function(
        self, task: BoundTask, args: tuple[Any, ...], kwargs: Mapping[str, Any], provided: Mapping[Any, Any]
    ) -> Any:
        async with task.open_dependencies(provided) as dependencies:
            call = partial(task.task.function, *args, **{**dependencies, **kwargs})
            if task.is_async:
                return await maybe_awaitable(call())
            return await anyio.to_thread.run_sync(call, limiter=self._threads, abandon_on_cancel=True)

    async def _store_outcome(self, attempt: _Attempt, outcome: Outcome) -> None:
        message, error = attempt.message, attempt.error
        result: TaskiqResult[Any] = TaskiqResult(
            is_err=error is not None,
            return_value=attempt.value,
            execution_time=round(attempt.seconds, 6),
            labels=message.labels,
            error=error,
        )
        if error is not None and not attempt.has_no_result:
            await self._steps.run_after("on_error", message, result, error)
        await self._steps.run_after("post_execute", message, result)
        if not attempt.has_no_result and not isinstance(outcome, Retry):
            await self._store_result(message, result)
        self._log_outcome(attempt, outcome)

    async def _store_result(self, message: TaskiqMessage, result: TaskiqResult[Any]) -> None:
        backend = self._broker.result_backend
        try:
            await backend.set_result(message.task_id, result)
        except Exception as error:  # noqa: BLE001  # the task has ended: it must not run again for its result
            get_logger().error(
                "result can't be stored", task=message.task_name, task_id=message.task_id, error=render_error(error)
            )
            if not isinstance(error, TransientError) and not result.is_err:
                # Store the error instead, so that the sender doesn't wait for a result that never comes.
                failed = result.model_copy(update={"is_err": True, "return_value": None, "error": error})
                with contextlib.suppress(Exception):
                    await backend.set_result(message.task_id, failed)
            return
        await self._steps.run_after("post_save", message, result)

    async def _end_message(self, attempt: _Attempt, outcome: Outcome, current: MessageInProgress) -> None:
        handle, acknowledged = current.handle, attempt.ack.is_acked
        fields = {"task": current.task, "task_id": attempt.message.task_id}
        match outcome:
            case Done():
                self.counts.done += 1
                if not acknowledged:
                    await self._write(handle.acknowledge(), current)
            case Retry(delay, _):
                self.counts.retried += 1
                data = self._make_next_message(attempt, attempt.number + 1)
                if await self._write(handle.retry(data, delay=delay), current) is False:
                    get_logger().warning("retry not sent: another worker has the message", **fields)
            case Dead(reason, detail):
                self.counts.dead += 1
                if acknowledged:
                    get_logger().warning("no dead letter: the message had been acknowledged", **fields)
                    return
                data = self._make_next_message(attempt, attempt.number)
                if await self._write(handle.dead_letter(reason, detail, data=data), current):
                    self._observers.report(
                        MessageDied(current.task, attempt.message.task_id, self._observers.queue, reason)
                    )

    async def _release(self, message: TaskiqMessage, current: MessageInProgress) -> None:
        """Release the message of a cancelled task. No result is stored, since another worker will store one."""
        self.counts.lost += 1
        fields = {"task": current.task, "task_id": message.task_id}
        if current.scope.cancel_called:
            get_logger().warning("task cancelled: its lease was lost, and another worker has the message", **fields)
            return
        await self._write(current.handle.release(), current)
        get_logger().warning("task cancelled and its message released", **fields)

    async def _write(self, action: Awaitable[_T], current: MessageInProgress) -> _T | None:
        """Await an action of the message's handle, shielded: a cancellation must not leave the action half done."""
        returned: _T | None = None
        with anyio.CancelScope(shield=True):
            try:
                returned = await action
            except Exception as error:  # noqa: BLE001  # a broker of another package raises errors of any type
                get_logger().error(
                    "the broker can't be reached at a task's end: the message is redelivered when its lease expires",
                    task=current.task,
                    message=current.handle.id,
                    error=render_error(error),
                )
        return returned

    def _make_next_message(self, attempt: _Attempt, next_number: int) -> bytes:
        message = attempt.message
        labels = make_next_labels(
            message.labels,
            next_number,
            attempt.number,
            attempt.error,
            datetime.now(UTC),
            attempt.observed.next_fields,
        )
        return self._broker.formatter.dumps(message.model_copy(update={"labels": labels})).message

    def _log_outcome(self, attempt: _Attempt, outcome: Outcome) -> None:
        message, log = attempt.message, get_logger()
        fields: dict[str, Any] = {
            "task": message.task_name,
            "task_id": message.task_id,
            "took": round(attempt.seconds, 3),
        }
        if attempt.number > 1:
            fields["attempt"] = attempt.number
        match outcome:
            case Done():
                log.info("task done", **fields)
            case Retry(delay, detail):
                log.warning("task failed and will be retried", **fields, after=round(delay, 3), error=detail)
            case Dead(reason, detail):
                fields |= {"reason": reason.value, "error": detail}
                log.error("task became a dead letter", exception=attempt.error, **fields)


def _decide_outcome(attempt: _Attempt) -> Outcome:
    if attempt.has_no_result:
        return Done()
    outcome = decide(attempt.error, attempt.number, attempt.policy, random.random())  # noqa: S311
    if isinstance(outcome, Retry) and attempt.ack.is_acked:
        # The message has been acknowledged, so the task runs at most once: it can't be retried.
        return Dead(Reason.EXHAUSTED, outcome.detail)
    return outcome


def _is_cancelled_from_outside() -> bool:
    """Whether a cancel scope around this task is cancelled: its deadline is then in the past."""
    return anyio.current_effective_deadline() == -math.inf


def _read_acknowledge_type(message: TaskiqMessage) -> AcknowledgeType:
    label = message.labels.get("ack_type")
    try:
        return AcknowledgeType.WHEN_SAVED if label is None else parse_acknowledge_type(label)
    except ValueError:
        return AcknowledgeType.WHEN_SAVED
