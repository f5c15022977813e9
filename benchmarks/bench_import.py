"""The cost of importing the kernel, as a share of importing starlette."""

from __future__ import annotations

import random
import statistics
import subprocess
import sys

STATEMENTS = {
    "bare interpreter": "pass",
    "import bandmaster.kernel": "import bandmaster.kernel",
    "describe a part (lifespan, LifespanBand)": "from bandmaster.kernel import lifespan, LifespanBand",
    "compose (create_app)": "from bandmaster.kernel import create_app",
    "import starlette.applications": "import starlette.applications",
    "import fastapi": "import fastapi",
    "import litestar": "import litestar",
    "import asphalt.core": "import asphalt.core",
}
ROUNDS = 9
_TIMED = "import time as t; b = t.process_time(); {}; print(t.process_time() - b)"


def main() -> None:
    """Run every statement in fresh interpreters, in shuffled rounds, and print the medians' ratios."""
    times: dict[str, list[float]] = {name: [] for name in STATEMENTS}
    for _ in range(ROUNDS):
        for name in random.sample(list(STATEMENTS), len(STATEMENTS)):
            code = _TIMED.format(STATEMENTS[name])
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
            if done.returncode == 0:
                times[name].append(float(done.stdout))
    medians = {name: statistics.median(found) for name, found in times.items() if found}
    base = medians["import starlette.applications"]
    print(f"CPU of a fresh interpreter, {ROUNDS} rounds; `import starlette.applications` = 1 ({base * 1000:.0f} ms)\n")
    print("| statement | ratio |\n|---|---|")
    for name, median in sorted(medians.items(), key=lambda item: item[1]):
        print(f"| {name} | {median / base:.2f} |")


if __name__ == "__main__":
    main()
