"""Measure how fast a worker empties a queue, how soon a killed worker's task runs again, and the cost of idling.

    python benchmarks/bench_taskiq.py [--count 4000] [--rounds 3] [--idle 10]

This package is compared with the stream broker and the list broker of taskiq-redis under TaskIQ's own command, each in
a real process, on a Valkey that writes each command to disk (appendfsync always), with results stored for an hour.
Rates are from the first task to the last. The variants run in random order within each round. Ratios are the medians of
the rounds' ratios.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from redis import Redis

from bandmaster.contrib.redis.testing import redis_server
from bandmaster.contrib.taskiq import LeasedStreamBroker, TaskIQSettings
from bandmaster.contrib.taskiq.streams import options_of

HERE = Path(__file__).parent
LEASE = 3.0
DURABLE = ["--appendonly", "yes", "--appendfsync", "always"]
VARIANTS = ("ours", "stream", "list")
PREFETCHES = (1, 20)


def command(variant: str, prefetch: int) -> list[str]:
    if variant == "ours":
        return ["-m", "bandmaster.kernel.cli", "worker", "taskiq_apps:app", f"--concurrency={prefetch}"]
    broker = {"stream": "stream", "list": "lists"}[variant]
    bounds = [f"--max-async-tasks={prefetch}", f"--max-prefetch={prefetch}"]
    return ["-m", "taskiq", "worker", f"taskiq_apps:{broker}", "--workers=1", *bounds]


def start(
    variant: str, prefetch: int, url: str, out: Path, count: int, *, results: bool = True, lease: float = 30.0
) -> subprocess.Popen[bytes]:
    ours = {
        "TASKIQ_REDIS_URL": url,
        "TASKIQ_PREFETCH": str(prefetch),
        "TASKIQ_LEASE": str(lease),
        "TASKIQ_KEEP_RESULTS": str(results),
    }
    theirs = {"BENCH_URL": url, "BENCH_COUNT": str(count), "BENCH_OUT": str(out), "BENCH_READ": str(prefetch)}
    return subprocess.Popen(
        [sys.executable, *command(variant, prefetch)],
        cwd=HERE,
        env={**os.environ, **ours, **theirs, "BENCH_RESULTS": str(int(results))},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def stop(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait(10)


async def fill(variant: str, url: str, count: int) -> float:
    """Send ``count`` messages and return their number per second."""
    os.environ["BENCH_URL"] = url
    import taskiq_apps
    from taskiq.kicker import AsyncKicker

    taskiq_apps.URL = url
    if variant == "ours":
        settings = TaskIQSettings(redis_url=url)
        broker = LeasedStreamBroker(options_of(settings), settings.redis)
    else:
        broker = taskiq_apps.stream() if variant == "stream" else taskiq_apps.lists()
    await broker.startup()
    try:
        began = time.perf_counter()
        for number in range(count):
            await AsyncKicker("work", broker, {}).kiq(number)
        return count / (time.perf_counter() - began)
    finally:
        await broker.shutdown()


def measure_emptying(
    variant: str, prefetch: int, url: str, folder: Path, count: int, *, results: bool
) -> tuple[float, float]:
    with Redis.from_url(url) as client:
        client.flushall()
    out = folder / f"out-{time.monotonic_ns()}"
    sent = asyncio.run(fill(variant, url, count))
    process = start(variant, prefetch, url, out, count, results=results)
    try:
        until = time.monotonic() + 120
        while not out.exists():
            assert process.poll() is None, f"{variant} at prefetch {prefetch} has ended"
            assert time.monotonic() < until, f"{variant} at prefetch {prefetch} doesn't empty the queue"
            time.sleep(0.05)
        time.sleep(0.05)
        return count / float(out.read_text()), sent
    finally:
        stop(process)


def measure_redelivery(url: str, folder: Path) -> float:
    """The time from the kill of a worker to the next run of its task, in leases."""
    with Redis.from_url(url) as client:
        client.flushall()
    out = folder / f"hold-{time.monotonic_ns()}"

    async def send() -> None:
        from taskiq.kicker import AsyncKicker

        settings = TaskIQSettings(redis_url=url)
        broker = LeasedStreamBroker(options_of(settings), settings.redis)
        await broker.startup()
        await AsyncKicker("hold", broker, {}).kiq(60)
        await broker.shutdown()

    workers = [start("ours", 1, url, out, 0, lease=LEASE) for _ in range(2)]
    try:
        time.sleep(4)
        asyncio.run(send())
        wait(lambda: out.exists())
        pid = int(out.read_text().split()[0])
        # At a random moment between two renewals.
        time.sleep(random.uniform(0, LEASE / 3))
        killed = time.time()
        os.kill(pid, signal.SIGKILL)
        wait(lambda: len(out.read_text().splitlines()) > 1)
        return (float(out.read_text().splitlines()[1].split()[1]) - killed) / LEASE
    finally:
        for worker in workers:
            stop(worker)


def measure_idling(variant: str, url: str, folder: Path, seconds: float) -> tuple[float, float]:
    """CPU in percent of one core, and commands per second, of an idle worker."""
    with Redis.from_url(url) as client:
        client.flushall()
        process = start(variant, 20, url, folder / "idle", 0)
        try:
            time.sleep(6)
            commands, cpu, began = count_commands(client), read_cpu_ticks(process.pid), time.monotonic()
            time.sleep(seconds)
            took = time.monotonic() - began
            used = (read_cpu_ticks(process.pid) - cpu) / os.sysconf("SC_CLK_TCK")
            return 100 * used / took, (count_commands(client) - commands - 1) / took
        finally:
            stop(process)


def count_commands(client: Redis) -> int:
    return int(client.info("stats")["total_commands_processed"])  # type: ignore[index]


def read_cpu_ticks(leader: int) -> int:
    """The CPU time of a process group."""
    total = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == leader:  # its process group
            # With the ticks of children that have ended, as the list broker's worker does on an idle queue.
            total += sum(map(int, fields[11:15]))
    return total


def wait(done: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not done():
        assert time.monotonic() < until
        time.sleep(0.01)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--idle", type=float, default=10)
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as name, redis_server(Path(name), options=DURABLE) as server:
        folder, url = Path(name), server.url(1)
        for results in (True, False):
            rates: dict[tuple[str, int], list[float]] = {}
            sends: dict[str, list[float]] = {}
            for _ in range(arguments.rounds):
                cases = [(variant, prefetch) for variant in VARIANTS for prefetch in PREFETCHES]
                random.shuffle(cases)
                for variant, prefetch in cases:
                    rate, sent = measure_emptying(variant, prefetch, url, folder, arguments.count, results=results)
                    rates.setdefault((variant, prefetch), []).append(rate)
                    sends.setdefault(variant, []).append(sent)
            print(f"\nEmptying a queue of {arguments.count}, {'results kept' if results else 'no results'}")
            print(f"{'':24}{'tasks/s':>10}{'/ stream':>10}{'/ list':>10}")
            for prefetch in PREFETCHES:
                for variant in VARIANTS:
                    mine = rates[variant, prefetch]
                    ratios = [
                        statistics.median(a / b for a, b in zip(mine, rates[other, prefetch], strict=True))
                        for other in ("stream", "list")
                    ]
                    rate = statistics.median(mine)
                    print(f"{variant:8} prefetch {prefetch:<6}{rate:10.0f}{ratios[0]:10.2f}{ratios[1]:10.2f}")
            print("Sending: " + ", ".join(f"{name} {statistics.median(each):.0f}/s" for name, each in sends.items()))
        again = [measure_redelivery(url, folder) for _ in range(arguments.rounds)]
        median, most = statistics.median(again), max(again)
        print(f"\nFrom SIGKILL to the next run, in leases of {LEASE:g} s: median {median:.2f}, most {most:.2f}")
        print(f"\nIdle{'':20}{'CPU %':>10}{'commands/s':>14}")
        for variant in VARIANTS:
            cpu, commands = measure_idling(variant, url, folder, arguments.idle)
            print(f"{variant:24}{cpu:10.2f}{commands:14.2f}")


if __name__ == "__main__":
    main()
