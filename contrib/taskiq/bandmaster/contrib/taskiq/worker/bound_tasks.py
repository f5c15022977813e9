"""Tasks made ready to be run beside what the running components provide: everything about them is decided once."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any, get_args, get_origin

import structlog
from taskiq_dependencies import DependencyGraph
from taskiq_dependencies.ctx import AsyncResolveContext
from taskiq_dependencies.dependency import Dependency

from bandmaster.contrib.taskiq.settings import TaskIQSettings
from bandmaster.contrib.taskiq.task_declarations.arguments import Arguments, arguments_of
from bandmaster.contrib.taskiq.task_declarations.declarations import Task
from bandmaster.contrib.taskiq.worker.retry_policy import Policy, described, policy_of
from bandmaster.kernel import Named, PlanError, Problem, Resources, Scoped


@dataclass(frozen=True, slots=True, eq=False)
class Bound:
    """A task that can be run here."""

    task: Task[..., Any]
    arguments: Arguments
    policy: Policy
    timeout: float | None
    is_async: bool
    graph: DependencyGraph | None
    """What it is given by TaskIQ's dependencies; none where it asks for nothing."""
    given: Mapping[Any, Any] = field(default_factory=dict[Any, Any])
    """Of that, what the components provide, application-wide."""
    scoped: Mapping[Any, Scoped[Any]] = field(default_factory=dict[Any, Scoped[Any]])
    """And what they provide anew for each task."""

    @asynccontextmanager
    async def dependencies(self, more: Mapping[Any, Any]) -> AsyncIterator[dict[str, Any]]:
        """What it is given in one run, beside the arguments; ``more`` is known by type to this run alone.

        What was opened for it sees what the run raises, and is closed in reverse.
        """
        if self.graph is None:
            yield {}
            return
        async with AsyncExitStack() as opened:
            # A dictionary of this run's own: two runs must not meet in it.
            known = {**self.given, **more}
            for place, scoped in self.scoped.items():
                known[place] = await opened.enter_async_context(scoped.open())
            resolving = self.graph.async_ctx(known)
            opened.push_async_exit(partial(_close, resolving))
            yield await resolving.resolve_kwargs()


def bind(
    tasks: Iterable[Task[..., Any]], resources: Resources, settings: TaskIQSettings, *, known: Iterable[Any] = ()
) -> dict[str, Bound]:
    """Make tasks ready, by name. ``known`` are types that each run knows besides, such as TaskIQ's ``Context``.

    Raises:
        PlanError: tasks ask for what nothing provides, or take what no message can bring; all of it is told.
    """
    places = _Places(resources, known)
    bound, problems = {}, []
    for task in tasks:
        found, wrong = _bind(task, places, settings)
        problems += [Problem(f"task {task.name!r}: {each}.", subject=task.name) for each in wrong]
        bound[task.name] = found
    if problems:
        raise PlanError(problems)
    return bound


def _bind(task: Task[..., Any], places: _Places, settings: TaskIQSettings) -> tuple[Bound, list[str]]:
    arguments = arguments_of(task.name, task.function)
    graph, wrong = _graph(task.function, places)
    asked = {dependency.dependency for dependency in _walk(graph)} if graph is not None else set()
    found = Bound(
        task,
        arguments,
        policy_of(task.options, settings),
        settings.timeout if task.options.timeout is None else task.options.timeout,
        _is_async(task.function),
        graph,
        {place: value for place, value in places.given.items() if place in asked},
        {place: value for place, value in places.scoped.items() if place in asked},
    )
    return found, [*arguments.problems, *wrong]


def _graph(function: Callable[..., Any], places: _Places) -> tuple[DependencyGraph | None, list[str]]:
    try:
        graph = DependencyGraph(function, places.by_type)
    except Exception as error:  # noqa: BLE001  # whatever reading somebody's signature raises
        return None, [f"what it depends on can't be read: {type(error).__name__}: {error}"]
    if graph.is_empty():
        return None, []
    wrong = []
    for dependency in _walk(graph):
        # TaskIQ doesn't look for stand-ins where a dependency, or one that it is for, isn't to be cached.
        if (place := places.by_type.get(dependency.dependency)) is not None:
            dependency.dependency = place
        # Where a type has several, TaskIQ would take the one without a name.
        if (name := _name_in(dependency.signature)) is not None:
            dependency.dependency = places.place(places.kind_of(dependency.dependency), name)
        if places.is_provided(dependency.dependency):
            dependency.use_cache = True  # otherwise it would be made anew
        if (problem := places.problem_with(dependency)) is not None:
            wrong.append(problem)
    return graph, wrong


async def _close(resolved: AsyncResolveContext, kind: Any, error: BaseException | None, trace: Any) -> None:
    """End what dependencies have opened, the last first; they see what the run has raised, or what another's end did.

    TaskIQ's own ``close`` throws in a form that Python 3.12 deprecates, ends what a dependency depends on before the
    dependency, and leaves the others open where an end fails.

    Raises:
        BaseException: what the first end to fail has raised; after an error of the run it is logged instead, unless it is
            a cancellation.
    """
    first = await _end_all(resolved, error)
    if first is not None and first is not error:
        raise first


async def _end_all(resolved: AsyncResolveContext, error: BaseException | None) -> BaseException | None:
    for opened in reversed(resolved.opened_dependencies):
        try:
            await _end(opened, error)
        except BaseException as failure:  # noqa: BLE001  # the others are ended first
            if failure is error:
                continue
            if error is None or (isinstance(error, Exception) and not isinstance(failure, Exception)):
                error = failure  # a cancellation is meant for the task, whatever it has raised before
            elif isinstance(failure, Exception):
                structlog.get_logger("bandmaster.taskiq").warning(
                    "the end of a dependency failed", error=described(failure)
                )
    for inner in reversed(resolved.sub_contexts):
        error = await _end_all(inner, error)
    return error


async def _end(opened: Any, error: BaseException | None) -> None:
    raised = (None, None, None) if error is None else (type(error), error, error.__traceback__)
    if inspect.isgenerator(opened):
        with suppress(StopIteration):
            if error is None:
                next(opened)
            else:
                opened.throw(error)
            opened.close()
    elif inspect.isasyncgen(opened):
        with suppress(StopAsyncIteration):
            await (anext(opened) if error is None else opened.athrow(error))
            await opened.aclose()
    elif hasattr(opened, "__aexit__"):
        await opened.__aexit__(*raised)
    else:
        opened.__exit__(*raised)


def _walk(graph: DependencyGraph) -> Iterator[Dependency]:
    for dependencies in graph.dependencies.values():
        yield from dependencies
    for inner in graph.subgraphs.values():
        yield from _walk(inner)


class _Places:
    """Stand-ins for what is provided, which TaskIQ's graph meets in place of the types: it would make those itself."""

    def __init__(self, resources: Resources, known: Iterable[Any]) -> None:
        self.by_type: dict[Any, Any] = {}
        self.given: dict[Any, Any] = {Resources: resources}
        self.scoped: dict[Any, Scoped[Any]] = {}
        self._known = {Resources, *known}
        self._named: dict[tuple[Any, str | None], Any] = {}
        self._kinds: dict[Any, Any] = {}
        for key in resources:
            value, kind, is_scoped = resources[key], key.type, False
            if get_origin(kind) is Scoped:
                self.given[self.place(kind, key.name)] = value  # for tasks that open it themselves
                kind, is_scoped = get_args(kind)[0], True
            place = self.place(kind, key.name)
            if is_scoped:
                self.scoped[place] = value
            elif place not in self.scoped:  # what is made for each task comes before what all share
                self.given[place] = value
        for kind, name in list(self._named):
            if name is not None and (kind, None) not in self._named:
                self.place(kind, None)  # so that TaskIQ doesn't make one

    def kind_of(self, place: Any) -> Any:
        """The type that a stand-in stands for; a type stands for itself."""
        return self._kinds.get(place, place)

    def is_provided(self, place: Any) -> bool:
        """Whether each run knows it."""
        return place in self.given or place in self.scoped or place in self._known

    def problem_with(self, dependency: Dependency) -> str | None:
        """Why it can't be given, if it can't."""
        place = dependency.dependency
        if self.is_provided(place):
            return None
        if place in self._kinds:
            kind, name = self._kinds[place], next(name for (_, name), own in self._named.items() if own is place)
            return f"{_asks(dependency)} a {_type(kind)}{f' named {name!r}' if name else ''}, which nothing provides{self._others(kind)}"
        made: Any = get_origin(place) or place
        if inspect.isclass(made) and (missing := _unmade(made)):
            return (
                f"{_asks(dependency)} a {_type(place)}, which nothing provides, and which can't be made without "
                f"{missing!r}; install or contribute what provides it"
            )
        return None

    def place(self, kind: Any, name: str | None) -> Any:
        """The stand-in for a type, or for one of several of it."""
        if (kind, name) not in self._named:

            def given() -> Any:
                raise AssertionError  # it is always known beforehand

            self._named[kind, name] = given
            self._kinds[given] = kind
            if name is None:
                try:
                    self.by_type[kind] = given
                except TypeError:
                    pass  # what has no hash can't be asked for
        return self._named[kind, name]

    def _others(self, kind: Any) -> str:
        names = sorted(name for other, name in self._named if other is kind and name is not None)
        there = [
            name for name in names if self._named[kind, name] in self.given or self._named[kind, name] in self.scoped
        ]
        return f"; there is one named {', '.join(map(repr, there))}: Annotated[..., Named(...)]" if there else ""


def _asks(dependency: Dependency) -> str:
    return f"{dependency.param_name!r} asks for" if dependency.param_name else "it asks for"


def _name_in(parameter: inspect.Parameter | None) -> str | None:
    annotation = None if parameter is None else parameter.annotation
    if get_origin(annotation) is not Annotated:
        return None
    return next((mark.name for mark in reversed(get_args(annotation)) if isinstance(mark, Named)), None)


def _unmade(kind: type) -> str | None:
    """The first argument that making one needs, where TaskIQ doesn't give it."""
    try:
        parameters = list(inspect.signature(kind).parameters.values())
    except (TypeError, ValueError):
        return None
    for parameter in parameters:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        marks = getattr(parameter.annotation, "__metadata__", ())
        if parameter.default is parameter.empty and not any(isinstance(mark, Dependency) for mark in marks):
            return parameter.name
    return None


def _type(kind: Any) -> str:
    return getattr(kind, "__qualname__", str(kind))


def _is_async(function: Callable[..., Any]) -> bool:
    # A decorator may make a function async that wasn't, and pass on what one returns that is.
    return any(
        inspect.iscoroutinefunction(each) or inspect.iscoroutinefunction(getattr(type(each), "__call__", None))  # noqa: B004
        for each in (function, inspect.unwrap(function))
    )
