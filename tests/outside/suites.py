"""Run the test suites of Starlette, FastAPI and sse-starlette with every application in them wrapped.

    make outside                                    # all suites in all ways, and the table of the documentation
    python -m tests.outside.suites --suite fastapi  # one suite

Each suite runs in four ways: bare; with each application in a trivial ASGI wrapper; in `create_app(app,
discover=False)`; and with the parts of bandmaster-web and bandmaster-fastapi as well. A test that fails in the trivial
wrapper depends on the class of the application. The kernel alone may fail no other test, and each test that fails with
the web parts has a reason in ``explained.toml``. Exits with 1 otherwise.

The suites come from the projects' source distributions, in the versions of ``constraints.txt``, and into ``.outside``.
The distributions of Quart and Litestar have no tests. No file of another project is part of this repository.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import venv
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
FOLDER = ROOT / ".outside"
PYTHON = FOLDER / "venv" / "bin" / "python"
TABLE = HERE / "table.md"
WAYS = ("bare", "trivial", "kernel", "web")
PATIENCE = 20
"""Seconds that one test may take."""


@dataclass(frozen=True)
class Suite:
    """The test suite of another project."""

    name: str
    distribution: str
    group: str
    """The dependency group of the project that its tests need."""
    needs: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    """Options of pytest."""

    @property
    def requirement(self) -> str:
        """The distribution, in the version that this repository is tested with, or in the newest."""
        found = re.search(rf"(?m)^{re.escape(self.distribution)}==\S+$", (ROOT / "constraints.txt").read_text())
        return found[0] if found else self.distribution

    @property
    def folder(self) -> Path:
        """The unpacked source distribution."""
        stem = self.distribution.replace("-", "_")
        return max((path for path in FOLDER.glob(f"{stem}-*") if path.is_dir()), key=lambda path: path.stat().st_mtime)


SUITES = (
    Suite("Starlette", "starlette", "dev", ("starlette[full]",)),
    Suite("FastAPI", "fastapi", "tests", ("fastapi[all]",)),
    # Two modules of these tests need a file that the source distribution doesn't have.
    Suite(
        "sse-starlette",
        "sse-starlette",
        "dev",
        (),
        ("--continue-on-collection-errors", "-m", "not integration and not experimentation"),
    ),
)


def fetch(suite: Suite) -> None:
    """Download and unpack a source distribution."""
    download = ["-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", suite.distribution, "-d", str(FOLDER)]
    subprocess.run([sys.executable, *download, suite.requirement], check=True)
    stem = suite.distribution.replace("-", "_")
    archive = max(FOLDER.glob(f"{stem}-*.tar.gz"), key=lambda path: path.stat().st_mtime)
    with tarfile.open(archive) as opened:
        opened.extractall(FOLDER, filter="data")


def prepare() -> None:
    """Make an environment that has everything that the tests of all suites need, and this repository."""
    FOLDER.mkdir(exist_ok=True)
    for suite in SUITES:
        fetch(suite)
    venv.create(FOLDER / "venv", with_pip=True)
    pip = [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--upgrade", "pip"], check=True)
    needs = [need for suite in SUITES for need in (suite.requirement, *suite.needs)]
    groups = [part for suite in SUITES for part in ("--group", f"{suite.folder / 'pyproject.toml'}:{suite.group}")]
    parts = [part for path in (".", "contrib/web", "contrib/fastapi") for part in ("-e", str(ROOT / path))]
    subprocess.run([*pip, "pytest-timeout", "pytest-asyncio", "pytest-xdist", *needs, *groups, *parts], check=True)


def run(suite: Suite, way: str, options: list[str]) -> None:
    """Run a suite in one way, and keep the outcomes."""
    print(f"== {suite.name}, {way}", flush=True)
    outcomes = _outcomes_file(suite, way)
    outcomes.unlink(missing_ok=True)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("BANDMASTER_", "WEB_"))},
        "WAY": way,
        "OUTCOMES": str(outcomes),
        "PYTHONPATH": str(HERE),
        "BANDMASTER_ENVIRONMENT": "test",
    }
    pytest = [PYTHON, "-m", "pytest", "-p", "wrapping", "-p", "no:cacheprovider", "-q", "--no-header"]
    brief = ["--tb=short", "--show-capture=no", f"--timeout={PATIENCE}"]
    command = [*pytest, *brief, *suite.options, *options, "tests"]
    with (FOLDER / f"{suite.distribution}.{way}.log").open("w") as log:
        subprocess.run(command, cwd=suite.folder, env=environment, stdout=log, stderr=subprocess.STDOUT, check=False)
    if not outcomes.exists():
        raise SystemExit(f"{suite.name}, {way}: pytest could not start; see {log.name}")


def _outcomes_file(suite: Suite, way: str) -> Path:
    return FOLDER / f"{suite.distribution}.{way}.json"


@dataclass(frozen=True)
class Outcomes:
    """The outcomes of one suite in one way."""

    passed: frozenset[str]
    failed: frozenset[str]
    reports: dict[str, str]
    """The lines of each failure that tell the error."""

    @classmethod
    def read(cls, suite: Suite, way: str) -> Outcomes:
        """The outcomes of the latest run."""
        read = json.loads(_outcomes_file(suite, way).read_text())
        named = {
            kind: frozenset(test for test, each in read["outcomes"].items() if each == kind)
            for kind in ("passed", "failed")
        }
        return cls(named["passed"], named["failed"], read["reports"])


def explain(failures: dict[str, str]) -> dict[str, str | None]:
    """The reason why each test fails with the web parts; None if there is none."""
    reasons = tomllib.loads((HERE / "explained.toml").read_text())["reason"]
    return {
        test: next((each["why"] for each in reasons if _explains(each, test, text)), None)
        for test, text in failures.items()
    }


def _explains(reason: dict[str, Any], test: str, text: str) -> bool:
    named = any(re.search(pattern, test) for pattern in reason.get("tests", ()))
    return named or any(re.search(pattern, text) for pattern in reason.get("errors", ()))


def report(suites: list[Suite]) -> tuple[str, list[str]]:
    """The table, and the failures that must not be."""
    rows, reasons, faults = [], Counter[tuple[str, str]](), []
    for suite in suites:
        bare, trivial, kernel, web = (Outcomes.read(suite, way) for way in WAYS)
        above = {"kernel": kernel.failed - trivial.failed, "web": web.failed - trivial.failed}
        faults += [f"{suite.name}, kernel: {test}: {kernel.reports[test]}" for test in sorted(above["kernel"])]
        explained = explain({test: web.reports[test] for test in sorted(above["web"])})
        faults += [f"{suite.name}, web: {test}: {web.reports[test]}" for test, why in explained.items() if not why]
        reasons.update((why or "not explained", suite.name) for why in explained.values())
        tests = len(bare.passed | bare.failed)
        more = len(trivial.failed - bare.failed)
        named = f"{suite.name} {suite.folder.name.rpartition('-')[2]}"
        rows.append(f"| {named} | {tests} | {more} | {len(above['kernel'])} | {len(above['web'])} |")
    return "\n".join(_render(suites, rows, reasons)) + "\n", faults


def _render(suites: list[Suite], rows: list[str], reasons: Counter[tuple[str, str]]) -> Iterator[str]:
    yield "| suite | tests | in the class | with the kernel alone | with the web parts |"
    yield "|---|---|---|---|---|"
    yield from rows
    yield ""
    names = [suite.name for suite in suites]
    yield f"| why tests fail with the web parts | {' | '.join(names)} |"
    yield "|---|" + "---|" * len(names)
    for why in dict.fromkeys(why for (why, _), _ in reasons.most_common()):
        yield f"| {why} | {' | '.join(str(reasons[why, name]) for name in names)} |"


def main() -> None:
    """Run the suites that the command line names, and write the table after all of them."""
    parser = argparse.ArgumentParser(description="Run other projects' test suites with every application wrapped.")
    parser.add_argument("--suite", choices=[suite.distribution for suite in SUITES], action="append")
    parser.add_argument("--way", choices=WAYS, action="append")
    parser.add_argument("--report", action="store_true", help="run nothing, and report the latest runs")
    parser.add_argument("options", nargs="*", help="options of pytest, after --")
    given = parser.parse_args()
    suites = [suite for suite in SUITES if given.suite is None or suite.distribution in given.suite]
    if not given.report:
        if not PYTHON.exists():
            prepare()
        for suite in suites:
            for way in given.way or WAYS:
                run(suite, way, given.options)
    if given.way:
        return
    table, faults = report(suites)
    print(table)
    if given.suite is None:
        TABLE.write_text(table)
    if faults:
        raise SystemExit(
            "\n".join(["These must not fail, or have no reason in tests/outside/explained.toml:", *faults])
        )


if __name__ == "__main__":
    main()
