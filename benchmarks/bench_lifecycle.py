"""Starting and stopping: wall time against the critical path, CPU time against the least that could do it, and peers.

CPU time of the process, rounds shuffled, medians. Quote the ratios, never the times. Making the plan isn't part of a
start; its time is told beside.
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
"""Seconds that a start takes where wall time counts."""

Graph = list[list[int]]
"""For each component, the earlier ones that it waits for."""


def independent(count: int) -> Graph:
    return [[] for _ in range(count)]


def scattered(count: int, rng: random.Random) -> Graph:
    """Each waits for up to three earlier ones."""
    return [rng.sample(range(place), min(place, rng.randint(0, 3))) for place in range(count)]


def deep(count: int, width: int = 5) -> Graph:
    """Chains side by side."""
    return [[place - width] if place >= width else [] for place in range(count)]


def layered(count: int, width: int = 10) -> Graph:
    """Each waits for three of the layer before its own."""
    return [
        [] if place < width else [(place // width - 1) * width + (place + step) % width for step in range(3)]
        for place in range(count)
    ]


def critical_path(graph: Graph, seconds: Sequence[float]) -> float:
    ends: list[float] = []
    for place, awaited in enumerate(graph):
        ends.append(seconds[place] + max((ends[other] for other in awaited), default=0))
    return max(ends)


@asynccontextmanager
async def component(seconds: float):
    await anyio.sleep(seconds)
    yield
    await anyio.sleep(0)


# -- who is compared ---------------------------------------------------------------------------------------------

Runner = Callable[[Graph, Sequence[float]], Callable[[], Awaitable[float]]]
"""Given a graph, what starts and stops it; the answer is how long the start took."""


def bandmaster(graph: Graph, seconds: Sequence[float]) -> Callable[[], Awaitable[float]]:
    plan = plan_of(graph, seconds)

    async def run() -> float:
        began = time.perf_counter()
        async with Engine(plan).running():
            return time.perf_counter() - began
        raise AssertionError

    return run


def plan_of(graph: Graph, seconds: Sequence[float]) -> Any:
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


def bare(graph: Graph, seconds: Sequence[float]) -> Callable[[], Awaitable[float]]:
    """The least that starts in dependency order, with a task each: no deadlines, no faults, no rollback."""
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


def stack(graph: Graph, seconds: Sequence[float]) -> Callable[[], Awaitable[float]]:
    """One after the other, as most applications do."""

    async def run() -> float:
        began = time.perf_counter()
        async with AsyncExitStack() as opened:
            for place in range(len(graph)):
                await opened.enter_async_context(component(seconds[place]))
            return time.perf_counter() - began
        raise AssertionError

    return run


def waves(graph: Graph, seconds: Sequence[float]) -> Callable[[], Awaitable[float]]:
    """Level by level: a level starts when the one before it has started as a whole."""
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


def asphalt(graph: Graph, seconds: Sequence[float]) -> Callable[[], Awaitable[float]]:
    """Components beside each other that wait for each other's resources by name."""

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


WHO: dict[str, Runner] = {
    "bandmaster": bandmaster,
    "bare tasks": bare,
    "AsyncExitStack": stack,
    "level waves": waves,
    "asphalt": asphalt,
}

# -- measuring ---------------------------------------------------------------------------------------------------


def cpu(run: Callable[[], Awaitable[float]]) -> float:
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


def medians(runs: dict[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    found: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        order = list(runs)
        random.shuffle(order)
        for name in order:
            found[name].append(runs[name]())
    return {name: statistics.median(values) for name, values in found.items()}


def table(title: str, rows: dict[str, list[str]], columns: list[str]) -> None:
    print(f"\n| {title} | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
    for name, cells in rows.items():
        print(f"| {name} | {' | '.join(cells)} |")


def wall(rounds: int) -> None:
    rng = random.Random(4)
    count = 100
    graphs = {"random": scattered(count, rng), "deep": deep(count), "layered": layered(count)}
    rows: dict[str, list[str]] = {name: [] for name in WHO}
    for graph in graphs.values():
        seconds = [SLEEP * rng.uniform(0.5, 2) for _ in graph]
        least = critical_path(graph, seconds)
        for name, runner in WHO.items():
            if name == "AsyncExitStack":
                rows[name].append(f"{sum(seconds) / least:.2f}")
                continue
            run = runner(graph, seconds)
            found = min(asyncio.run(run()) for _ in range(rounds))
            rows[name].append(f"{found / least:.3f}")
    table(f"start wall / critical path, {count} components", rows, list(graphs))


def processor(rounds: int) -> None:
    rng = random.Random(4)
    rows: dict[str, list[str]] = {name: [] for name in WHO}
    sizes = (100, 1000)
    for count in sizes:
        graph = scattered(count, rng)
        seconds = [0.0] * count
        runs = {
            name: partial(cpu, runner(graph, seconds))
            for name, runner in WHO.items()
            if name != "asphalt" or count <= 100
        }
        found = medians(runs, rounds if count <= 100 else max(rounds // 4, 3))
        for name in WHO:
            rows[name].append(f"{found[name] / found['bare tasks']:.2f}" if name in found else "–")
    table("CPU of start and stop / bare tasks", rows, [f"{count} components" for count in sizes])


def scale() -> None:
    rng = random.Random(4)
    found: dict[int, float] = {}
    plans: dict[int, float] = {}
    for count in (1000, 10_000):
        graph = scattered(count, rng)
        began = time.process_time()
        run = bandmaster(graph, [0.0] * count)
        plans[count] = time.process_time() - began
        found[count] = statistics.median(cpu(run) for _ in range(5 if count == 1000 else 3))
    rows = {
        "start and stop": [f"{found[1000]:.3f} s", f"{found[10_000]:.2f} s", f"{found[10_000] / found[1000]:.1f}"],
        "making the plan": [f"{plans[1000]:.3f} s", f"{plans[10_000]:.2f} s", f"{plans[10_000] / plans[1000]:.1f}"],
    }
    table("CPU", rows, ["1000 components", "10 000", "T(10 000) / T(1000)"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    wall(2)
    processor(options.rounds)
    scale()


if __name__ == "__main__":
    main()
