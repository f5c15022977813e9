"""A task, which is a function that workers run for messages, and the decorator that declares one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, overload

from bandmaster.contrib.taskiq.message_labels import DELAY, ONCE, ONCE_FOR, QUEUE, TIMEOUT
from bandmaster.contrib.taskiq.task_declarations.options import (
    Label,
    TaskOptions,
    check_name,
    check_seconds,
    convert_label,
    merge_labels,
)

if TYPE_CHECKING:
    from taskiq import AsyncTaskiqDecoratedTask

    from bandmaster.contrib.taskiq.schedules.declared_schedules import Schedule

P = ParamSpec("P")
R = TypeVar("R", covariant=True)


@dataclass(frozen=True, eq=False)
class Task(Generic[P, R]):
    """A function that workers can run, made by `task`. A call of the task runs the function here and now."""

    function: Callable[P, R]
    name: str
    """The task's name in messages."""
    options: TaskOptions = TaskOptions()
    labels: Mapping[str, Label] = field(default_factory=lambda: MappingProxyType({}))
    """Labels of every message of the task."""
    task_id: str | None = None
    """The id of the next message, in place of a new id."""
    at: datetime | None = None
    """The earliest time at which the next message is delivered."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function."""
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<Task {self.name}>"

    def using(
        self,
        *,
        delay: float | None = None,
        at: datetime | None = None,
        task_id: str | None = None,
        once: str | None = None,
        once_for: float = 3600,
        queue: str | None = None,
        timeout: float | None = None,
        **more: Label,
    ) -> Task[P, R]:
        """Make a task that is sent with other options: ``queue.send(report.using(delay=60), 7)``.

        The message is delivered after ``delay`` seconds, or ``at`` a time, at the earliest. Of messages with the same
        ``once`` only the first is sent, within ``once_for`` seconds. ``timeout`` is how many seconds the run may take,
        ``task_id`` the message's id, ``queue`` another queue than that of the settings. ``more`` are labels for
        middlewares of TaskIQ's.

        Raises:
            ValueError: a value is invalid; the text names it.
        """
        labels: dict[str, Label] = {}
        if delay is not None and at is not None:
            raise ValueError("at: there is a delay, too; give one of the two")
        if at is not None and (not isinstance(at, datetime) or at.tzinfo is None):
            raise ValueError("at: expected a time with a zone, such as datetime.now(UTC) + timedelta(hours=1)")
        check_seconds("delay", delay)
        if delay is not None:
            labels[DELAY] = float(delay)
        if once is not None:
            if not isinstance(once, str) or not once:
                raise ValueError(f"once: expected a text that equal messages share, got {once!r}")
            check_seconds("once_for", once_for, above_zero=True)
            labels |= {ONCE: once, ONCE_FOR: float(once_for)}
        if queue is not None:
            labels[QUEUE] = check_name(queue, "queue")
        check_seconds("timeout", timeout, above_zero=True)
        if timeout is not None:
            labels[TIMEOUT] = float(timeout)
        if task_id is not None and (not isinstance(task_id, str) or not task_id):
            raise ValueError(f"task_id: expected a text, got {task_id!r}")
        return replace(
            self,
            labels=merge_labels({**self.labels, **labels}, more),
            task_id=task_id or self.task_id,
            # The later of two calls wins: a delay replaces an earlier time.
            at=at if delay is not None else at or self.at,
        )

    def make_labels(self, now: datetime) -> dict[str, Label]:
        """The labels of a message that is sent now."""
        if self.at is None:
            return dict(self.labels)
        return {**self.labels, DELAY: max(0.0, (self.at - now).total_seconds())}


@overload
def task(function: Callable[P, R], /) -> Task[P, R]: ...
@overload
def task(
    *,
    name: str | None = None,
    attempts: int | None = None,
    backoff: float | None = None,
    longest_backoff: float | None = None,
    jitter: float | None = None,
    timeout: float | None = None,
    retry_on: Iterable[type[Exception]] = (),
    schedule: Schedule | Iterable[Schedule] = (),
    labels: Mapping[str, Label] | None = None,
) -> Callable[[Callable[P, R]], Task[P, R]]: ...
def task(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    attempts: int | None = None,
    backoff: float | None = None,
    longest_backoff: float | None = None,
    jitter: float | None = None,
    timeout: float | None = None,
    retry_on: Iterable[type[Exception]] = (),
    schedule: Any = (),
    labels: Mapping[str, Label] | None = None,
) -> Any:
    """Declare a function as a task, which a `TaskQueue` sends and a worker runs. Declaring needs no broker.

    Parameters are sent as JSON. A parameter with ``TaskiqDepends()`` isn't sent but provided by the worker::

        @task(attempts=3, timeout=60)
        async def print_ticket(order: int, database: DatabaseManager = TaskiqDepends()) -> str: ...

    The name is ``module:function`` unless given. ``schedule`` is when the scheduler sends the task, ``labels`` are set
    on every message, and the other arguments are those of `TaskOptions`.

    Raises:
        ValueError: an argument is invalid; the text names it.
    """
    options = TaskOptions(
        attempts=attempts,
        backoff=backoff,
        longest_backoff=longest_backoff,
        jitter=jitter,
        timeout=timeout,
        retry_on=tuple(retry_on) if isinstance(retry_on, Iterable) else (retry_on,),
        schedules=tuple(schedule) if isinstance(schedule, Iterable) else (schedule,),
    )

    def declare(function: Callable[..., Any]) -> Task[..., Any]:
        if isinstance(function, Task) or not callable(function):
            raise ValueError(f"function: expected a function, got {function!r}")
        return Task(function, _choose_name(function, name), options, merge_labels({}, labels or {}))

    return declare if function is None else declare(function)


def convert_task(decorated: AsyncTaskiqDecoratedTask[..., Any]) -> Task[..., Any]:
    """A task that one of TaskIQ's decorators made.

    The labels ``timeout`` and ``attempts`` become options. All labels are set on every message.

    Raises:
        ValueError: one of the two labels is invalid.
    """
    labels = {key: value for key, value in decorated.labels.items() if isinstance(value, Label)}
    try:
        options = TaskOptions(
            timeout=convert_label(float, labels.get(TIMEOUT)), attempts=convert_label(int, labels.get("attempts"))
        )
    except ValueError as error:
        raise ValueError(f"the labels of task {decorated.task_name!r}: {error}") from None
    return Task(decorated.original_func, decorated.task_name, options, MappingProxyType(labels))


def _choose_name(function: Callable[..., Any], name: str | None) -> str:
    if name is not None:
        return check_name(name, "name")
    inner = inspect.unwrap(function)
    own = getattr(inner, "__qualname__", "")
    if not own or "<" in own:
        raise ValueError(f"name: a worker can't find {function!r} by its own name; give one, as @task(name=...)")
    return f"{inner.__module__}:{own}"
