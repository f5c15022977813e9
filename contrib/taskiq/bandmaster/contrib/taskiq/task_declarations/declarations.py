"""Tasks as code declares them: functions that are run elsewhere, and what holds for their runs. Opens nothing."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Annotated, Any, Generic, ParamSpec, TypeVar, overload

from bandmaster.contrib.taskiq import message_labels as labels
from bandmaster.kernel import LifespanBand, LifespanContribution, Named, PlanError, Problem, descriptions, lifespan

if TYPE_CHECKING:
    from taskiq import AsyncTaskiqDecoratedTask

    from bandmaster.contrib.taskiq.schedules.declared_schedules import Schedule
    from bandmaster.kernel import Plan

P = ParamSpec("P")
R = TypeVar("R", covariant=True)

_NAME = re.compile(r"[!-~]+")
_OURS = "bm_"
Label = str | int | float | bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskOptions:
    """What holds for the runs of a task. None means what the settings say. Durations are in seconds.

    Raises:
        ValueError: a value can't be; the text names the option.
    """

    attempts: int | None = None
    """How often it is tried, the first included."""
    backoff: float | None = None
    """Before the second attempt; doubled with each."""
    longest_backoff: float | None = None
    jitter: float | None = None
    """Part of a pause that is left to chance, 0 to 1."""
    timeout: float | None = None
    """How long a run may take; then it counts as an error that may pass."""
    retry_on: tuple[type[BaseException], ...] = ()
    """Errors that may pass, beside `TransientError`."""
    schedules: tuple[Schedule, ...] = ()
    """When the scheduler sends it."""

    def __post_init__(self) -> None:
        if self.attempts is not None and not _is_count(self.attempts):
            raise ValueError(f"attempts: expected a whole number from 1, got {self.attempts!r}")
        for name in ("backoff", "longest_backoff", "timeout"):
            value = getattr(self, name)
            if value is not None and not (_is_number(value) and value >= 0):
                raise ValueError(f"{name}: expected seconds, got {value!r}")
        if self.timeout == 0:
            raise ValueError("timeout: expected seconds above 0, got 0")
        if self.jitter is not None and not (_is_number(self.jitter) and self.jitter <= 1):
            raise ValueError(f"jitter: expected a part from 0 to 1, got {self.jitter!r}")
        if self.schedules:
            _check_schedules(self.schedules)
        for kind in self.retry_on:
            if not (isinstance(kind, type) and issubclass(kind, Exception)):
                raise ValueError(f"retry_on: expected types of exceptions, got {kind!r}")


@dataclass(frozen=True, eq=False)
class Task(Generic[P, R]):
    """A function that can be run elsewhere; called, it runs here and now. `task` makes one."""

    function: Callable[P, R]
    name: str
    """What messages call it."""
    options: TaskOptions = TaskOptions()
    labels: Mapping[str, Label] = field(default_factory=lambda: MappingProxyType({}))
    """What travels with every message of it."""
    task_id: str | None = None
    """The id of the next message, in place of a new one."""
    at: datetime | None = None
    """When the next message may be run."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run it here, as the function that it is."""
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
        """The same task, to be sent otherwise: ``queue.send(report.using(delay=60), 7)``.

        It is run ``delay`` seconds later, or ``at`` a time, at the earliest. Of messages with the same ``once`` only
        the first is sent, for ``once_for`` seconds. ``timeout`` is how many seconds it may run, ``task_id`` what it is
        called, ``queue`` another queue than the workers' own. ``more`` are labels for middlewares of TaskIQ's.

        Raises:
            ValueError: a value can't be; the text names it.
        """
        found: dict[str, Label] = {}
        if delay is not None and at is not None:
            raise ValueError("at: there is a delay, too; give one of the two")
        if at is not None and (not isinstance(at, datetime) or at.tzinfo is None):
            raise ValueError("at: expected a time with a zone, such as datetime.now(UTC) + timedelta(hours=1)")
        if delay is not None:
            if not (_is_number(delay) and delay >= 0):
                raise ValueError(f"delay: expected seconds, got {delay!r}")
            found[labels.DELAY] = float(delay)
        if once is not None:
            if not isinstance(once, str) or not once:
                raise ValueError(f"once: expected what makes the message the only one of its kind, got {once!r}")
            if not (_is_number(once_for) and once_for > 0):
                raise ValueError(f"once_for: expected seconds above 0, got {once_for!r}")
            found |= {labels.ONCE: once, labels.ONCE_FOR: float(once_for)}
        if queue is not None:
            found[labels.QUEUE] = _checked_name(queue, "queue")
        if timeout is not None:
            if not (_is_number(timeout) and timeout > 0):
                raise ValueError(f"timeout: expected seconds above 0, got {timeout!r}")
            found[labels.TIMEOUT] = float(timeout)
        if task_id is not None and (not isinstance(task_id, str) or not task_id):
            raise ValueError(f"task_id: expected a text, got {task_id!r}")
        return replace(
            self,
            labels=_labels({**self.labels, **found}, more),
            task_id=task_id or self.task_id,
            # Of a delay and a time, what was said last counts.
            at=at if delay is not None else at or self.at,
        )

    def sent_with(self, now: datetime) -> dict[str, Label]:
        """The labels of a message that is sent now."""
        if self.at is None:
            return dict(self.labels)
        return {**self.labels, labels.DELAY: max(0.0, (self.at - now).total_seconds())}


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
    """Declare a function as a task. No broker is needed: it is sent by a `TaskQueue`, and run where the plan has it.

    Its parameters are what is sent, as JSON; those with ``TaskiqDepends()`` are given where it runs::

        @task(attempts=3, timeout=60)
        async def print_ticket(order: int, database: DatabaseManager = TaskiqDepends()) -> str: ...

    The name is ``module:function`` unless given. The other arguments are those of `TaskOptions`; ``schedule`` says when
    the scheduler sends it, ``labels`` travel with its messages.

    Raises:
        ValueError: an argument isn't of its form; the message names it.
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
        return Task(function, _name_of(function, name), options, _labels({}, labels or {}))

    return declare if function is None else declare(function)


@dataclass(frozen=True)
class Tasks:
    """The tasks of one part."""

    name: str
    members: tuple[Task[..., Any], ...]


def tasks(
    name: str, *members: Task[..., Any] | AsyncTaskiqDecoratedTask[..., Any] | ModuleType
) -> LifespanContribution:
    """A component that does nothing but bring a part's tasks, ``Annotated[Tasks, Named(name)]``.

    Named by an entry point of the group ``bandmaster.lifespan``, so that workers know them wherever the part is
    installed. Members are tasks, those that TaskIQ's own decorators made (``shared_task``), and modules: all tasks in
    them.

    Raises:
        ValueError: a member is something else, or there are two of one name.
    """
    described = Tasks(name, tuple(_members(members)))
    _check_alone(described.members)

    async def bring() -> AsyncIterator[Any]:
        yield described

    bring.__annotations__ |= {"return": AsyncIterator[Annotated[Tasks, Named(name)]]}
    return lifespan(
        band=LifespanBand.MESSAGING,
        priority=LifespanBand.MESSAGING.priorities[0],
        name=f"{name}_tasks",
        description=f"The tasks of {name!r}: {', '.join(member.name for member in described.members) or 'none'}.",
    )(bring)


def collect_tasks(plan: Plan) -> dict[str, Task[..., Any]]:
    """The tasks of all parts of a plan, by name. Nothing is started.

    Raises:
        PlanError: two parts have a task of one name, or can't be had without a start.
    """
    found: dict[str, Task[..., Any]] = {}
    owners: dict[str, str] = {}
    problems = []
    for part in descriptions(plan, Tasks):
        for member in part.members:
            if owners.setdefault(member.name, part.name) != part.name:
                problems.append(
                    Problem(
                        f"the parts {owners[member.name]!r} and {part.name!r} both have a task {member.name!r}.",
                        "Give one another name: @task(name=...).",
                        member.name,
                    )
                )
            found[member.name] = member
    if problems:
        raise PlanError(problems)
    return found


def of_taskiq(decorated: AsyncTaskiqDecoratedTask[..., Any]) -> Task[..., Any]:
    """A task that one of TaskIQ's decorators made.

    Of its labels ``timeout`` and ``attempts`` are options here; all of them travel with its messages.

    Raises:
        ValueError: one of the two can't be.
    """
    found = {key: value for key, value in decorated.labels.items() if isinstance(value, Label)}
    try:
        options = TaskOptions(
            timeout=_of_label(float, found.get(labels.TIMEOUT)), attempts=_of_label(int, found.get("attempts"))
        )
    except ValueError as error:
        raise ValueError(f"the labels of task {decorated.task_name!r}: {error}") from None
    return Task(decorated.original_func, decorated.task_name, options, MappingProxyType(found))


def _members(members: Iterable[Any]) -> Iterable[Task[..., Any]]:
    for member in members:
        if isinstance(member, ModuleType):
            inside = [made for value in vars(member).values() if (made := _task(value)) is not None]
            # What a module merely imports has another home, which may bring it as well.
            yield from (each for each in inside if inspect.unwrap(each.function).__module__ == member.__name__)
        elif (made := _task(member)) is not None:
            yield made
        else:
            raise ValueError(f"members: expected tasks, or modules with tasks in them, got {member!r}")


def _task(value: Any) -> Task[..., Any] | None:
    from taskiq import AsyncTaskiqDecoratedTask

    if isinstance(value, Task):
        return value
    return of_taskiq(value) if isinstance(value, AsyncTaskiqDecoratedTask) else None


def _check_alone(members: Iterable[Task[..., Any]]) -> None:
    seen: dict[str, Task[..., Any]] = {}
    for member in members:
        if seen.setdefault(member.name, member).function is not member.function:
            raise ValueError(f"members: there are two tasks called {member.name!r}; give one another name")


def _name_of(function: Callable[..., Any], name: str | None) -> str:
    if name is not None:
        return _checked_name(name, "name")
    inner = inspect.unwrap(function)
    own = getattr(inner, "__qualname__", "")
    if not own or "<" in own:
        raise ValueError(f"name: {function!r} has no name that a worker would find it by; give one")
    return f"{inner.__module__}:{own}"


def _checked_name(name: object, label: str) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"{label}: expected letters, digits and signs without blanks, got {name!r}")
    return name


def _labels(found: Mapping[str, Label], more: Mapping[str, Label]) -> Mapping[str, Label]:
    if not isinstance(more, Mapping):
        raise ValueError(f"labels: expected a mapping, got {more!r}")
    for key, value in more.items():
        if not isinstance(key, str):
            raise ValueError(f"labels: {key!r} is no text")
        if not isinstance(value, Label):
            raise ValueError(f"labels: {key} is {value!r}; expected a text, a number or a truth value")
        if key.startswith(_OURS):
            raise ValueError(f"labels: {key} begins with {_OURS}, as only those of this package may")
    return MappingProxyType({**found, **more})


def _of_label(kind: Callable[[Any], Any], value: Label | None) -> Any:
    try:
        return None if value is None else kind(value)
    except ValueError:
        return value  # which options refuse by name


def _check_schedules(found: Iterable[object]) -> None:
    from bandmaster.contrib.taskiq.schedules.declared_schedules import Schedule

    for schedule in found:
        if not isinstance(schedule, Schedule):
            raise ValueError(f"schedule: expected Schedule(cron=...) or Schedule(every=...), got {schedule!r}")


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf
