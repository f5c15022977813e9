"""Measure starts and stops: wall time against the critical path, CPU time against bare tasks, and the same of peers.

CPU time is that of the process, in shuffled rounds, as medians. Quote the ratios, never the times. The time for making
a plan isn't part of a start and has a row of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import random
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import anyio
from asphalt.core import Component as AsphaltComponent
from asphalt.core import ContainerComponent
from asphalt.core import Context as AsphaltContext

from bandmaster.kernel.contributions.bands import LifespanBand
from bandmaster.kernel.contributions.model import LifespanContribution
from bandmaster.kernel.lifecycle.engine import Engine
from bandmaster.kernel.planning.deadlines import Deadlines
from bandmaster.kernel.planning.make import make_plan

SLEEP = 0.1
"""Seconds of an average start, for measurements of wall time."""

Graph = list[list[int]]
"""For each component, the earlier components to wait for."""


def make_scattered(count: int, rng: random.Random) -> Graph:
    """Let each component wait for up to three earlier ones."""
    return [rng.sample(range(place), min(place, rng.randint(0, 3))) for place in range(count)]


def make_deep(count: int, width: int = 5) -> Graph:
    """Make chains that don't wait for each other."""
    return [[place - width] if place >= width else [] for place in range(count)]


def make_layered(count: int, width: int = 10) -> Graph:
    """Let each component wait for three of the layer before."""
    return [
        [] if place < width else [(place // width - 1) * width + (place + step) % width for step in range(3)]
        for place in range(count)
    ]


def compute_critical_path(graph: Graph, seconds: Sequence[float]) -> float:
    ends: list[float] = []
    for place, awaited in enumerate(graph):
        ends.append(seconds[place] + max((ends[other] for other in awaited), default=0))
    return max(ends)


@asynccontextmanager
async def component(seconds: float):
    await anyio.sleep(seconds)
    yield
    await anyio.sleep(0)


Runner = Callable[[Graph, Sequence[float]], Callable[[], Awaitable[float]]]
"""Takes a graph and makes a function that starts and stops the components, and returns the seconds of the start."""


def run_bandmaster(graph: Graph, seconds: Sequence[float]) -> Callable[[], Awaitable[float]]:
    plan = make_graph_plan(graph, seconds)

    async def run() -> float:
        began = time.perf_counter()
        async with Engine(plan).running():
            return time.perf_counter() - began
        raise AssertionError

    return run


def make_graph_plan(graph: Graph, seconds: Sequence[float]) -> Any:
    def factory(own: float) -> Callable[[], Any]:
        return lambda: component(own)

    parts = [
        LifespanContribution(
            name=f"c{place}",
            factory=factory(seconds[place]),
            band=LifespanBand.SERVICES,
            requires=tuple(f"c{other}" for other in awaited),
        )
        for place, awaited in enumerate(graph)
    ]
    return make_plan(parts, deadlines=Deadlines(start=60, stop=60, left_for_stops=1e9))


def run_bare_tasks(graph: Graph, seconds: Sequence[float]) -> Callable[[], Awaitable[float]]:
    """Start in dependency order with a task each, and do nothing more: no deadlines, no failures, no rollback."""
    followers: list[list[int]] = [[] for _ in graph]
    for place, awaited in enumerate(graph):
        for other in awaited:
            followers[other].append(place)

    async def run() -> float:
        began = time.perf_counter()
        started = [anyio.Event() for _ in graph]
        over = [anyio.Event() for _ in graph]
        all_started, stop = anyio.Event(), anyio.Event()
        left = len(graph)

        async def host(place: int) -> None:
            nonlocal left
            for other in graph[place]:
                await started[other].wait()
            async with component(seconds[place]):
                started[place].set()
                left -= 1
                if not left:
                    all_started.set()
                await stop.wait()
                for follower in followers[place]:
                    await over[follower].wait()
            over[place].set()

        async with anyio.create_task_group() as tasks:
            for place in range(len(graph)):
                tasks.start_soon(host, place)
            await all_started.wait()
            took = time.perf_counter() - began
            stop.set()
        return took

    return run


def run_exit_stack(graph: Graph, seconds: Sequence[float]) -> Callable[[], Awaitable[float]]:
    """Start one component after the other, as most applications do."""

    async def run() -> float:
        began = time.perf_counter()
        async with AsyncExitStack() as opened:
            for place in range(len(graph)):
                await opened.enter_async_context(component(seconds[place]))
            return time.perf_counter() - began
        raise AssertionError

    return run


def run_waves(graph: Graph, seconds: Sequence[float]) -> Callable[[], Awaitable[float]]:
    """Start level by level: a level starts when the whole level before has started."""
    level: list[int] = []
    for awaited in graph:
        level.append(1 + max((level[other] for other in awaited), default=-1))
    levels = [[place for place, own in enumerate(level) if own == depth] for depth in range(max(level) + 1)]

    async def run() -> float:
        began = time.perf_counter()
        managers = [component(own) for own in seconds]
        for wave in levels:
            async with anyio.create_task_group() as tasks:
                for place in wave:
                    tasks.start_soon(managers[place].__aenter__)
        took = time.perf_counter() - began
        for wave in reversed(levels):
            async with anyio.create_task_group() as tasks:
                for place in wave:
                    tasks.start_soon(managers[place].__aexit__, None, None, None)
        return took

    return run


def run_asphalt(graph: Graph, seconds: Sequence[float]) -> Callable[[], Awaitable[float]]:
    """Start asphalt components at once, which wait for each other's resources by name."""

    class Node(AsphaltComponent):
        def __init__(self, place: int) -> None:
            self.place = place

        async def start(self, ctx: Any) -> None:
            for other in graph[self.place]:
                await ctx.request_resource(int, f"c{other}")
            manager = component(seconds[self.place])
            await manager.__aenter__()
            ctx.add_teardown_callback(partial(manager.__aexit__, None, None, None))
            ctx.add_resource(self.place, f"c{self.place}")

    async def run() -> float:
        began = time.perf_counter()
        async with AsphaltContext() as context:
            root = ContainerComponent()
            for place in range(len(graph)):
                root.add_component(f"c{place}", Node, place=place)
            await root.start(context)
            return time.perf_counter() - began
        raise AssertionError

    return run


RUNNERS: dict[str, Runner] = {
    "bandmaster": run_bandmaster,
    "bare tasks": run_bare_tasks,
    "AsyncExitStack": run_exit_stack,
    "level waves": run_waves,
    "asphalt": run_asphalt,
}


def measure_cpu(run: Callable[[], Awaitable[float]]) -> float:
    gc.collect()
    gc.disable()
    try:
        with asyncio.Runner() as runner:
            runner.run(asyncio.sleep(0))
            began = time.process_time()
            runner.run(run())
            return time.process_time() - began
    finally:
        gc.enable()


def measure_medians(runs: dict[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    found: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        order = list(runs)
        random.shuffle(order)
        for name in order:
            found[name].append(runs[name]())
    return {name: statistics.median(values) for name, values in found.items()}


def print_table(title: str, rows: dict[str, list[str]], columns: list[str]) -> None:
    print(f"\n| {title} | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
    for name, cells in rows.items():
        print(f"| {name} | {' | '.join(cells)} |")


def compare_wall_time(rounds: int) -> None:
    rng = random.Random(4)
    count = 100
    graphs = {"random": make_scattered(count, rng), "deep": make_deep(count), "layered": make_layered(count)}
    rows: dict[str, list[str]] = {name: [] for name in RUNNERS}
    for graph in graphs.values():
        seconds = [SLEEP * rng.uniform(0.5, 2) for _ in graph]
        least = compute_critical_path(graph, seconds)
        for name, runner in RUNNERS.items():
            if name == "AsyncExitStack":
                rows[name].append(f"{sum(seconds) / least:.2f}")
                continue
            run = runner(graph, seconds)
            found = min(asyncio.run(run()) for _ in range(rounds))
            rows[name].append(f"{found / least:.3f}")
    print_table(f"start wall / critical path, {count} components", rows, list(graphs))


def compare_cpu(rounds: int) -> None:
    rng = random.Random(4)
    rows: dict[str, list[str]] = {name: [] for name in RUNNERS}
    sizes = (100, 1000)
    for count in sizes:
        graph = make_scattered(count, rng)
        seconds = [0.0] * count
        runs = {
            name: partial(measure_cpu, runner(graph, seconds))
            for name, runner in RUNNERS.items()
            if name != "asphalt" or count <= 100
        }
        found = measure_medians(runs, rounds if count <= 100 else max(rounds // 4, 3))
        for name in RUNNERS:
            rows[name].append(f"{found[name] / found['bare tasks']:.2f}" if name in found else "–")
    print_table("CPU of start and stop / bare tasks", rows, [f"{count} components" for count in sizes])


def compare_sizes() -> None:
    rng = random.Random(4)
    found: dict[int, float] = {}
    plans: dict[int, float] = {}
    for count in (1000, 10_000):
        graph = make_scattered(count, rng)
        began = time.process_time()
        run = run_bandmaster(graph, [0.0] * count)
        plans[count] = time.process_time() - began
        found[count] = statistics.median(measure_cpu(run) for _ in range(5 if count == 1000 else 3))
    rows = {
        "start and stop": [f"{found[1000]:.3f} s", f"{found[10_000]:.2f} s", f"{found[10_000] / found[1000]:.1f}"],
        "making the plan": [f"{plans[1000]:.3f} s", f"{plans[10_000]:.2f} s", f"{plans[10_000] / plans[1000]:.1f}"],
    }
    print_table("CPU", rows, ["1000 components", "10 000", "T(10 000) / T(1000)"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    compare_wall_time(2)
    compare_cpu(options.rounds)
    compare_sizes()


if __name__ == "__main__":
    main()
