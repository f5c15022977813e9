"""The task queue: how an application sends tasks."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ParamSpec, Protocol, TypeVar, overload

from pydantic import PydanticUserError, TypeAdapter
from taskiq import AsyncBroker, AsyncTaskiqTask, ScheduleSource, TaskiqResult
from taskiq.exceptions import SendTaskError
from taskiq.kicker import AsyncKicker

from bandmaster.contrib.taskiq.dead_letters.dead_letter import DeadLetters
from bandmaster.contrib.taskiq.errors import TaskNotSentError, make_unknown_task_error
from bandmaster.contrib.taskiq.idempotency.idempotency import Idempotency
from bandmaster.contrib.taskiq.observers.observed_sending import observe_sending
from bandmaster.contrib.taskiq.observers.task_observers import TaskObservers
from bandmaster.contrib.taskiq.propagation import make_context_labels
from bandmaster.contrib.taskiq.task_declarations.arguments import Arguments, read_arguments
from bandmaster.contrib.taskiq.task_declarations.options import Label
from bandmaster.contrib.taskiq.task_declarations.task import Task, convert_task
from bandmaster.contrib.web import new_request_id
from bandmaster.kernel import BandmasterError

P = ParamSpec("P")
R = TypeVar("R")
_R_co = TypeVar("_R_co", covariant=True)


class TaskHandle(AsyncTaskiqTask[R]):
    """A sent task, by which the result is awaited. TaskIQ's own handle, with the errors of this package."""

    async def is_ready(self) -> bool:
        """Whether a result is stored.

        Raises:
            TransientError, PermanentError: the result backend can't be read.
        """
        return await self.result_backend.is_result_ready(self.task_id)

    async def get_result(self, with_logs: bool = False) -> TaskiqResult[R]:
        """The result, with the value converted to the type that the task declares.

        Raises:
            ResultMissingError: no result is stored, or the result has expired.
            TransientError, PermanentError: the result backend can't be read.
        """
        result = await self.result_backend.get_result(self.task_id, with_logs=with_logs)
        if self.return_type is not None and not result.is_err:
            with contextlib.suppress(ValueError, TypeError, PydanticUserError):  # then the value stays as JSON has it
                result.return_value = TypeAdapter(self.return_type).validate_python(result.return_value)
        return result


class _Decorated(Protocol[P, _R_co]):
    """TaskIQ's decorated task, covariant: type checkers infer different types for the result of an async function."""

    @property
    def original_func(self) -> Callable[P, _R_co]: ...


class TaskQueue:
    """Sends tasks to the workers of this application. A resource, found by its type.

    A message contains the sender's request id, correlation id, tenant, user and trace.
    """

    def __init__(
        self,
        broker: AsyncBroker,
        tasks: Mapping[str, Task[..., Any]],
        dead_letters: DeadLetters,
        schedules: ScheduleSource,
        idempotency: Idempotency,
        *,
        observers: TaskObservers | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.broker = broker
        """TaskIQ's broker, for libraries that need one."""
        self.tasks = tasks
        """The tasks of the plan's parts, by name."""
        self.dead_letters = dead_letters
        self.schedules = schedules
        """The source to which schedules can be added at run time."""
        self.idempotency = idempotency
        self.observers = observers or TaskObservers()
        """What follows the messages of the queue, such as tracing."""
        self._now = now
        self._arguments: dict[str, Arguments] = {}

    @overload
    async def send(
        self, task: Task[P, Coroutine[Any, Any, R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> TaskHandle[R]: ...
    @overload
    async def send(self, task: Task[P, R], /, *args: P.args, **kwargs: P.kwargs) -> TaskHandle[R]: ...
    @overload
    async def send(
        self, task: _Decorated[P, Coroutine[Any, Any, R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> TaskHandle[R]: ...
    @overload
    async def send(self, task: _Decorated[P, R], /, *args: P.args, **kwargs: P.kwargs) -> TaskHandle[R]: ...
    async def send(self, task: Any, /, *args: Any, **kwargs: Any) -> TaskHandle[Any]:
        """Send a task with these arguments and return its handle.

        When this returns, the broker has stored the message; the leased broker stores messages as safely as Redis does.

        Raises:
            TypeError: the arguments don't fit the task's parameters, or JSON can't express them.
            UnknownTaskError: no part of the plan contributes the task, so that no worker of the plan would know it.
            TransientError: the broker can't be reached, or is full.
            PermanentError: the broker refuses.
        """
        if isinstance(task, Task) and task.name not in self.tasks:
            raise make_unknown_task_error(task.name, self.tasks)
        chosen = task if isinstance(task, Task) else convert_task(task)
        arguments = self._find_arguments(chosen)
        sent_args, sent_kwargs = arguments.encode(args, kwargs)
        labels = chosen.make_labels(self._now())
        return await self._send(chosen.name, sent_args, sent_kwargs, chosen.task_id, labels, arguments.returned)

    async def send_message(
        self,
        name: str,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        task_id: str | None = None,
        labels: Mapping[str, Label] | None = None,
    ) -> TaskHandle[Any]:
        """Send a task by its name. JSON must be able to express the arguments.

        Raises:
            UnknownTaskError: the plan has no such task; the text names the most similar one.
            TypeError, TransientError, PermanentError: as for `send`.
        """
        task = self.tasks.get(name)
        if task is None:
            raise make_unknown_task_error(name, self.tasks)
        sent_args, sent_kwargs = self._find_arguments(task).encode(args, kwargs or {})
        return await self._send(name, sent_args, sent_kwargs, task_id, {**task.labels, **(labels or {})})

    def handle(self, task_id: str) -> TaskHandle[Any]:
        """The handle of a sent task by its id, for its result and progress."""
        return TaskHandle(task_id, self.broker.result_backend)

    async def _send(
        self,
        name: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        task_id: str | None,
        labels: Mapping[str, Any],
        returned: Any = None,
    ) -> TaskHandle[Any]:
        chosen_id = task_id or new_request_id()
        with observe_sending(self.observers, name, chosen_id, {**labels, **make_context_labels()}) as sent_labels:
            kicker: AsyncKicker[..., Any] = AsyncKicker(name, self.broker, sent_labels, returned)
            try:
                sent: AsyncTaskiqTask[Any] = await kicker.with_task_id(chosen_id).kiq(*args, **kwargs)
            except SendTaskError as error:
                cause = error.__cause__ or error
                if isinstance(cause, BandmasterError):
                    raise cause from cause.__cause__
                # Another package's error: transient or not can't be known, and most errors of brokers are transient.
                raise TaskNotSentError(f"task {name!r} wasn't sent: {type(cause).__name__}: {cause}") from cause
        return TaskHandle(sent.task_id, sent.result_backend, returned)

    def _find_arguments(self, task: Task[..., Any]) -> Arguments:
        found = self._arguments.get(task.name)
        if found is None:
            found = self._arguments[task.name] = read_arguments(task.name, task.function)
        return found
