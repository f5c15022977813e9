"""Discovery against one bare pass over the same directories, the standard library, its backport and stevedore.

Each figure comes from an interpreter of its own whose modules are imported already: CPU time of the process, page
cache warm, rounds shuffled, medians. Quote the ratios, never the times.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

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


def shuffled(names: list[str]) -> list[str]:
    return random.sample(names, len(names))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--child", nargs=2)
    arguments = parser.parse_args()
    if arguments.child:
        child(*arguments.child)
        return
    times: dict[tuple[str, int], list[int]] = {}
    imports: dict[str, list[int]] = {}
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
