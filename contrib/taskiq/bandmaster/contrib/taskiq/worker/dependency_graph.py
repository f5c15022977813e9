"""TaskIQ's dependency graph of a task, with the types that components provide replaced by stand-ins. Pure.

TaskIQ makes an instance of every class that a task depends on. A stand-in in the graph keeps it from making a resource
a second time: the stand-in's value is the resource of the running component.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, get_args, get_origin

from taskiq_dependencies import DependencyGraph
from taskiq_dependencies.dependency import Dependency

from bandmaster.kernel import Key, Named, Resources, Scoped


class Providers:
    """The stand-ins of provided types, and the resources that they stand for."""

    def __init__(self, resources: Resources, run_types: Iterable[Any]) -> None:
        self.by_type: dict[Any, Any] = {}
        """The stand-in of each type, for parameters without a name."""
        self.shared: dict[Any, Any] = {Resources: resources}
        self.scoped: dict[Any, Scoped[Any]] = {}
        self._run_types = {Resources, *run_types}
        self._stand_ins: dict[tuple[Any, str | None], Any] = {}
        self._types: dict[Any, Any] = {}
        for key in resources:
            value, kind, is_scoped = resources[key], key.type, False
            if get_origin(kind) is Scoped:
                self.shared[self.find_stand_in(kind, key.name)] = value  # for tasks that open the scope themselves
                kind, is_scoped = get_args(kind)[0], True
            stand_in = self.find_stand_in(kind, key.name)
            if is_scoped:
                self.scoped[stand_in] = value
            elif stand_in not in self.scoped:  # a resource of the run takes precedence over a shared one
                self.shared[stand_in] = value
        self._resources = resources
        for kind, name in resources.several:
            self.find_stand_in(kind, name)  # without a value, as below
        for kind, name in list(self._stand_ins):
            if name is not None and (kind, None) not in self._stand_ins:
                self.find_stand_in(kind, None)  # without a value: TaskIQ must not make an unnamed instance

    def find_type(self, dependency: Any) -> Any:
        """The type of a stand-in; other dependencies are returned unchanged."""
        return self._types.get(dependency, dependency)

    def find_stand_in(self, kind: Any, name: str | None) -> Any:
        """The stand-in of a type, and of a name if several of the type are provided."""
        if (kind, name) not in self._stand_ins:

            def stand_in() -> Any:
                raise AssertionError("a stand-in has a value and is never called")

            self._stand_ins[kind, name] = stand_in
            self._types[stand_in] = kind
            if name is None:
                try:
                    self.by_type[kind] = stand_in
                except TypeError:
                    pass  # TaskIQ's graph can't contain a type without a hash either
        return self._stand_ins[kind, name]

    def find_collection(self, kind: Any) -> Any | None:
        """The stand-in of a collection, ``Sequence[T]`` or ``Mapping[str, T]``; None for other types."""
        if get_origin(kind) not in (Sequence, Mapping) or (found := self._resources.get(kind)) is None:
            return None
        stand_in = self.find_stand_in(kind, None)
        self.shared[stand_in] = found
        return stand_in

    def is_provided(self, dependency: Any) -> bool:
        """Whether each run has a value of the dependency."""
        return dependency in self.shared or dependency in self.scoped or dependency in self._run_types

    def find_problem(self, dependency: Dependency) -> str | None:
        """Why a dependency can't be resolved; None if it can."""
        wanted = dependency.dependency
        if self.is_provided(wanted):
            return None
        who = f"{dependency.param_name!r} asks for" if dependency.param_name else "it asks for"
        if wanted in self._types:
            kind, name = self._types[wanted], next(name for (_, name), own in self._stand_ins.items() if own is wanted)
            named = f" named {name!r}" if name else ""
            if several := self._resources.several.get(Key(kind, name)):
                parts = " and ".join(map(repr, several))
                return (
                    f"{who} a {_render_type(kind)}{named}, which {parts} provide; ask for all by "
                    f"Sequence[{_render_type(kind)}], or for one by its name"
                )
            return f"{who} a {_render_type(kind)}{named}, which nothing provides{self._render_others(kind)}"
        made: Any = get_origin(wanted) or wanted
        if inspect.isclass(made) and (missing := _find_missing_argument(made)):
            return (
                f"{who} a {_render_type(wanted)}, which nothing provides, and which can't be made without {missing!r}; "
                "install or contribute what provides it"
            )
        return None

    def _render_others(self, kind: Any) -> str:
        names = sorted(
            name
            for (other, name), stand_in in self._stand_ins.items()
            if other is kind and name is not None and self.is_provided(stand_in)
        )
        return f"; there is one named {', '.join(map(repr, names))}: Annotated[..., Named(...)]" if names else ""


def make_graph(function: Callable[..., Any], providers: Providers) -> tuple[DependencyGraph | None, list[str]]:
    """The graph of a function's dependencies, None if there are none, and the problems found in it."""
    try:
        graph = DependencyGraph(function, providers.by_type)
    except Exception as error:  # noqa: BLE001  # reading an application's signature raises errors of any type
        return None, [f"what it depends on can't be read: {type(error).__name__}: {error}"]
    if graph.is_empty():
        return None, []
    problems = []
    for dependency in walk_graph(graph):
        if (collection := providers.find_collection(dependency.dependency)) is not None:
            dependency.dependency = collection
        # TaskIQ doesn't replace dependencies that aren't cached, nor their own dependencies.
        if (stand_in := providers.by_type.get(dependency.dependency)) is not None:
            dependency.dependency = stand_in
        # TaskIQ doesn't know names: it would take the instance without a name.
        if (name := _find_name(dependency.signature)) is not None:
            dependency.dependency = providers.find_stand_in(providers.find_type(dependency.dependency), name)
        if providers.is_provided(dependency.dependency):
            dependency.use_cache = True  # otherwise TaskIQ would call the stand-in
        if (problem := providers.find_problem(dependency)) is not None:
            problems.append(problem)
    return graph, problems


def walk_graph(graph: DependencyGraph) -> Iterator[Dependency]:
    """All dependencies of a graph and of its subgraphs."""
    for dependencies in graph.dependencies.values():
        yield from dependencies
    for inner in graph.subgraphs.values():
        yield from walk_graph(inner)


def _find_name(parameter: inspect.Parameter | None) -> str | None:
    annotation = None if parameter is None else parameter.annotation
    if get_origin(annotation) is not Annotated:
        return None
    return next((mark.name for mark in reversed(get_args(annotation)) if isinstance(mark, Named)), None)


def _find_missing_argument(kind: type) -> str | None:
    """The first argument of a constructor that has no default and isn't a dependency."""
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


def _render_type(kind: Any) -> str:
    return getattr(kind, "__qualname__", str(kind))
