"""Check the laws of the lifecycle in long runs: exhaustive, random, and for leaks.

python -m tests.kernel.fuzz --exhaustive --seconds 600
python -m tests.kernel.fuzz --exhaustive --policies --seconds 600
python -m tests.kernel.fuzz --hypothesis 100000
python -m tests.kernel.fuzz --leaks 10000
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import multiprocessing
import os
import random
import sys
import time
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tests.kernel.harness.cases import BACKENDS, Case, Part, disturb, list_cases, list_policy_cases
from tests.kernel.harness.clock import run_asyncio
from tests.kernel.harness.oracle import LawBroken, run_and_check
from tests.kernel.harness.parts import make_faulty_plan
from tests.kernel.harness.runner import run_case

MOST_FAILURES = 5


def main() -> int:
    """Run the chosen checks; the exit code is 0 if every law held."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exhaustive", action="store_true", help="every graph of three, fault, shape and disturbance")
    parser.add_argument("--policies", action="store_true", help="exhaustive: failed starts, tried again or degraded")
    parser.add_argument("--hypothesis", type=int, metavar="N", default=0, help="random cases of up to 12 components")
    parser.add_argument("--leaks", type=int, metavar="CYCLES", nargs="?", const=10_000, default=0)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop an exhaustive run after that time")
    parser.add_argument("--jobs", type=int, default=1, help="processes for the exhaustive run")
    parser.add_argument("--backend", choices=BACKENDS, action="append", help="only that event loop")
    parser.add_argument("--seed", type=int, default=1, help="of the order in which an exhaustive run goes")
    parser.add_argument("--eager", action="store_true", help="asyncio with the eager task factory (Python 3.12)")
    options = parser.parse_args()
    warnings.simplefilter("error")
    ok = True
    if options.exhaustive:
        backends = ["asyncio"] if options.eager else options.backend or list(BACKENDS)
        undisturbed = list((list_policy_cases if options.policies else list_cases)(backends))
        ok &= run_exhaustively(undisturbed, options.seconds, options.jobs, options.seed, eager=options.eager)
    if options.hypothesis:
        ok &= run_randomly(options.hypothesis)
    if options.leaks:
        ok &= find_leaks(options.leaks)
    return 0 if ok else 1


def run_exhaustively(undisturbed: list[Case], seconds: float, jobs: int, seed: int, *, eager: bool) -> bool:
    """Run every case with every disturbance at every step; shuffled, so that a run with a time limit is a sample."""
    random.Random(seed).shuffle(undisturbed)
    began, runs, swept, failures = time.monotonic(), 0, 0, []
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        for count, found in pool.imap_unordered(partial(_sweep, eager=eager), undisturbed, chunksize=1):
            runs, swept = runs + count, swept + 1
            failures += found
            if time.monotonic() - began > seconds or len(failures) >= MOST_FAILURES:
                pool.terminate()
                break
    print(
        f"exhaustive: {runs} cases, {swept} of {len(undisturbed)} undisturbed ones with all their disturbances, "
        f"{len(failures)} against a law, {time.monotonic() - began:.0f} s"
    )
    for failure in failures[:MOST_FAILURES]:
        print(failure)
    return not failures


def _sweep(case: Case, *, eager: bool) -> tuple[int, list[str]]:
    runs, failures = 0, []
    for each in _with_disturbances(case, eager=eager):
        runs += 1
        try:
            run_and_check(each, eager=eager)
        except LawBroken as error:
            failures.append(str(error))
            break
    return runs, failures


def _with_disturbances(case: Case, *, eager: bool) -> Iterator[Case]:
    yield case
    yield from disturb(case, run_case(case, eager=eager).steps)


def run_randomly(examples: int) -> bool:
    """Run random cases; Hypothesis shrinks a failing one."""
    from hypothesis import HealthCheck, given, settings
    from tests.kernel.harness.strategies import cases

    began, runs = time.monotonic(), 0

    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(cases())
    def laws_hold(case: Case) -> None:
        nonlocal runs
        runs += 1
        run_and_check(case)

    try:
        laws_hold()
    except LawBroken as error:
        print(error)
        return False
    finally:
        print(f"hypothesis: {runs} examples, {time.monotonic() - began:.0f} s")
    return True


def find_leaks(cycles: int) -> bool:
    """Start and stop twenty components again and again; neither objects nor descriptors may grow in number."""
    parts = tuple(Part(name, (), place // 5, shape="group") for place, name in enumerate("abcdefghijklmnopqrst"))
    make_faulty_plan(parts)
    began = time.monotonic()
    before = None
    for cycle in range(cycles):
        run_case(Case(parts, "returns", backend="asyncio"))
        if cycle == min(100, cycles // 2):
            before = _count_objects()
    after = _count_objects()
    print(f"leaks: {cycles} cycles, objects and descriptors {before} → {after}, {time.monotonic() - began:.0f} s")
    return before is not None and after[0] <= before[0] + 50 and after[1] <= before[1]


def _count_objects() -> tuple[int, int]:
    gc.collect()
    assert not run_asyncio(partial(asyncio.sleep, 0))
    return len(gc.get_objects()), len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0


if __name__ == "__main__":
    sys.exit(main())
