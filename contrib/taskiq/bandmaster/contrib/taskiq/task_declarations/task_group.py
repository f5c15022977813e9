"""Contribute the tasks of a part as a value, and collect those of all parts of a plan."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

from bandmaster.contrib.taskiq.task_declarations.task import Task, convert_task
from bandmaster.kernel import PlanError, Problem, ValueContribution, value

if TYPE_CHECKING:
    from taskiq import AsyncTaskiqDecoratedTask

    from bandmaster.kernel import Plan


@dataclass(frozen=True)
class Tasks:
    """The tasks of one part."""

    name: str
    members: tuple[Task[..., Any], ...]


def tasks(name: str, *members: Task[..., Any] | AsyncTaskiqDecoratedTask[..., Any] | ModuleType) -> ValueContribution:
    """A value that holds the tasks of a part, provided as ``Annotated[Tasks, Named(name)]``.

    An entry point of the group ``bandmaster.values`` names the value, so that workers know the tasks wherever the
    part is installed. Members are tasks, tasks made by TaskIQ's own decorators (``shared_task``), and modules, which
    stand for all tasks in them.

    Raises:
        ValueError: a member is something else, or two members have the same name.
    """
    group = Tasks(name, tuple(_find_tasks(members)))
    _check_unique(group.members)
    return value(
        group,
        name=f"{name}_tasks",
        provides=(Tasks, name),
        description=f"The tasks of {name!r}: {', '.join(member.name for member in group.members) or 'none'}.",
    )


def collect_tasks(plan: Plan) -> dict[str, Task[..., Any]]:
    """The tasks of all parts of a plan, by name. Starts nothing.

    Raises:
        PlanError: two parts contribute a task of the same name, or a component provides tasks by its start.
    """
    tasks_by_name: dict[str, Task[..., Any]] = {}
    owners: dict[str, str] = {}
    problems = []
    for part in plan.values_of(Tasks):
        for member in part.members:
            if owners.setdefault(member.name, part.name) != part.name:
                problems.append(
                    Problem(
                        f"the parts {owners[member.name]!r} and {part.name!r} both have a task {member.name!r}.",
                        "Give one another name: @task(name=...).",
                        member.name,
                    )
                )
            tasks_by_name[member.name] = member
    if problems:
        raise PlanError(problems)
    return tasks_by_name


def _find_tasks(members: Iterable[Any]) -> Iterable[Task[..., Any]]:
    for member in members:
        if isinstance(member, ModuleType):
            inside = [found for value in vars(member).values() if (found := _to_task(value)) is not None]
            # Not the tasks that a module imports: the module that declares them may be a member of another part.
            yield from (each for each in inside if inspect.unwrap(each.function).__module__ == member.__name__)
        elif (found := _to_task(member)) is not None:
            yield found
        else:
            raise ValueError(f"members: expected tasks, or modules with tasks in them, got {member!r}")


def _to_task(value: Any) -> Task[..., Any] | None:
    from taskiq import AsyncTaskiqDecoratedTask

    if isinstance(value, Task):
        return value
    return convert_task(value) if isinstance(value, AsyncTaskiqDecoratedTask) else None


def _check_unique(members: Iterable[Task[..., Any]]) -> None:
    seen: dict[str, Task[..., Any]] = {}
    for member in members:
        if seen.setdefault(member.name, member).function is not member.function:
            raise ValueError(f"members: there are two tasks called {member.name!r}; give one another name")
