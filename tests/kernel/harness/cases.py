"""What is tried: parts with their faults, and a disturbance from outside."""

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

# At a start and at a stop alike; `cases.happenings` says where each is possible.
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
STARTS = ("fine", "instant", "factory", *FAULTS)
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
DISTURBANCES = ("cancel", "native", "stop", "shutdown", "kill")
"""An outer scope, the caller's own task, `Engine.stop`, every task there is (as a closing loop does), one host."""


@dataclass(frozen=True)
class Part:
    """One component: whom it waits for, what it holds across its yield, and what goes wrong with it."""

    name: str
    waits_for: tuple[str, ...] = ()
    stage: int = 0
    shape: str = "plain"
    start: str = "fine"
    serving: str = "fine"
    stop: str = "fine"


@dataclass(frozen=True)
class Disturbance:
    """Something from outside, just before the step of that number."""

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
        assert possible(self), self


def possible(case: Case) -> bool:
    """Whether such a thing can happen with that event loop at all."""
    if case.backend == "asyncio":
        return True
    by_hand = any("by_hand" in (part.start, part.stop) for part in case.parts)
    native = case.disturbance is not None and case.disturbance.kind in ("native", "shutdown", "kill")
    return not by_hand and not native


@lru_cache(maxsize=4096)
def leaders(parts: tuple[Part, ...]) -> dict[str, tuple[str, ...]]:
    """For each part those that it waits for: its own edges, and all of the stages before its own."""
    return {
        part.name: tuple(other.name for other in parts if other.name in part.waits_for or other.stage < part.stage)
        for part in parts
    }


def graphs(names: str = "abc") -> Iterator[tuple[Part, ...]]:
    """Every acyclic graph over these names, in one order of them; and the same parts in stages."""
    pairs = [(early, late) for late in range(len(names)) for early in range(late)]
    for chosen in product((False, True), repeat=len(pairs)):
        edges = [pair for pair, taken in zip(pairs, chosen, strict=True) if taken]
        yield tuple(
            Part(name, tuple(names[early] for early, late in edges if late == place))
            for place, name in enumerate(names)
        )


def staged() -> Iterator[tuple[Part, ...]]:
    """Three parts behind barriers."""
    for stages in ((0, 0, 1), (0, 1, 1), (0, 1, 2)):
        yield tuple(Part(name, stage=stage) for name, stage in zip("abc", stages, strict=True))


def with_one_fault(parts: tuple[Part, ...]) -> Iterator[tuple[Part, ...]]:
    """The parts with every fault at every place."""
    yield parts
    for place, part in enumerate(parts):
        faulty = [replace(part, start=kind) for kind in STARTS[1:]]
        faulty += [replace(part, serving=kind) for kind in SERVING[1:]]
        faulty += [replace(part, stop=kind) for kind in STOPS[1:]]
        for other in faulty:
            yield (*parts[:place], other, *parts[place + 1 :])


def shaped(parts: tuple[Part, ...], shape: str) -> tuple[Part, ...]:
    """The parts, all holding the same across their yield."""
    return tuple(replace(part, shape=shape) for part in parts)


def everything(backends: Iterable[str] = BACKENDS, shapes: Iterable[str] = SHAPES) -> Iterator[Case]:
    """Every graph of three, every fault at every place, every shape and every body; undisturbed."""
    for backend, shape, graph in product(backends, shapes, (*graphs(), *staged())):
        for parts in with_one_fault(graph):
            case = (shaped(parts, shape), "waits", None, backend)
            if _is_possible(*case):
                yield Case(*case)
        for body in BODIES[1:]:
            yield Case(shaped(graph, shape), body, None, backend)
            crashing = replace(graph[0], serving="crash_later")
            yield Case(shaped((crashing, *graph[1:]), shape), body, None, backend)


def _is_possible(parts: tuple[Part, ...], body: str, disturbance: Disturbance | None, backend: str) -> bool:
    return backend == "asyncio" or not any("by_hand" in (part.start, part.stop) for part in parts)


def disturbed(case: Case, steps: int) -> Iterator[Case]:
    """The case with every disturbance from outside at every step."""
    for kind in DISTURBANCES:
        if case.backend != "asyncio" and kind in ("native", "shutdown", "kill"):
            continue
        for target in [part.name for part in case.parts] if kind == "kill" else [""]:
            for step in range(1, steps + 1):
                yield replace(case, disturbance=Disturbance(kind, step, target))
