"""Works at a queue: takes messages, runs their tasks, and says what becomes of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import random
import time
import traceback
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Protocol, runtime_checkable

import anyio
import anyio.to_thread
import structlog
from anyio.abc import TaskGroup
from taskiq import AckableMessage, AsyncBroker, Context, TaskiqMessage, TaskiqMiddleware, TaskiqResult, TaskiqState
from taskiq.acks import AckController, AcknowledgeType, parse_acknowledge_type
from taskiq.exceptions import NoResultError
from taskiq.labels import prepare_label
from taskiq.utils import maybe_awaitable

from bandmaster.contrib.taskiq import message_labels as labels
from bandmaster.contrib.taskiq.brokers.foreign_broker import ForeignHand
from bandmaster.contrib.taskiq.brokers.message_handle import Delivery, Hand, Reason
from bandmaster.contrib.taskiq.propagation import restored
from bandmaster.contrib.taskiq.queue import unknown
from bandmaster.contrib.taskiq.worker.bound_tasks import Bound
from bandmaster.contrib.taskiq.worker.retry_policy import (
    Again,
    Dead,
    Done,
    Outcome,
    Policy,
    TaskCancelledError,
    TaskTimeoutError,
    UnknownTaskError,
    decide,
    described,
)
from bandmaster.kernel import BandmasterError, TransientError

KNOWN = (Context, TaskiqState, TaskiqMessage)
"""What each run knows by type, beside what the components provide."""
_FOR_SENDING = (labels.DELAY, labels.ONCE, labels.ONCE_FOR)
_REMEMBERED = 10
"""Failures that a message remembers."""
_LAST_STEPS = 2.0
"""Seconds that a broker's listening gets for its clean-up."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
"""Seconds before a broker that has failed is asked again."""


@runtime_checkable
class HandsBack(Protocol):
    """A broker that can let others have what it holds and hasn't begun."""

    async def hand_back(self) -> int:
        """Stop reading, and let go of it; how many messages it was."""
        ...


@dataclass(frozen=True, slots=True)
class WorkerGauge:
    """How a worker stands."""

    running: int
    done: int
    again: int
    dead: int
    lost: int
    """Given back, or taken by another worker, while they ran."""


class Worker:
    """Runs the tasks of a queue, some at once, in the event loop that it is started in."""

    def __init__(
        self,
        broker: AsyncBroker,
        bound: Mapping[str, Bound],
        *,
        take: Callable[[Any, bytes], Hand],
        fallback: Policy,
        concurrency: int = 20,
        threads: int = 8,
        others: Callable[[str], Bound | None] = lambda name: None,
    ) -> None:
        self.broker = broker
        self._bound = dict(bound)
        self._take = take
        """Makes the hand on a message that comes from another package's broker."""
        self._others = others
        """Finds a task that no part brings, such as one that TaskIQ's own decorators registered."""
        self._fallback = fallback
        """For messages whose task isn't known."""
        self._slots = anyio.Semaphore(concurrency, fast_acquire=True)
        self._threads = anyio.CapacityLimiter(threads)
        self._running: set[_Run] = set()
        self._tasks: TaskGroup | None = None
        self._listening = anyio.CancelScope()
        self._stopping = False
        self._empty = anyio.Event()
        self._empty.set()
        self._over = anyio.Event()
        self._counts = {"done": 0, "again": 0, "dead": 0, "lost": 0}
        self._log = structlog.get_logger("bandmaster.taskiq")
        # Looked up once: most middlewares have most of TaskIQ's steps from their base.
        self._steps = {
            step: tuple(
                getattr(each, step)
                for each in (broker.middlewares if step == "pre_execute" else reversed(broker.middlewares))
                if getattr(type(each), step) is not getattr(TaskiqMiddleware, step)
            )
            for step in ("pre_execute", "on_error", "post_execute", "post_save")
        }

    @property
    def gauge(self) -> WorkerGauge:
        """How it stands."""
        return WorkerGauge(running=len(self._running), **self._counts)

    async def run(self) -> None:
        """Work until `drain` or `stop`, or until cancelled; a broker that fails is asked again, ever less often.

        What runs when it is cancelled is cancelled, too, and given back.
        """
        if self._stopping:
            return
        try:
            async with anyio.create_task_group() as self._tasks:
                with self._listening:
                    await self._listen(self._tasks)
        finally:
            self._over.set()

    async def drain(self) -> None:
        """Take no more, let others have what hasn't begun, and wait for what runs."""
        await self._take_no_more()
        await self._empty.wait()

    async def stop(self) -> None:
        """Cancel what still runs, and let others have it."""
        await self._take_no_more()
        if self._tasks is not None:
            self._tasks.cancel_scope.cancel()
            await self._over.wait()

    # -- taking ------------------------------------------------------------------------------------------------

    async def _take_no_more(self) -> None:
        self._stopping = True
        self._listening.cancel()
        if isinstance(self.broker, HandsBack):
            try:
                await self.broker.hand_back()
            except BandmasterError as error:
                self._log.warning(
                    "tasks can't be handed back; others get them when the lease is over", error=str(error)
                )

    async def _listen(self, tasks: TaskGroup) -> None:
        pause = _FIRST_PAUSE
        while True:
            began = anyio.current_time()
            try:
                await self._take_from(self.broker.listen(), tasks)
                said = "it has ended"
            except Exception as error:  # noqa: BLE001  # a broker of another package raises what it likes
                said = described(error)
            if anyio.current_time() - began > _LONGEST_PAUSE:
                pause = _FIRST_PAUSE
            self._log.error("the broker gives nothing out, and is asked again", error=said, after=pause)
            await anyio.sleep(pause)
            pause = min(_LONGEST_PAUSE, 2 * pause)

    async def _take_from(self, messages: AsyncGenerator[Any, None], tasks: TaskGroup) -> None:
        slots = self._slots
        try:
            while True:
                # Before a message is taken: what can't be begun is left for others.
                await slots.acquire()
                try:
                    message = await anext(messages)
                except BaseException as error:
                    slots.release()
                    if isinstance(error, StopAsyncIteration):
                        return
                    raise
                run = _Run(message.hand if isinstance(message, Delivery) else self._foreign(message))
                self._running.add(run)
                if self._empty.is_set():
                    self._empty = anyio.Event()
                tasks.start_soon(self._attend, message, run)
        finally:
            with anyio.move_on_after(_LAST_STEPS, shield=True):
                await messages.aclose()

    def _foreign(self, message: Any) -> Hand:
        return self._take(message, message.data if isinstance(message, AckableMessage) else message)

    # -- one message -------------------------------------------------------------------------------------------

    async def _attend(self, message: Any, run: _Run) -> None:
        try:
            with run.scope:
                await self._see_to(message, run)
        except Exception as error:  # noqa: BLE001  # of this worker's own, or of a foreign hand
            trace = "".join(traceback.format_exception(error))
            self._log.error("a worker's own step failed", error=described(error), exception=trace)
        finally:
            self._running.discard(run)
            self._slots.release()
            if not self._running:
                self._empty.set()

    async def _see_to(self, message: Any, run: _Run) -> None:
        data: bytes = message.data if isinstance(message, AckableMessage) else message
        hand = run.hand
        try:
            read: TaskiqMessage = self.broker.formatter.loads(data)
            read.parse_labels()
        except Exception as error:  # noqa: BLE001  # whatever makes it unreadable
            self._counts["dead"] += 1
            self._log.error("message put aside", reason=Reason.UNREADABLE, message=hand.id, error=type(error).__name__)
            # Not the error's own text, which quotes the message.
            detail = f"{type(error).__name__}: it isn't a message of TaskIQ's"
            await self._settled(hand.bury(Reason.UNREADABLE, detail), run)
            return
        run.name = read.task_name
        if not hand.begin(run.lost):
            return
        with restored(read.labels):
            try:
                await self._do(read, run)
            except asyncio.CancelledError:
                await self._cut_short(read, run)
                raise

    async def _do(self, message: TaskiqMessage, run: _Run) -> None:
        policy = self._fallback
        attempt = _number(message.labels.get(labels.ATTEMPT), 1)
        acknowledge = _acknowledge(message)
        ack = AckController(run.hand.done)
        began = time.perf_counter()
        value: Any = None
        error: Exception | None = None
        try:
            bound = self._bound.get(message.task_name) or self._find(message.task_name)
            policy = self._fallback if bound is None else bound.policy
            for step in self._steps["pre_execute"]:
                message = _checked(await maybe_awaitable(step(message)), step)
            if acknowledge is AcknowledgeType.WHEN_RECEIVED:
                await ack.ack()
            if bound is None:
                raise UnknownTaskError(unknown(message.task_name, self._bound))
            value = await self._call(bound, message, ack)
        except asyncio.CancelledError as cancelled:
            if _is_cancelled():
                raise
            error = TaskCancelledError("it was cancelled from inside")
            error.__cause__ = cancelled
        except Exception as raised:  # noqa: BLE001  # whatever a task raises is its outcome
            error = raised
        except BaseException as raised:  # noqa: BLE001  # SystemExit and its like: a task doesn't end its worker
            error = RuntimeError(f"it raised {described(raised)}")
            error.__cause__ = raised
        took = time.perf_counter() - began
        run.settling = True
        if error is None and acknowledge is AcknowledgeType.MANUAL and not ack.is_acked:
            error = TransientError("it is to acknowledge its message itself, and didn't")
        quiet = isinstance(error, NoResultError)
        outcome = Done() if quiet else decide(error, attempt, policy, random.random())  # noqa: S311
        if isinstance(outcome, Again) and ack.is_acked:
            # The message is gone: at most once is what was asked for.
            outcome = Dead(Reason.EXHAUSTED, outcome.detail)
        with anyio.CancelScope(shield=True):
            await self._conclude(message, outcome, attempt, value, error, took)
        if isinstance(outcome, Again) and isinstance(run.hand, ForeignHand):
            # Such a broker can't be relied on to keep a message for later: it waits here, until it must be let go.
            await run.hand.wait(outcome.delay)
        await self._settle(message, run, outcome, attempt, error, ack)

    async def _call(self, bound: Bound, message: TaskiqMessage, ack: AckController) -> Any:
        args, kwargs = bound.arguments.made(message.args, message.kwargs)
        seconds = message.labels.get(labels.TIMEOUT)
        seconds = bound.timeout if seconds is None else float(seconds)
        known = {
            Context: Context(message, self.broker, ack),
            TaskiqState: self.broker.state,
            TaskiqMessage: message,
            **self.broker.custom_dependency_context,
        }
        if seconds is None:
            return await self._call_with(bound, args, kwargs, known)
        with anyio.move_on_after(seconds) as scope:
            return await self._call_with(bound, args, kwargs, known)
        assert scope.cancelled_caught
        raise TaskTimeoutError(f"it took more than {seconds:g} s")

    async def _call_with(
        self, bound: Bound, args: tuple[Any, ...], kwargs: Mapping[str, Any], known: Mapping[Any, Any]
    ) -> Any:
        async with bound.dependencies(known) as given:
            call = partial(bound.task.function, *args, **{**given, **kwargs})
            if bound.is_async:
                return await maybe_awaitable(call())
            return await anyio.to_thread.run_sync(call, limiter=self._threads, abandon_on_cancel=True)

    async def _conclude(
        self,
        message: TaskiqMessage,
        outcome: Outcome,
        attempt: int,
        value: Any,
        error: Exception | None,
        took: float,
    ) -> None:
        quiet = isinstance(error, NoResultError)
        result: TaskiqResult[Any] = TaskiqResult(
            is_err=error is not None,
            return_value=value,
            execution_time=round(took, 6),
            labels=message.labels,
            error=error,
        )
        if error is not None and not quiet:
            for step in self._steps["on_error"]:
                await self._stepped(step, message, result, error)
        for step in self._steps["post_execute"]:
            await self._stepped(step, message, result)
        if not quiet and not isinstance(outcome, Again):
            await self._keep_result(message, result)
        self._tell(message, outcome, attempt, error, took)

    async def _keep_result(self, message: TaskiqMessage, result: TaskiqResult[Any]) -> None:
        try:
            await self.broker.result_backend.set_result(message.task_id, result)
        except Exception as error:  # noqa: BLE001  # the task itself has ended, and must not run again for this
            self._log.error("result not kept", task=message.task_name, task_id=message.task_id, error=described(error))
            if not isinstance(error, TransientError) and not result.is_err:
                # Whoever waits for it is told, rather than left to wait.
                failed = result.model_copy(update={"is_err": True, "return_value": None, "error": error})
                with contextlib.suppress(Exception):
                    await self.broker.result_backend.set_result(message.task_id, failed)
            return
        for step in self._steps["post_save"]:
            await self._stepped(step, message, result)

    async def _settle(
        self,
        message: TaskiqMessage,
        run: _Run,
        outcome: Outcome,
        attempt: int,
        error: BaseException | None,
        ack: AckController,
    ) -> None:
        hand = run.hand
        match outcome:
            case Done():
                self._counts["done"] += 1
                if not ack.is_acked:
                    await self._settled(hand.done(), run)
            case Again(delay, _):
                self._counts["again"] += 1
                data = self._next(message, attempt + 1, attempt, error)
                if await self._settled(hand.again(data, delay=delay), run) is False:
                    self._log.warning("another worker has the task", task=run.name, task_id=message.task_id)
            case Dead(reason, detail):
                self._counts["dead"] += 1
                if ack.is_acked:
                    self._log.warning(
                        "no dead letter: the message had been acknowledged", task=run.name, task_id=message.task_id
                    )
                    return
                data = self._next(message, attempt, attempt, error)
                await self._settled(hand.bury(reason, detail, data=data), run)

    async def _cut_short(self, message: TaskiqMessage, run: _Run) -> None:
        """Its message is somebody else's from now on. No result is written: there will be another."""
        self._counts["lost"] += 1
        if run.scope.cancel_called:
            self._log.warning(
                "task cancelled: its lease was lost, and another worker has it", task=run.name, task_id=message.task_id
            )
            return
        await self._settled(run.hand.give_back(), run)
        self._log.warning("task cut short, and given back", task=run.name, task_id=message.task_id)

    async def _settled(self, settling: Any, run: _Run) -> Any:
        """Tell the broker, whatever is cancelled meanwhile: half told would be worse than late."""
        with anyio.CancelScope(shield=True):
            try:
                return await settling
            except Exception as error:  # noqa: BLE001  # a broker of another package raises what it likes
                self._log.error(
                    "the broker couldn't be told how a task ended; it is given out again when its lease is over",
                    task=run.name,
                    message=run.hand.id,
                    error=described(error),
                )
                return None

    async def _stepped(self, step: Callable[..., Any], message: TaskiqMessage, *about: Any) -> None:
        """Do a middleware's step; what it raises mustn't change what becomes of the task."""
        try:
            await maybe_awaitable(step(message, *about))
        except Exception as error:  # noqa: BLE001
            self._log.error(
                "a middleware failed", step=step.__qualname__, task=message.task_name, error=described(error)
            )

    def _find(self, name: str) -> Bound | None:
        found = self._others(name)
        if found is not None:
            self._bound[name] = found
        return found

    def _next(self, message: TaskiqMessage, next_attempt: int, attempt: int, error: BaseException | None) -> bytes:
        """The message as it is to be given out next: with its number, and how this attempt has ended."""
        # What was for the first sending alone isn't for the next.
        found = {name: _sendable(value) for name, value in message.labels.items() if name not in _FOR_SENDING}
        found[labels.ATTEMPT] = str(next_attempt)
        if error is not None:
            failure = {"attempt": attempt, "at": datetime.now(UTC).isoformat(timespec="milliseconds")}
            before = _failures(message.labels.get(labels.FAILURES))
            history = [*before, {**failure, "error": described(error)}][-_REMEMBERED:]
            found[labels.FAILURES] = json.dumps(history)
        return self.broker.formatter.dumps(message.model_copy(update={"labels": found})).message

    def _tell(
        self,
        message: TaskiqMessage,
        outcome: Outcome,
        attempt: int,
        error: BaseException | None,
        took: float,
    ) -> None:
        about: dict[str, Any] = {"task": message.task_name, "task_id": message.task_id, "took": round(took, 3)}
        if attempt > 1:
            about["attempt"] = attempt
        match outcome:
            case Done():
                self._log.info("task done", **about)
            case Again(delay, detail):
                self._log.warning("task failed, to be tried again", **about, after=round(delay, 3), error=detail)
            case Dead(reason, detail):
                # As text: structlog's own rendering shows local variables, which may be secrets.
                trace = "" if error is None else "".join(traceback.format_exception(error))
                self._log.error("task put aside", **about, reason=reason.value, error=detail, exception=trace)


class _Run:
    """One message in this worker's hands."""

    __slots__ = ("hand", "name", "scope", "settling")

    def __init__(self, hand: Hand) -> None:
        self.hand = hand
        self.name = ""
        self.scope = anyio.CancelScope()
        self.settling = False
        """Whether the task itself is over."""

    def lost(self) -> None:
        """Another worker has it: what runs here runs in vain."""
        if not self.settling:
            self.scope.cancel()


def _is_cancelled() -> bool:
    """Whether what runs here is being cancelled from outside."""
    return anyio.current_effective_deadline() == -math.inf


def _acknowledge(message: TaskiqMessage) -> AcknowledgeType:
    told = message.labels.get("ack_type")
    try:
        return AcknowledgeType.WHEN_SAVED if told is None else parse_acknowledge_type(told)
    except ValueError:
        return AcknowledgeType.WHEN_SAVED


def _checked(message: Any, step: Callable[..., Any]) -> TaskiqMessage:
    if not isinstance(message, TaskiqMessage):
        raise TypeError(f"{step.__qualname__} returned {message!r} rather than the message")
    return message


def _sendable(label: Any) -> Any:
    return prepare_label(label)[0] if isinstance(label, bytes) else label


def _number(value: Any, otherwise: int) -> int:
    try:
        return max(1, int(value))
    except (TypeError, ValueError):
        return otherwise


def _failures(told: Any) -> list[Any]:
    try:
        found = json.loads(told) if told else []
    except (TypeError, ValueError):
        return []
    return found if isinstance(found, list) else []
