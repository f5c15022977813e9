"""List the cases: components with their faults, and a disturbance from outside."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product

START_TIMEOUT = 10.0
STOP_TIMEOUT = 5.0
ABANDON_AFTER = 2.0

SHAPES = ("plain", "group", "variables")
BACKENDS = ("asyncio", "trio")

# Each is possible at a start and at a stop; `by_hand` on asyncio only.
FAULTS = (
    "fail",
    "early",
    "base",
    "exit",
    "interrupt",
    "generator_exit",
    "grouped_interrupt",
    "child",
    "hang",
    "slow",
    "stubborn",
    "messy",
    "lazy",
    "late",
    "by_hand",
)
STARTS = ("fine", "instant", "factory", "permanent", *FAULTS)
STOPS = ("fine", "instant", *FAULTS)
SERVING = (
    "fine",
    "crash",
    "crash_later",
    "crash_degrade",
    "ends",
    "times_out",
    "serves",
    "serves_lazily",
    "exhausts",
    "exhausts_degrade",
    "exits",
)
BODIES = ("waits", "returns", "raises", "raises_base", "cleans_up", "converts")
LINKS = ("name", "type", "each", "group")
"""How a component asks for its dependencies: by name, by a parameter of each one's type, by a collection of each one's
type, or by one collection of a type that all of them provide."""
DISTURBANCES = ("cancel", "native", "stop", "shutdown", "kill")
"""Cancellations from outside: of an outer scope, of the caller's own task, by `Engine.stop`, of every task as a closing
event loop does, of one component's task."""
NATIVE = ("native", "shutdown", "kill")
"""The disturbances that only asyncio knows, by ``task.cancel()``."""


POLICIES = ("stop", "retry", "degrade")
"""The reactions to a failed start."""


@dataclass(frozen=True)
class Part:
    """One component: its dependencies, the scopes that it keeps open from start to stop, and its faults.

    A component requires a dependency, unless only the dependency may be degraded: then the order alone counts.
    """

    name: str
    waits_for: tuple[str, ...] = ()
    stage: int = 0
    shape: str = "plain"
    start: str = "fine"
    serving: str = "fine"
    stop: str = "fine"
    link: str = "name"
    decorates: str = ""
    """The component with the type that this one decorates. Only later ones may ask for that type."""
    policy: str = "stop"
    failures: int = 0
    """The number of tries that have the fault of the start; 0 for every try."""


@dataclass(frozen=True)
class Disturbance:
    """A cancellation from outside, just before the step of that number."""

    kind: str
    step: int
    target: str = ""


@dataclass(frozen=True)
class Case:
    """One run."""

    parts: tuple[Part, ...]
    body: str = "waits"
    disturbance: Disturbance | None = None
    backend: str = "asyncio"
    seed: int | None = None

    def __post_init__(self) -> None:
        assert is_possible(self.parts, self.body, self.disturbance, self.backend), self


def is_possible(parts: tuple[Part, ...], body: str, disturbance: Disturbance | None, backend: str) -> bool:
    """Whether the case can happen on its event loop: Trio has no way to cancel a task by hand."""
    if backend == "asyncio":
        return True
    by_hand = any("by_hand" in (part.start, part.stop) for part in parts)
    return not by_hand and (disturbance is None or disturbance.kind not in NATIVE)


@lru_cache(maxsize=4096)
def find_leaders(parts: tuple[Part, ...]) -> dict[str, tuple[str, ...]]:
    """For each component, the names of its dependencies, and of all components in earlier stages."""
    direct = {part.name: _find_direct_leaders(part, parts) for part in parts}
    return {
        part.name: tuple(other.name for other in parts if other.name in direct[part.name] or other.stage < part.stage)
        for part in parts
    }


def list_decorators(name: str, parts: tuple[Part, ...]) -> list[str]:
    """The components that decorate the type of that one, innermost first: in the order of their stages and names."""
    return [part.name for part in sorted(parts, key=lambda part: part.stage) if part.decorates == name]


def _find_direct_leaders(part: Part, parts: tuple[Part, ...]) -> set[str]:
    leaders = set(part.waits_for)
    if part.link in ("type", "each"):
        for name in part.waits_for:
            leaders.update(list_decorators(name, parts))
    if part.decorates:
        chain = list_decorators(part.decorates, parts)
        leaders.update((part.decorates, *chain[: chain.index(part.name)]))
    return leaders - {part.name}


def render_object(name: str, parts: tuple[Part, ...]) -> str:
    """The object that a component makes, with the objects that it decorates inside."""
    decorated = next(part.decorates for part in parts if part.name == name)
    return f"{name}({render_path(decorated, parts, name)})" if decorated else name


def render_path(name: str, parts: tuple[Part, ...], outside: str = "") -> str:
    """The object of a component with its decorators around it, up to one of them: ``c(b(a))``."""
    path = render_object(name, parts)
    for decorator in list_decorators(name, parts):
        if decorator == outside:
            break
        path = f"{decorator}({path})"
    return path


def list_graphs(names: str = "abc") -> Iterator[tuple[Part, ...]]:
    """Yield every acyclic graph over these names, up to the order of the names."""
    pairs = [(early, late) for late in range(len(names)) for early in range(late)]
    for chosen in product((False, True), repeat=len(pairs)):
        edges = [pair for pair, taken in zip(pairs, chosen, strict=True) if taken]
        yield tuple(
            Part(name, tuple(names[early] for early, late in edges if late == place))
            for place, name in enumerate(names)
        )


def list_linked() -> Iterator[tuple[Part, ...]]:
    """Yield chains of decorators, and collections, of three and four components."""
    for last in LINKS[1:]:
        yield Part("a"), Part("b"), Part("c", ("a", "b"), link=last)
        yield Part("a"), Part("b", decorates="a"), Part("c", ("a",), link=last)
        yield Part("a"), Part("b", decorates="a", stage=1), Part("c", ("a",), stage=1, link=last)
    yield Part("a"), Part("b", decorates="a"), Part("c", decorates="a"), Part("d", ("a",), link="type")
    yield Part("a"), Part("b"), Part("c", ("b",), link="type", decorates="a"), Part("d", ("a", "b"), link="each")


def list_staged() -> Iterator[tuple[Part, ...]]:
    """Yield three components in two or three stages."""
    for stages in ((0, 0, 1), (0, 1, 1), (0, 1, 2)):
        yield tuple(Part(name, stage=stage) for name, stage in zip("abc", stages, strict=True))


def add_one_fault(parts: tuple[Part, ...]) -> Iterator[tuple[Part, ...]]:
    """Yield the components without a fault, and with every fault at every place."""
    yield parts
    for place, part in enumerate(parts):
        faulty = [replace(part, start=kind) for kind in STARTS[1:]]
        faulty += [replace(part, serving=kind) for kind in SERVING[1:]]
        faulty += [replace(part, stop=kind) for kind in STOPS[1:]]
        for other in faulty:
            yield (*parts[:place], other, *parts[place + 1 :])


def is_in_chain(part: Part, parts: Iterable[Part]) -> bool:
    """Whether a component decorates another one, or is decorated.

    None is degraded here: a decorator would have to do without the object that it decorates.
    """
    return bool(part.decorates) or any(other.decorates == part.name for other in parts)


def add_policies(parts: tuple[Part, ...]) -> Iterator[tuple[Part, ...]]:
    """Yield the components with every fault of a start at every place, once for each way to react to it."""
    for place, part in enumerate(parts):
        for kind in STARTS[1:]:
            for policy, failures in (("retry", 0), ("retry", 1), ("retry", 3), ("degrade", 0)):
                if policy == "degrade" and is_in_chain(part, parts):
                    continue
                faulty = replace(part, start=kind, policy=policy, failures=failures)
                yield (*parts[:place], faulty, *parts[place + 1 :])
            # Components that may be degraded, and require one that is.
            if any(other.decorates for other in parts):
                continue
            every = tuple(replace(other, policy="degrade") for other in parts)
            yield (*every[:place], replace(every[place], start=kind), *every[place + 1 :])


def give_shape(parts: tuple[Part, ...], shape: str) -> tuple[Part, ...]:
    """Return the components, all of the same shape."""
    return tuple(replace(part, shape=shape) for part in parts)


def list_cases(backends: Iterable[str] = BACKENDS, shapes: Iterable[str] = SHAPES) -> Iterator[Case]:
    """Yield every graph of three with every fault at every place, every shape and every body; undisturbed.

    The failed starts end the run, as they do unless a component declares another policy; see `list_policy_cases`.
    """
    for backend, shape, graph in product(backends, shapes, (*list_graphs(), *list_staged(), *list_linked())):
        for parts in add_one_fault(graph):
            case = (give_shape(parts, shape), "waits", None, backend)
            if is_possible(*case):
                yield Case(*case)
        for body in BODIES[1:]:
            yield Case(give_shape(graph, shape), body, None, backend)
            crashing = replace(graph[0], serving="crash_later")
            yield Case(give_shape((crashing, *graph[1:]), shape), body, None, backend)


def list_policy_cases(backends: Iterable[str] = BACKENDS, shapes: Iterable[str] = SHAPES) -> Iterator[Case]:
    """Yield every graph of three with every fault of a start at every place, tried again or degraded; undisturbed."""
    for backend, shape, graph in product(backends, shapes, (*list_graphs(), *list_staged(), *list_linked())):
        for parts in add_policies(graph):
            case = (give_shape(parts, shape), "waits", None, backend)
            if is_possible(*case):
                yield Case(*case)


def disturb(case: Case, steps: int) -> Iterator[Case]:
    """Yield the case with every disturbance at every step."""
    for kind in DISTURBANCES:
        if case.backend != "asyncio" and kind in NATIVE:
            continue
        for target in [part.name for part in case.parts] if kind == "kill" else [""]:
            for step in range(1, steps + 1):
                yield replace(case, disturbance=Disturbance(kind, step, target))
