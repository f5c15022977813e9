"""Measure discovery: one scan alone, its imports, and the whole start of a command with each reader of metadata.

Each figure comes from a new interpreter: page cache warm, rounds shuffled, medians. A scan alone is compared with one
bare pass over the same directories, the standard library, its backport and stevedore, as CPU time of the process after
the imports. The start is ``bandmaster check`` from the first instruction to the exit, in CPU time and in wall time.
Quote the ratios rather than the times.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

GROUPS = (
    "bandmaster.lifespan",
    "bandmaster.middleware",
    "bandmaster.routes",
    "bandmaster.error_handlers",
    "bandmaster.commands",
)
SIZES = (50, 200, 1000)
PLUGINS = 10
PARTS = 25
README = "".join(f"Line {n} of a description that is as long as they are.\n" for n in range(120))


def make_site(site: Path, count: int) -> None:
    """A directory of installed distributions: ten bring two or three parts, four in ten others have scripts."""
    for number in range(count):
        plugin = number % (count // PLUGINS) == 0
        name = f"{'bandmaster_part' if plugin else 'ordinary_package'}_{number}"
        info = site / f"{name}-1.{number}.dist-info"
        (site / name).mkdir(parents=True)
        (site / name / "__init__.py").write_text("")
        info.mkdir()
        info.joinpath("METADATA").write_text(
            f"Metadata-Version: 2.3\nName: {name.replace('_', '-')}\nVersion: 1.{number}\n\n{README}"
        )
        info.joinpath("WHEEL").write_text("Wheel-Version: 1.0\n")
        info.joinpath("RECORD").write_text(f"{name}/__init__.py,sha256=x,0\n")
        if plugin:
            nth = number // (count // PLUGINS)
            chosen = [GROUPS[(nth + step) % len(GROUPS)] for step in range(2 + nth % 2)]
            text = "".join(f"[{group}]\npart{number} = {name}:part\n\n" for group in chosen)
            info.joinpath("entry_points.txt").write_text(text)
        elif number % 5 < 2:
            info.joinpath("entry_points.txt").write_text(f"[console_scripts]\n{name} = {name}.cli:main\n")


def floor() -> Callable[[], int]:
    """What nobody can do without: list each directory, read each entry_points.txt."""

    def run() -> int:
        count = 0
        for directory in sys.path:
            try:
                entries = list(os.scandir(directory))
            except OSError:
                continue
            for entry in entries:
                if entry.name.endswith((".dist-info", ".egg-info")):
                    try:
                        with open(os.path.join(entry.path, "entry_points.txt"), "rb") as file:  # noqa: PTH118, PTH123
                            count += file.read().count(b"[bandmaster.")
                    except FileNotFoundError:
                        pass
        return count

    return run


def bare_floor() -> Callable[[], int]:
    """The same with the cheapest calls there are: no DirEntry, no file object."""

    def run() -> int:
        count = 0
        for directory in sys.path:
            try:
                names = os.listdir(directory)  # noqa: PTH208
            except OSError:
                continue
            for name in names:
                if name.endswith((".dist-info", ".egg-info")):
                    try:
                        descriptor = os.open(f"{directory}/{name}/entry_points.txt", os.O_RDONLY)
                    except FileNotFoundError:
                        continue
                    count += os.read(descriptor, 65536).count(b"[bandmaster.")
                    os.close(descriptor)
        return count

    return run


def bandmaster() -> Callable[[], int]:
    from bandmaster.kernel.discovery.discover import find

    return lambda: len(find())


def stdlib() -> Callable[[], int]:
    from importlib.metadata import entry_points

    return lambda: sum(len(entry_points(group=group)) for group in GROUPS)


def stdlib_once() -> Callable[[], int]:
    from importlib.metadata import entry_points

    def run() -> int:
        every = entry_points()
        return sum(len(every.select(group=group)) for group in GROUPS)

    return run


def backport() -> Callable[[], int]:
    from importlib_metadata import entry_points

    return lambda: sum(len(entry_points(group=group)) for group in GROUPS)


def stevedore() -> Callable[[], int]:
    from stevedore._cache import Cache

    def run() -> int:
        cache = Cache(os.environ["BENCH_CACHE"])
        return sum(len(cache.get_group_all(group)) for group in GROUPS)

    return run


VARIANTS: dict[str, Callable[[], Callable[[], int]]] = {
    "one scandir + read pass": floor,
    "the same with bare descriptors": bare_floor,
    "bandmaster `find()`": bandmaster,
    "importlib.metadata, 5 groups": stdlib,
    "importlib.metadata, one call": stdlib_once,
    "importlib_metadata, 5 groups": backport,
    "stevedore, cold": stevedore,
    "stevedore, from its cache": stevedore,
}
IMPORTS = (
    "starlette.applications",
    "bandmaster.kernel.contributions.model",
    "bandmaster.kernel.discovery.metadata",
    "bandmaster.kernel.discovery.discover",
    "importlib.metadata",
    "importlib_metadata",
)


def child(variant: str, site: str) -> None:
    """Measure one call in this interpreter."""
    run = VARIANTS[variant]()
    sys.path[:] = [entry for entry in sys.path if entry.startswith(sys.base_prefix)] + [site]
    started = time.process_time_ns()
    count = run()
    print(json.dumps([time.process_time_ns() - started, count]))


def measure(variant: str, site: Path, scratch: Path) -> tuple[int, int]:
    """One call in a new interpreter: nanoseconds, and how many entry points it found."""
    with tempfile.TemporaryDirectory(dir=scratch) as empty:
        cache = empty if variant.endswith("cold") else str(scratch / "cache")
        command = [sys.executable, "-P", __file__, "--child", variant, str(site)]
        environment = {**os.environ, "BENCH_CACHE": cache}
        output = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    spent, count = json.loads(output)
    return spent, count


def measure_import(module: str) -> int:
    """Nanoseconds of an import in a new interpreter."""
    code = f"import time; t = time.process_time_ns(); import {module}; print(time.process_time_ns() - t)"
    return int(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)


KERNEL = Path(__file__).parent.parent
START_SIZES = (100, 400)
CODE = [str(KERNEL / folder) for folder in ("kernel", "contrib/web", "contrib/fastapi")]
PARTS_AT_START = ("bandmaster-", "bandmaster_web-", "bandmaster_fastapi-")
READERS = ("bandmaster", "importlib.metadata", "importlib_metadata")


def make_environment(site: Path, count: int) -> None:
    """A site directory with the packages of this environment, and so many distributions: real ones, then copies.

    Each has its real METADATA, RECORD and entry_points.txt. Of bandmaster's own the kernel, web and fastapi are there.
    """
    site.mkdir()
    installed = sorted(Path(sysconfig.get_path("purelib")).iterdir())
    infos = [child for child in installed if child.suffix == ".dist-info"]
    parts = [info for info in infos if info.name.startswith(PARTS_AT_START)]
    others = [info for info in infos if not info.name.startswith("bandmaster")]
    random.Random(5).shuffle(others)
    for child in installed:
        if child not in infos and child.suffix != ".pth":
            (site / child.name).symlink_to(child)
    for number in range(count):
        info = parts[number] if number < len(parts) else others[(number - len(parts)) % len(others)]
        copy = "" if number < len(parts) + len(others) else f"copy{number}_of_"
        shutil.copytree(info, site / f"{copy}{info.name}")


def scan_with(reader: str) -> Callable[[], Any]:
    """A `scan` that asks a library for the distributions, with no more checks than it needs to find the same parts."""
    from bandmaster.kernel.contributions.model import Provenance
    from bandmaster.kernel.discovery.metadata import Found, Scan

    def run(path: Any = None) -> Scan:
        library: Any = importlib.import_module(reader)
        found: list[Found] = []
        seen: set[str] = set()
        for distribution in library.distributions():
            # Not public, but the cheapest way to the name: the public one parses the whole METADATA.
            name = distribution._normalized_name
            if name in seen:
                continue
            seen.add(name)
            text = distribution.read_text("entry_points.txt")
            if text and "[bandmaster." in text:
                for point in distribution.entry_points:
                    if point.group in GROUPS or point.group == "bandmaster.values":
                        provenance = Provenance(distribution.metadata["Name"], distribution.version, point.value)
                        found.append(Found(point.group, point.name, point.value, provenance))
        return Scan(tuple(sorted(found, key=lambda each: (each.group, each.name))))

    return run


def start(reader: str, site: str) -> None:
    """Run ``bandmaster check`` in this interpreter, over a site directory; the scan's own time goes to stderr."""
    sys.path[:] = [*(entry for entry in sys.path if "site-packages" not in entry), *CODE, site]
    from bandmaster.kernel.discovery import metadata

    scan: Any = metadata.scan if reader == "bandmaster" else scan_with(reader)

    def scan_and_measure(path: Any = None) -> Any:
        began = time.process_time_ns()
        seen = scan(path)
        print(json.dumps([time.process_time_ns() - began, len(seen.found)]), file=sys.stderr)
        return seen

    metadata.scan = scan_and_measure
    from bandmaster.kernel.cli.program import program

    program()(["check"])


def measure_start(reader: str, site: Path) -> tuple[float, float, float, int]:
    """Milliseconds of CPU and of wall time of a whole start, CPU of the scan in it, and how many parts were found."""
    interpreter = Path(sys.base_prefix, "bin", "python3")
    command = [str(interpreter), "-S", "-P", __file__, "--start", reader, str(site)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("BANDMASTER_", "PYTHON"))}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    done = subprocess.run(command, env=environment, cwd=site.parent, check=True, capture_output=True, text=True)
    wall = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    (scanned,) = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("[")]
    return spent * 1000, wall * 1000, scanned[0] / 1e6, scanned[1]


def compare_starts(scratch: Path, rounds: int) -> None:
    """Print the median of whole starts for each reader, with the ratio to bandmaster's own."""
    figures: dict[tuple[str, int], list[tuple[float, float, float]]] = {}
    for size in START_SIZES:
        site = scratch / f"environment{size}"
        make_environment(site, size)
        # Fills the page cache and compiles; the answers must be the same.
        counts = {measure_start(reader, site)[3] for reader in READERS}
        assert len(counts) == 1, counts
        assert counts != {0}, counts
    for number in range(rounds):
        for size in START_SIZES:
            for reader in shuffled([*READERS]):
                figures.setdefault((reader, size), []).append(measure_start(reader, scratch / f"environment{size}")[:3])
        print(f"start {number + 1} of {rounds}", file=sys.stderr)
    print("\n| whole start with | distributions | CPU ms | CPU ratio | wall ms | wall ratio | scan's own CPU ms |")
    print("|---|---|---|---|---|---|---|")
    for size in START_SIZES:
        base = [statistics.median(column) for column in zip(*figures[READERS[0], size], strict=True)]
        for reader in READERS:
            spent, wall, scan = (statistics.median(column) for column in zip(*figures[reader, size], strict=True))
            ratios = f"{spent:.0f} | {spent / base[0]:.3f} | {wall:.0f} | {wall / base[1]:.3f}"
            print(f"| {reader} | {size} | {ratios} | {scan:.1f} |")


def shuffled(names: list[str]) -> list[str]:
    return random.sample(names, len(names))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--starts", type=int, default=15)
    parser.add_argument("--child", nargs=2)
    parser.add_argument("--start", nargs=2)
    arguments = parser.parse_args()
    if arguments.child:
        child(*arguments.child)
        return
    if arguments.start:
        start(*arguments.start)
        return
    times: dict[tuple[str, int], list[int]] = {}
    imports: dict[str, list[int]] = {}
    with tempfile.TemporaryDirectory() as folder:
        compare_starts(Path(folder), arguments.starts)
    if not arguments.rounds:
        return
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        for size in SIZES:
            make_site(scratch / f"site{size}", size)
            # Fills page cache and stevedore's cache; the answers must be the same.
            counts = {measure(variant, scratch / f"site{size}", scratch)[1] for variant in VARIANTS}
            assert counts == {PARTS}, counts
        for number in range(arguments.rounds):
            for size in SIZES:
                for variant in shuffled([*VARIANTS]):
                    spent, _ = measure(variant, scratch / f"site{size}", scratch)
                    times.setdefault((variant, size), []).append(spent)
            for module in shuffled([*IMPORTS]):
                imports.setdefault(module, []).append(measure_import(module))
            print(f"round {number + 1} of {arguments.rounds}", file=sys.stderr)

    print(f"| one pass = 1 | {' | '.join(f'{size} distributions' for size in SIZES)} |")
    print(f"|---|{'---|' * len(SIZES)}")
    base = {size: statistics.median(times["one scandir + read pass", size]) for size in SIZES}
    for variant in VARIANTS:
        ratios = (f"{statistics.median(times[variant, size]) / base[size]:.2f}" for size in SIZES)
        print(f"| {variant} | {' | '.join(ratios)} |")
    print(f"\n| CPU of an import, `{IMPORTS[0]}` = 1 | |\n|---|---|")
    for module in IMPORTS:
        ratio = statistics.median(imports[module]) / statistics.median(imports[IMPORTS[0]])
        print(f"| `{module}` | {ratio:.2f} |")


if __name__ == "__main__":
    main()
