"""Tasks bound to the resources of the running components: everything about a run that is the same for all runs."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from taskiq_dependencies import DependencyGraph

from bandmaster.contrib.taskiq.settings import TaskIQSettings
from bandmaster.contrib.taskiq.task_declarations.arguments import Arguments, read_arguments
from bandmaster.contrib.taskiq.task_declarations.task import Task
from bandmaster.contrib.taskiq.worker.dependency_cleanup import close_dependencies
from bandmaster.contrib.taskiq.worker.dependency_graph import Providers, make_graph, walk_graph
from bandmaster.contrib.taskiq.worker.retry_policy import Policy, make_policy
from bandmaster.kernel import PlanError, Problem, Resources, Scoped


@dataclass(frozen=True, slots=True, eq=False)
class BoundTask:
    """A task that can run here."""

    task: Task[..., Any]
    arguments: Arguments
    policy: Policy
    timeout: float | None
    is_async: bool
    graph: DependencyGraph | None
    """TaskIQ's dependencies of the function; None for a function without any."""
    shared: Mapping[Any, Any] = field(default_factory=dict[Any, Any])
    """Resources that all runs share, by the graph's keys."""
    scoped: Mapping[Any, Scoped[Any]] = field(default_factory=dict[Any, Scoped[Any]])
    """Resources that are opened for each run, by the graph's keys."""

    @asynccontextmanager
    async def open_dependencies(self, run_values: Mapping[Any, Any]) -> AsyncIterator[dict[str, Any]]:
        """Resolve the dependencies of one run, as keyword arguments of the function.

        ``run_values`` are values that only this run provides, by type. Dependencies that were opened see the errors of
        the run, and are closed in reverse order.
        """
        if self.graph is None:
            yield {}
            return
        async with AsyncExitStack() as opened:
            # A new dictionary for each run: TaskIQ writes into it.
            values = {**self.shared, **run_values}
            for key, scoped in self.scoped.items():
                values[key] = await opened.enter_async_context(scoped.open())
            resolving = self.graph.async_ctx(values)
            opened.push_async_exit(partial(close_dependencies, resolving))
            yield await resolving.resolve_kwargs()


def bind_tasks(
    tasks: Iterable[Task[..., Any]], resources: Resources, settings: TaskIQSettings, *, run_types: Iterable[Any] = ()
) -> dict[str, BoundTask]:
    """Bind tasks to resources, by name. ``run_types`` are types that each run provides, such as TaskIQ's ``Context``.

    Raises:
        PlanError: tasks depend on types that no component provides, or have parameters that no message can contain. All
            problems of all tasks are reported.
    """
    providers = Providers(resources, run_types)
    bound, problems = {}, []
    for task in tasks:
        bound[task.name], texts = _bind_task(task, providers, settings)
        problems += [Problem(f"task {task.name!r}: {text}.", subject=task.name) for text in texts]
    if problems:
        raise PlanError(problems)
    return bound


def _bind_task(task: Task[..., Any], providers: Providers, settings: TaskIQSettings) -> tuple[BoundTask, list[str]]:
    arguments = read_arguments(task.name, task.function)
    graph, problems = make_graph(task.function, providers)
    needed = {dependency.dependency for dependency in walk_graph(graph)} if graph is not None else set()
    bound = BoundTask(
        task,
        arguments,
        make_policy(task.options, settings),
        settings.timeout if task.options.timeout is None else task.options.timeout,
        _is_async(task.function),
        graph,
        {key: value for key, value in providers.shared.items() if key in needed},
        {key: value for key, value in providers.scoped.items() if key in needed},
    )
    return bound, [*arguments.problems, *problems]


def _is_async(function: Callable[..., Any]) -> bool:
    # A decorator may wrap a sync function into an async one, or return the coroutine of the function that it wraps.
    return any(
        inspect.iscoroutinefunction(each) or inspect.iscoroutinefunction(getattr(type(each), "__call__", None))  # noqa: B004
        for each in (function, inspect.unwrap(function))
    )
