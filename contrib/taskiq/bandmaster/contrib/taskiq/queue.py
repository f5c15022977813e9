"""What an application sends tasks by."""

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
from bandmaster.contrib.taskiq.idempotency.idempotency import Idempotency
from bandmaster.contrib.taskiq.propagation import carried
from bandmaster.contrib.taskiq.task_declarations.arguments import Arguments, arguments_of
from bandmaster.contrib.taskiq.task_declarations.declarations import Label, Task, of_taskiq
from bandmaster.contrib.taskiq.worker.retry_policy import UnknownTaskError
from bandmaster.contrib.web import new_request_id
from bandmaster.kernel import BandmasterError, TransientError

P = ParamSpec("P")
R = TypeVar("R")
_R_co = TypeVar("_R_co", covariant=True)


class TaskNotSentError(TransientError):
    """The broker didn't take a message; ``__cause__`` is why."""


class TaskHandle(AsyncTaskiqTask[R]):
    """What a result is waited for by: TaskIQ's own, but for the errors, which are those of this package as they are."""

    async def is_ready(self) -> bool:
        """Whether there is a result.

        Raises:
            TransientError, PermanentError: the results can't be asked.
        """
        return await self.result_backend.is_result_ready(self.task_id)

    async def get_result(self, with_logs: bool = False) -> TaskiqResult[R]:
        """The result, its value as the type that the task declares.

        Raises:
            ResultMissingError: there is none, or none any more.
            TransientError, PermanentError: the results can't be asked.
        """
        result = await self.result_backend.get_result(self.task_id, with_logs=with_logs)
        if self.return_type is not None and not result.is_err:
            with contextlib.suppress(ValueError, TypeError, PydanticUserError):  # then it stays as JSON has it
                result.return_value = TypeAdapter(self.return_type).validate_python(result.return_value)
        return result


class _Decorated(Protocol[P, _R_co]):
    """TaskIQ's own decorated task, covariant: type checkers differ in what they take an async function to return."""

    @property
    def original_func(self) -> Callable[P, _R_co]: ...


class TaskQueue:
    """Sends tasks to the workers of this application. It is a resource, found by its type.

    A message takes along who asks: request id, correlation id, tenant, user, and the trace.
    """

    def __init__(
        self,
        broker: AsyncBroker,
        tasks: Mapping[str, Task[..., Any]],
        dead_letters: DeadLetters,
        schedules: ScheduleSource,
        idempotency: Idempotency,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.broker = broker
        """TaskIQ's broker, for libraries that want one."""
        self.tasks = tasks
        """The tasks that the plan's parts bring, by name."""
        self.dead_letters = dead_letters
        self.schedules = schedules
        """Where schedules may be added at run time; the scheduler sends them."""
        self.idempotency = idempotency
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
        """Have a task run with these arguments; the answer is what its result is waited for by.

        When this returns, the broker has it: with the leased broker, as safe as Redis keeps it.

        Raises:
            TypeError: the arguments aren't what the task takes, or JSON can't say them.
            UnknownTaskError: no part of the plan brings the task, so that no worker of it would know it.
            TransientError: the broker can't be reached, or has no room.
            PermanentError: the broker refuses.
        """
        if isinstance(task, Task) and task.name not in self.tasks:
            raise UnknownTaskError(unknown(task.name, self.tasks))
        chosen = task if isinstance(task, Task) else of_taskiq(task)
        arguments = self._arguments_of(chosen)
        said, named = arguments.sent(args, kwargs)
        return await self._send(
            chosen.name, said, named, chosen.task_id, chosen.sent_with(self._now()), arguments.returned
        )

    async def send_message(
        self,
        name: str,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        task_id: str | None = None,
        labels: Mapping[str, Label] | None = None,
    ) -> TaskHandle[Any]:
        """The same for a task that is known by name; its arguments must be what JSON can say.

        Raises:
            UnknownTaskError: the plan has no such task; the message names the nearest.
            TypeError, TransientError, PermanentError: as for `send`.
        """
        task = self.tasks.get(name)
        if task is None:
            raise UnknownTaskError(unknown(name, self.tasks))
        said, named = self._arguments_of(task).sent(args, kwargs or {})
        return await self._send(name, said, named, task_id, {**task.labels, **(labels or {})})

    def handle(self, task_id: str) -> TaskHandle[Any]:
        """What the result and the progress of a message are asked for by, where only its id is known."""
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
        kicker: AsyncKicker[..., Any] = AsyncKicker(name, self.broker, {**labels, **carried()}, returned)
        try:
            sent: AsyncTaskiqTask[Any] = await kicker.with_task_id(task_id or new_request_id()).kiq(*args, **kwargs)
        except SendTaskError as error:
            cause = error.__cause__ or error
            if isinstance(cause, BandmasterError):
                raise cause from cause.__cause__
            # Of another broker: which of its errors pass isn't known, and most of a broker's do.
            raise TaskNotSentError(f"task {name!r} wasn't sent: {type(cause).__name__}: {cause}") from cause
        return TaskHandle(sent.task_id, sent.result_backend, returned)

    def _arguments_of(self, task: Task[..., Any]) -> Arguments:
        found = self._arguments.get(task.name)
        if found is None:
            found = self._arguments[task.name] = arguments_of(task.name, task.function)
        return found


def unknown(name: str, tasks: Mapping[str, Any]) -> str:
    """What to say about a task that isn't there."""
    import difflib

    near = difflib.get_close_matches(name, tasks, 1)
    hint = f"Did you mean {near[0]!r}?" if near else "Is the part installed that brings it, by tasks(...)?"
    return f"there is no task {name!r} here. {hint}"
