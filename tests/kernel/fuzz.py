"""The long runs against the laws of the lifecycle: exhaustive, random, and for leaks.

python -m tests.kernel.fuzz --exhaustive --seconds 600
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

from tests.kernel.harness.bench import play
from tests.kernel.harness.cases import BACKENDS, Case, Part, disturbed, everything
from tests.kernel.harness.clock import run_asyncio
from tests.kernel.harness.oracle import LawBroken, prove
from tests.kernel.harness.parts import rig

MOST_FAILURES = 5


def main() -> int:
    """What was asked for; the exit code says whether every law held."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exhaustive", action="store_true", help="every graph of three, fault, shape and disturbance")
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
        ok &= exhaust(backends, options.seconds, options.jobs, options.seed, eager=options.eager)
    if options.hypothesis:
        ok &= search(options.hypothesis)
    if options.leaks:
        ok &= leaks(options.leaks)
    return 0 if ok else 1


def exhaust(backends: list[str], seconds: float, jobs: int, seed: int, *, eager: bool) -> bool:
    """Every case, each with every disturbance at every step; shuffled, so that a bounded run is a fair sample."""
    undisturbed = list(everything(backends))
    random.Random(seed).shuffle(undisturbed)
    began, played, swept, failures = time.monotonic(), 0, 0, []
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        for count, found in pool.imap_unordered(partial(_sweep, eager=eager), undisturbed, chunksize=1):
            played, swept = played + count, swept + 1
            failures += found
            if time.monotonic() - began > seconds or len(failures) >= MOST_FAILURES:
                pool.terminate()
                break
    print(
        f"exhaustive: {played} cases, {swept} of {len(undisturbed)} undisturbed ones with all their disturbances, "
        f"{len(failures)} against a law, {time.monotonic() - began:.0f} s"
    )
    for failure in failures[:MOST_FAILURES]:
        print(failure)
    return not failures


def _sweep(case: Case, *, eager: bool) -> tuple[int, list[str]]:
    played, failures = 0, []
    for each in _with_disturbances(case, eager=eager):
        played += 1
        try:
            prove(each, eager=eager)
        except LawBroken as error:
            failures.append(str(error))
            break
    return played, failures


def _with_disturbances(case: Case, *, eager: bool) -> Iterator[Case]:
    yield case
    yield from disturbed(case, play(case, eager=eager).steps)


def search(examples: int) -> bool:
    """Random cases; Hypothesis shrinks what fails."""
    from hypothesis import HealthCheck, given, settings
    from tests.kernel.harness.strategies import cases

    began, played = time.monotonic(), 0

    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(cases())
    def laws_hold(case: Case) -> None:
        nonlocal played
        played += 1
        prove(case)

    try:
        laws_hold()
    except LawBroken as error:
        print(error)
        return False
    finally:
        print(f"hypothesis: {played} examples, {time.monotonic() - began:.0f} s")
    return True


def leaks(cycles: int) -> bool:
    """Start and stop twenty components again and again: nothing may grow."""
    parts = tuple(Part(name, (), place // 5, shape="group") for place, name in enumerate("abcdefghijklmnopqrst"))
    rig(parts)
    began = time.monotonic()
    before = None
    for cycle in range(cycles):
        play(Case(parts, "returns", backend="asyncio"))
        if cycle == min(100, cycles // 2):
            before = _counts()
    after = _counts()
    print(f"leaks: {cycles} cycles, objects and descriptors {before} → {after}, {time.monotonic() - began:.0f} s")
    return before is not None and after[0] <= before[0] + 50 and after[1] <= before[1]


def _counts() -> tuple[int, int]:
    gc.collect()
    assert not run_asyncio(partial(asyncio.sleep, 0))
    return len(gc.get_objects()), len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0


if __name__ == "__main__":
    sys.exit(main())
